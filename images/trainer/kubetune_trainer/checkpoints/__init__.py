"""Nothing is lost: when a checkpoint is due, how it is saved, uploaded, chosen, and taken up again."""
