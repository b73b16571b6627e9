"""Requests, and how they are made from the caller's values and all defaults."""

from __future__ import annotations

from .embedding import EmbeddingOptions, EmbeddingRequest
from .generation import GenerationRequest, read_request
from .rerank import RerankRequest
from .resolve import Defaults, ResolvedRequest, merge_parameters, resolve_request, unsupported_parameters

__all__ = [
    "Defaults",
    "EmbeddingOptions",
    "EmbeddingRequest",
    "GenerationRequest",
    "RerankRequest",
    "ResolvedRequest",
    "merge_parameters",
    "read_request",
    "resolve_request",
    "unsupported_parameters",
]
