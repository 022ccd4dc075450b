"""The only I/O with the API server."""
