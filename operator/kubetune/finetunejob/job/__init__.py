"""A FineTuneJob's training Job: what it is made of, and on what it may run."""
