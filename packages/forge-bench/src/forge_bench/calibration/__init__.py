"""A server whose delays are known, and what a benchmark makes of them."""
