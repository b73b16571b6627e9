"""Backends: what runs a model. Listing them imports none of them."""

from __future__ import annotations

from .registry import get_backend, list_backends, register_backend

__all__ = ["get_backend", "list_backends", "register_backend"]
