"""What the trainer, the evaluator and the server share: the object store, published folders, rows of data, progress."""
