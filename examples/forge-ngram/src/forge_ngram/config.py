"""Load parameters."""

from __future__ import annotations

from typing import Annotated

from llamaforge import BackendConfig
from msgspec import Meta


class NgramConfig(BackendConfig, frozen=True, kw_only=True):
    """What can be said when a model is loaded; ``llamaforge backends show ngram`` prints it."""

    n_ctx: Annotated[int, Meta(ge=2, le=1_000_000, description="Prompt and answer together, in words, at most.")] = 1024
    order: (
        Annotated[int, Meta(ge=1, le=16, description="Use n-grams of this many words at most. Default: of all sizes.")]
        | None
    ) = None
