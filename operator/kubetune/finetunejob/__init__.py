"""The FineTuneJob kind."""
