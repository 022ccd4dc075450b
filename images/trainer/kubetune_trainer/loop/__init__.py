"""Our part in the training loop: callbacks, divergence, early stopping."""
