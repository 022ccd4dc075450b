"""Real trainings of a random tiny model through the command line, against a real S3 server."""
