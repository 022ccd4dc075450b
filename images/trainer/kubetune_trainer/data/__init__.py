"""Rows become token ids and labels, and short rows share a sequence."""
