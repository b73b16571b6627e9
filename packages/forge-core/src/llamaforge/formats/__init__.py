"""Readers for model files that use only the standard library."""
