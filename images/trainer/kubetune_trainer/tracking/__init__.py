"""The job's run on an MLflow server."""
