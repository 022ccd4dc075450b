"""The trainer: supervised fine-tuning of a base model on a dataset, from the contract's TrainConfig to an artifact."""
