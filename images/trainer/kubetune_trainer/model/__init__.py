"""Our settings in the words of the libraries: the model, its adapter and quantisation, the device, the SFTTrainer."""
