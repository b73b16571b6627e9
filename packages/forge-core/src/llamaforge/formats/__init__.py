"""Formats of model files, read with the standard library alone."""
