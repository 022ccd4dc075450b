"""The Evaluation kind."""
