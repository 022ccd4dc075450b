"""Our trainer beside plain transformers.Trainer and bare TRL SFTTrainer."""
