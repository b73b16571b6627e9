"""Batch files: OpenAI's JSON lines in, answers and errors out, in constant memory, through crashes."""

from __future__ import annotations

from .journal import Journal
from .rows import Row, read_rows
from .runner import BatchRun, Summary

__all__ = ["BatchRun", "Journal", "Row", "Summary", "read_rows"]
