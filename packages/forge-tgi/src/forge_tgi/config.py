"""Load parameters: the launcher's flags, under their names, beside what every OpenAI-compatible server has."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from forge_openai.config import Constraints
from forge_openai.server import OpenAIServerConfig
from llamaforge.errors import ConflictingParametersError

Quantization = Literal[
    "awq",
    "compressed-tensors",
    "eetq",
    "exl2",
    "gptq",
    "marlin",
    "bitsandbytes",
    "bitsandbytes-nf4",
    "bitsandbytes-fp4",
    "fp8",
]


class TGIConfig(OpenAIServerConfig, frozen=True, kw_only=True):
    """Load parameters of the tgi backend. What is not set is left to the launcher."""

    type: Annotated[Literal["tgi"], Meta(description="The backend's name, in a tagged config.")] = "tgi"
    revision: Annotated[str, Meta(min_length=1, description="Branch, tag or commit of the model.")] | None = None
    sharded: Annotated[bool, Meta(description="Whether to spread the model over all graphics cards.")] | None = None
    num_shard: Annotated[int, Meta(ge=1, description="Graphics cards to spread the model over.")] | None = None
    quantize: Annotated[Quantization, Meta(description="Quantization method.")] | None = None
    dtype: Annotated[Literal["float16", "bfloat16"], Meta(description="Type of the weights.")] | None = None
    kv_cache_dtype: (
        Annotated[Literal["fp8_e4m3fn", "fp8_e5m2"], Meta(description="Type of the key/value cache.")] | None
    ) = None
    speculate: Annotated[int, Meta(ge=0, description="Tokens to guess ahead.")] | None = None
    trust_remote_code: Annotated[bool, Meta(description="Run code from the model's repository.")] = False
    max_concurrent_requests: Annotated[int, Meta(ge=1, description="Concurrent requests; more are refused.")] | None = (
        None
    )
    max_input_tokens: Annotated[int, Meta(ge=1, description="Tokens that a prompt may have.")] | None = None
    max_total_tokens: Annotated[int, Meta(ge=1, description="Tokens of a prompt and its answer.")] | None = None
    max_batch_prefill_tokens: (
        Annotated[int, Meta(ge=1, description="Tokens of prompts that are read at once.")] | None
    ) = None
    max_batch_total_tokens: Annotated[int, Meta(ge=1, description="Tokens of all requests at once.")] | None = None
    max_waiting_tokens: (
        Annotated[int, Meta(ge=0, description="Tokens generated before waiting requests must join the batch.")] | None
    ) = None
    waiting_served_ratio: (
        Annotated[float, Meta(ge=0, description="Ratio of waiting to running requests from which waiting ones join.")]
        | None
    ) = None
    max_batch_size: Annotated[int, Meta(ge=1, description="Requests of a batch.")] | None = None
    constraints: Constraints = "tgi"
    max_stop_sequences: Annotated[int, Meta(ge=0, description="Stop strings that a request may have.")] | None = None
    max_top_n_tokens: Annotated[int, Meta(ge=0, description="Alternatives that top_logprobs may ask for.")] | None = (
        None
    )
    cuda_graphs: (
        Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(description="Batch sizes with CUDA graphs; [0]: none.")]
        | None
    ) = None
    cuda_memory_fraction: (
        Annotated[float, Meta(gt=0, le=1, description="Share of the graphics card's memory to use.")] | None
    ) = None
    disable_custom_kernels: Annotated[bool, Meta(description="Use no kernels of TGI's own.")] = False
    rope_scaling: (
        Annotated[
            Literal["linear", "dynamic"], Meta(description="How positions beyond the trained context are scaled.")
        ]
        | None
    ) = None
    rope_factor: Annotated[float, Meta(gt=0, description="Factor by which the context is extended.")] | None = None
    lora_adapters: Annotated[tuple[str, ...], Meta(description="LoRA adapters to load.")] = ()
    tokenizer_config_path: Annotated[str, Meta(min_length=1, description="A tokenizer_config.json.")] | None = None
    disable_grammar_support: Annotated[bool, Meta(description="Turn off response_format and tools.")] = False
    huggingface_hub_cache: Annotated[str, Meta(min_length=1, description="Folder for downloads.")] | None = None
    master_port: Annotated[int, Meta(ge=1, le=65535, description="Port where the shards meet.")] | None = None
    shard_uds_path: (
        Annotated[str, Meta(min_length=1, description="Socket of the shards. Not set: a private one.")] | None
    ) = None
    validation_workers: Annotated[int, Meta(ge=1, description="Processes that tokenize prompts.")] | None = None
    payload_limit: Annotated[int, Meta(ge=1, description="Bytes that a request may have.")] | None = None
    usage_stats: (
        Annotated[Literal["on", "off", "no-stack"], Meta(description="Whether TGI reports its use to its makers.")]
        | None
    ) = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantize is not None and self.dtype is not None:
            raise ConflictingParametersError(
                ["quantize", "dtype"], "TGI's launcher accepts only one of quantize and dtype."
            )
        if self.sharded is False and self.num_shard is not None:
            raise ConflictingParametersError(["sharded", "num_shard"], "num_shard needs sharded=True.")
