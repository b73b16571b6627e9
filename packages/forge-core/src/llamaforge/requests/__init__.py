"""Requests, and how they are made from the caller's values and all defaults."""

from __future__ import annotations

from .embedding import EmbeddingOptions, EmbeddingRequest
from .generation import GenerationRequest, read_request
from .rerank import RerankRequest
from .resolve import ResolvedRequest, merge_parameters, resolve_request

__all__ = [
    "EmbeddingOptions",
    "EmbeddingRequest",
    "GenerationRequest",
    "RerankRequest",
    "ResolvedRequest",
    "merge_parameters",
    "read_request",
    "resolve_request",
]
