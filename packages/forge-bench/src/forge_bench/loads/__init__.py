"""What is sent: prompts, synthetic texts, conversations, files, traces."""

from __future__ import annotations

from .base import Load, Wording
from .files import read_dataset
from .lengths import Lengths
from .prompts import Prompts
from .synthetic import Synthetic
from .traces import Trace, TraceEntry

__all__ = ["Lengths", "Load", "Prompts", "Synthetic", "Trace", "TraceEntry", "Wording", "read_dataset"]
