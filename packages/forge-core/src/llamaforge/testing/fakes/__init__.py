"""Small sound backends to test the kit with, and to derive broken ones from. No engine, no network."""

from __future__ import annotations

from .backends import MODEL, SPEC, AsyncToyBackend, BasicToyBackend, ToyBackend, ToyConfig
from .language import ToyLanguage
from .queueing import QueueingToyBackend

__all__ = [
    "MODEL",
    "SPEC",
    "AsyncToyBackend",
    "BasicToyBackend",
    "QueueingToyBackend",
    "ToyBackend",
    "ToyConfig",
    "ToyLanguage",
]
