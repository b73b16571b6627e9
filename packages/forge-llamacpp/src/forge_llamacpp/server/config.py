"""Load parameters of the llama-server backend. Names are those of the llama.cpp backend, where both have them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from forge_openai.config import Constraints, Extension
from forge_openai.server import Extensions, OpenAIServerConfig
from llamaforge.errors import ConflictingParametersError

EXTENSIONS: Final[dict[Extension, str]] = {
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "grammar": "grammar",
    "max_reasoning_tokens": "thinking_budget_tokens",
}


class LlamaServerConfig(OpenAIServerConfig, frozen=True, kw_only=True):
    """Load parameters of the llama-server backend."""

    type: Annotated[Literal["llama-server"], Meta(description="The backend's name, in a tagged config.")] = (
        "llama-server"
    )
    task: (
        Annotated[
            Literal["generate", "embed", "rerank"],
            Meta(
                description="What to load the model for: text, vectors, or scores of documents. Not set: what its file "
                "shows; of a server that runs already, text."
            ),
        ]
        | None
    ) = None
    pooling: (
        Annotated[
            Literal["mean", "cls", "last"],
            Meta(
                description="For vectors: of all tokens the mean, the first one, or the last one. Not set: the file's."
            ),
        ]
        | None
    ) = None
    n_ctx: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=2**24,
                description="Context length of each request, in tokens. 0: what the model was trained for. Not set: "
                "that, but at most 4096.",
            ),
        ]
        | None
    ) = None
    n_parallel: Annotated[int, Meta(ge=1, le=256, description="Requests that run at the same time.")] = 4
    n_gpu_layers: Annotated[
        int, Meta(ge=-1, le=2**31 - 1, description="Layers to put on the graphics card; -1 is all of them.")
    ] = -1
    n_batch: Annotated[int, Meta(ge=1, le=2**20, description="Prompt tokens that are computed at once.")] = 2048
    n_threads: (
        Annotated[int, Meta(ge=1, le=512, description="Threads for generating. Not set: the server's choice.")] | None
    ) = None
    n_threads_batch: (
        Annotated[int, Meta(ge=1, le=512, description="Threads for reading prompts. Not set: n_threads.")] | None
    ) = None
    flash_attn: Annotated[bool, Meta(description="Flash attention. Not set: the server's choice.")] | None = None
    chat_template: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="A Jinja template, or the path of one, instead of the model's.",
            ),
        ]
        | None
    ) = None
    extensions: Extensions = msgspec.field(default_factory=lambda: dict(EXTENSIONS))
    constraints: Constraints = "llama-server"
    stop_strings: Annotated[
        Literal["server", "client"],
        Meta(description="Who looks for stop strings. The server would lose log-probabilities and text."),
    ] = "client"
    prefill: Annotated[
        Literal["refuse", "native", "continue_final_message"],
        Meta(description="How a final assistant turn is continued: llama.cpp does it automatically."),
    ] = "native"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_ctx == 0 and self.n_parallel > 1:
            raise ConflictingParametersError(
                ["n_ctx", "n_parallel"],
                "n_ctx=0 needs n_parallel=1: the context that the model was trained for is only known once it is "
                "loaded.",
            )
