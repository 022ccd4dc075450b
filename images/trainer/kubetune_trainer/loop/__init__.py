"""Our part in the training loop: what happens around a step, divergence, early stopping, the validation loss."""
