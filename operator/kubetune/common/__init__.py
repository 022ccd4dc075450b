"""API types and pure helpers that several kinds share."""
