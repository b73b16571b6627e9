"""The checks, by subject: one module a group."""
