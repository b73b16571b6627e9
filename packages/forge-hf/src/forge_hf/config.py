"""Load parameters of the Hugging Face backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from llamaforge.engine import EngineConfig
from llamaforge.errors import ConflictingParametersError
from llamaforge.formats.local import local_path
from llamaforge.secrets import Secret

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class HuggingFaceConfig(EngineConfig, frozen=True, kw_only=True):
    """Load parameters of the Hugging Face backend."""

    device: Annotated[
        str,
        Meta(
            min_length=1,
            description="Where the model runs: 'cpu', 'cuda', 'cuda:1', 'mps', 'xpu' ... 'auto' uses an accelerator "
            "if there is one, else the CPU.",
        ),
    ] = "auto"
    dtype: (
        Annotated[
            Dtype,
            Meta(
                description="Type of the weights in memory. 'auto': the checkpoint's. Not set: the same, but float32 "
                "on a CPU that doesn't compute with it natively."
            ),
        ]
        | None
    ) = None
    torch_dtype: Annotated[Dtype, Meta(description="Alias of dtype.")] | None = None
    device_map: (
        Annotated[
            str | dict[str, str | int],
            Meta(
                description="Spread the model over several devices: 'auto', 'balanced', 'sequential', or a mapping "
                "from module to device. Not together with device."
            ),
        ]
        | None
    ) = None
    pooling: (
        Annotated[
            Literal["mean", "cls", "last"],
            Meta(
                description="With task embed, for encoders without sentence-transformers' files: how a text's vector "
                "is made of its tokens'. Never guessed."
            ),
        ]
        | None
    ) = None
    prompts: Annotated[
        dict[str, str],
        Meta(description="With task embed: more texts to put before others, for prompt_name: {'query': 'query: '}."),
    ] = msgspec.field(default_factory=dict)
    n_ctx: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="Context length, in tokens, prompt and answer together. 0 or not set: what the model was "
                "trained for (4096 if unknown).",
            ),
        ]
        | None
    ) = None
    n_batch: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="Tokens in a step, all requests together. With fewer, running answers continue more evenly "
                "while a long prompt is read. Not set: 256 on a CPU, 2048 elsewhere.",
            ),
        ]
        | None
    ) = None
    seed: (
        Annotated[
            int, Meta(ge=0, le=2**32 - 1, description="Seed for requests without one. Not set: a new one each time.")
        ]
        | None
    ) = None
    attn_implementation: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="How attention is computed: 'sdpa', 'eager', 'flash_attention_2' ... Not set: the "
                "library's choice for the model.",
            ),
        ]
        | None
    ) = None
    quantization: (
        Annotated[
            dict[str, Any],
            Meta(
                description="A quantization config of transformers as a mapping, such as "
                "{'quant_method': 'bitsandbytes', 'load_in_4bit': True}."
            ),
        ]
        | None
    ) = None
    gguf_file: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="A GGUF file in the folder or repository; its weights are unpacked to dtype.",
            ),
        ]
        | None
    ) = None
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
    trust_remote_code: Annotated[
        bool, Meta(description="Run Python code from the model's repository. Review it first.")
    ] = False
    revision: Annotated[str, Meta(min_length=1, description="Branch, tag or commit of a hub repository.")] | None = None
    cache_dir: (
        Annotated[
            str,
            Meta(min_length=1, description="Folder for downloads from the hub. Not set: the hub library's cache."),
        ]
        | None
    ) = None
    local_files_only: Annotated[bool, Meta(description="Download nothing from the hub: use cached files only.")] = False
    token: (
        Annotated[
            Secret, Meta(description="Access token for the hub. Not set: HF_TOKEN, or the one from `hf auth login`.")
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if self.dtype is not None and self.torch_dtype is not None and self.dtype != self.torch_dtype:
            raise ConflictingParametersError(
                ["dtype", "torch_dtype"], "dtype and torch_dtype are the same parameter. Pass one of them."
            )
        if self.device_map is not None and self.device != "auto":
            raise ConflictingParametersError(["device", "device_map"])
        if self.gguf_file is not None and self.quantization is not None and not self.unpacks_gguf_by_itself:
            raise ConflictingParametersError(
                ["gguf_file", "quantization"],
                "quantization can't be used with gguf_file: a GGUF file is already quantized.",
            )

    @classmethod
    def read(cls, parameters: Mapping[str, Any] | None) -> Self:
        """Check *parameters*; a dtype may be one of torch's own objects, too."""
        if isinstance(parameters, Mapping):
            parameters = {
                name: _dtype_name(value) if name in ("dtype", "torch_dtype") else value
                for name, value in parameters.items()
            }
        return super().read(parameters)

    @property
    def cache_folder(self) -> str | None:
        """``cache_dir`` with ``~`` as the home folder."""
        return None if self.cache_dir is None else str(local_path(self.cache_dir))

    @property
    def chosen_dtype(self) -> Dtype | None:
        """The dtype asked for, under either name."""
        return self.dtype if self.dtype is not None else self.torch_dtype

    @property
    def unpacks_gguf_by_itself(self) -> bool:
        """Whether *quantization* is transformers' own handling of GGUF files, to keep their weights packed, say."""
        return self.quantization is not None and self.quantization.get("quant_method") == "gguf"


def _dtype_name(value: Any) -> Any:
    """``torch.bfloat16`` as ``"bfloat16"``, without importing torch."""
    if isinstance(value, str):
        return value.removeprefix("torch.")
    kind = type(value)
    return str(value).removeprefix("torch.") if (kind.__module__, kind.__name__) == ("torch", "dtype") else value
