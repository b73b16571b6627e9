"""Load parameters that every backend on the scheduler has."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ..backends.config import BackendConfig


class EngineConfig(BackendConfig, frozen=True, kw_only=True):
    """How many requests share the model, and how."""

    task: (
        Annotated[
            Literal["generate", "embed", "rerank"],
            Meta(
                description="What to load the model for: text, vectors, or scores of documents. Not set: what its "
                "files show, else text."
            ),
        ]
        | None
    ) = None
    n_parallel: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Requests that run at the same time, at most half of n_batch; others wait.",
        ),
    ] = 8
    max_queue: Annotated[
        int, Meta(ge=0, description="Requests that may wait; more are refused with QueueFullError.")
    ] = 1024
    prefix_cache: Annotated[
        int,
        Meta(
            ge=0,
            le=256,
            description="Finished texts whose computed state is kept, so that requests which begin with the same "
            "tokens can reuse it. 0 keeps none.",
        ),
    ] = 8
    prompt_lookup: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="Tokens to guess at a time from the text so far (prompt-lookup decoding): the same answer, "
            "faster where it repeats the prompt. 0 is off.",
        ),
    ] = 0
    generation_defaults: Annotated[
        Literal["model", "core"],
        Meta(
            description="Defaults for unset generation parameters. model: the sampling that the model's files "
            "recommend, then core's defaults; core: core's defaults only."
        ),
    ] = "model"
