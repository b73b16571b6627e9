"""Load parameters: what vLLM's server is started with, beside what every OpenAI-compatible server has."""

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
    "repetition_penalty": "repetition_penalty",
    "max_reasoning_tokens": "thinking_token_budget",
}


class VLLMConfig(OpenAIServerConfig, frozen=True, kw_only=True):
    """Load parameters of the vllm backend. What is not set is left to vLLM."""

    type: Annotated[Literal["vllm"], Meta(description="The backend's name, in a tagged config.")] = "vllm"
    tensor_parallel: (
        Annotated[int, Meta(ge=1, description="Number of cards (or processor sockets) that share each layer.")] | None
    ) = None
    pipeline_parallel: (
        Annotated[int, Meta(ge=1, description="Number of groups of cards among which the layers are split.")] | None
    ) = None
    data_parallel: (
        Annotated[int, Meta(ge=1, description="Number of copies of the model that share the requests.")] | None
    ) = None
    distributed_executor_backend: (
        Annotated[
            Literal["ray", "mp", "uni", "external_launcher"],
            Meta(description="How parallel parts run: ray on several machines, mp in processes of one machine."),
        ]
        | None
    ) = None
    gpu_memory_utilization: (
        Annotated[float, Meta(gt=0, le=1, description="Fraction of a card's memory that vLLM may use.")] | None
    ) = None
    max_model_len: Annotated[int, Meta(ge=1, description="Context length, in tokens. Not set: the model's.")] | None = (
        None
    )
    max_num_seqs: Annotated[int, Meta(ge=1, description="Requests that run at the same time.")] | None = None
    dtype: (
        Annotated[
            Literal["auto", "half", "float16", "bfloat16", "float", "float32"], Meta(description="Type of the weights.")
        ]
        | None
    ) = None
    quantization: Annotated[str, Meta(min_length=1, description="Quantization method, as vLLM names it.")] | None = None
    kv_cache_dtype: Annotated[str, Meta(min_length=1, description="Type of the key/value cache.")] | None = None
    enable_prefix_caching: Annotated[bool, Meta(description="Cache prompt prefixes for later requests.")] | None = None
    enforce_eager: Annotated[bool, Meta(description="Don't compile: slower, but ready sooner.")] = False
    revision: Annotated[str, Meta(min_length=1, description="Branch, tag or commit of the model.")] | None = None
    tokenizer: Annotated[str, Meta(min_length=1, description="Tokenizer. Not set: the model's.")] | None = None
    trust_remote_code: Annotated[bool, Meta(description="Run code from the model's repository.")] = False
    chat_template: (
        Annotated[str, Meta(min_length=1, description="A Jinja template, or the path of one, instead of the model's.")]
        | None
    ) = None
    tool_call_parser: (
        Annotated[str, Meta(min_length=1, description="Parser for the model's tool calls; enables them.")] | None
    ) = None
    reasoning_parser: (
        Annotated[str, Meta(min_length=1, description="Parser that separates reasoning from the answer.")] | None
    ) = None
    seed: Annotated[int, Meta(ge=0, description="Seed of the server.")] | None = None
    extensions: Extensions = msgspec.field(default_factory=lambda: dict(EXTENSIONS))
    constraints: Constraints = "vllm"
    prefill: Annotated[
        Literal["refuse", "native", "continue_final_message"],
        Meta(description="How a final assistant turn is continued: vLLM does it on request."),
    ] = "continue_final_message"

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = (self.tensor_parallel or 1) * (self.pipeline_parallel or 1)
        if self.distributed_executor_backend == "uni" and shares > 1:
            raise ConflictingParametersError(
                ["distributed_executor_backend", "tensor_parallel", "pipeline_parallel"],
                "distributed_executor_backend='uni' is for a single card.",
            )
