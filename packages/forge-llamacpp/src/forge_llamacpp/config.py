"""Load parameters of the llama.cpp backend, under the names that its users know."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from llamaforge.engine import EngineConfig
from llamaforge.errors import ConflictingParametersError, InvalidParameterError
from llamaforge.formats.local import local_path

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

_LONGEST_CONTEXT = 2**24
"""More than any model knows; far beyond, llama.cpp fills memory with bookkeeping before it notices."""

_OVERRIDE_BYTES = 127
"""llama.cpp keeps keys and texts of overrides in 128 bytes, the closing zero among them."""


class LoraAdapter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A LoRA adapter and how strongly it applies."""

    path: Annotated[str, Meta(min_length=1)]
    scale: float = 1.0


class LlamaCppConfig(EngineConfig, frozen=True, kw_only=True):
    """Load parameters of the llama.cpp backend."""

    n_gpu_layers: Annotated[
        int,
        Meta(
            ge=-1,
            le=2**31 - 1,
            description="Layers to put on the graphics card; -1 is all. Without a card, all stay in main memory.",
        ),
    ] = -1
    split_mode: Annotated[
        Literal["none", "layer", "row", "tensor"],
        Meta(description="How several cards share a model: whole on main_gpu, by layers, by rows, or by tensors."),
    ] = "layer"
    main_gpu: Annotated[int, Meta(ge=0, le=1023, description="The card that split_mode 'none' uses.")] = 0
    tensor_split: (
        Annotated[
            tuple[Annotated[float, Meta(ge=0)], ...], Meta(description="Each card's share, as proportions: [3, 1].")
        ]
        | None
    ) = None
    n_ctx: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=_LONGEST_CONTEXT,
                description="Context length in tokens, for each request and for all together; 0 is the length that the "
                "model was trained for. Not set: that, but at most 8192.",
            ),
        ]
        | None
    ) = None
    n_batch: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=2**20,
                description="Tokens in a step, all requests together; a longer prompt takes several steps. Not set: "
                "128 on a processor, 512 with a graphics card, 512 for vectors.",
            ),
        ]
        | None
    ) = None
    pooling: (
        Annotated[
            Literal["mean", "cls", "last"],
            Meta(
                description="With task embed: how a text's vector is made of its tokens'. Not set: as the file says; "
                "one that doesn't is refused."
            ),
        ]
        | None
    ) = None
    prompts: Annotated[
        dict[str, str],
        Meta(description="With task embed: texts to put before others, for prompt_name: {'query': 'query: '}."),
    ] = msgspec.field(default_factory=dict)
    n_ubatch: Annotated[
        int, Meta(ge=1, le=2**20, description="Tokens in a step that are computed at once; at most n_batch.")
    ] = 512
    n_threads: (
        Annotated[
            int, Meta(ge=1, le=512, description="Threads for generating. Not set: the cores that this process may use.")
        ]
        | None
    ) = None
    n_threads_batch: (
        Annotated[int, Meta(ge=1, le=512, description="Threads for reading prompts. Not set: n_threads.")] | None
    ) = None
    f16_kv: (
        Annotated[
            bool, Meta(description="True: a key/value cache of 16-bit floats; false: of 32 bits. Not set: see type_k.")
        ]
        | None
    ) = None
    type_k: Annotated[CacheType, Meta(description="Type of the keys in the cache. Not set: f16.")] | None = None
    type_v: (
        Annotated[
            CacheType,
            Meta(description="Type of the values in the cache. Not set: f16. A quantized one needs flash_attn."),
        ]
        | None
    ) = None
    flash_attn: Annotated[bool, Meta(description="Flash attention. Not set: the engine's choice.")] | None = None
    swa_full: Annotated[
        bool,
        Meta(
            description="Sliding-window models: keep the whole cache, so that prefixes can be reused and guesses "
            "undone. False saves memory."
        ),
    ] = True
    offload_kqv: Annotated[bool, Meta(description="Keep the cache and attention on the graphics card, too.")] = True
    use_mmap: Annotated[bool, Meta(description="Map the file into memory instead of reading it.")] = True
    use_mlock: Annotated[bool, Meta(description="Keep the model from being swapped out.")] = False
    check_tensors: Annotated[bool, Meta(description="Check all weights for invalid values while loading.")] = False
    seed: (
        Annotated[
            int, Meta(ge=0, le=2**32 - 1, description="Seed for requests without one. Not set: a new one each time.")
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
    lora: Annotated[
        tuple[Annotated[str, Meta(min_length=1)] | LoraAdapter, ...],
        Meta(description="LoRA adapters (GGUF): a list of paths, or of {'path': ..., 'scale': ...}."),
    ] = ()
    rope_freq_base: (
        Annotated[float, Meta(gt=0, description="Base frequency of the rotary embedding. Not set: the model's.")] | None
    ) = None
    rope_freq_scale: (
        Annotated[
            float,
            Meta(gt=0, description="Factor on the rotary frequencies: 0.5 doubles the context. Not set: the model's."),
        ]
        | None
    ) = None
    rope_scaling_type: (
        Annotated[
            Literal["none", "linear", "yarn", "longrope"],
            Meta(description="How the rotary embedding is stretched. Not set: as the model says."),
        ]
        | None
    ) = None
    yarn_ext_factor: (
        Annotated[float, Meta(ge=0, description="YaRN: extrapolation mix. Not set: the model's.")] | None
    ) = None
    yarn_attn_factor: (
        Annotated[float, Meta(ge=0, description="YaRN: scale of the attention. Not set: the model's.")] | None
    ) = None
    yarn_beta_fast: (
        Annotated[float, Meta(ge=0, description="YaRN: low correction dimension. Not set: the model's.")] | None
    ) = None
    yarn_beta_slow: (
        Annotated[float, Meta(ge=0, description="YaRN: high correction dimension. Not set: the model's.")] | None
    ) = None
    yarn_orig_ctx: (
        Annotated[
            int, Meta(ge=1, le=2**31 - 1, description="YaRN: context length of the training. Not set: the model's.")
        ]
        | None
    ) = None
    kv_overrides: Annotated[
        dict[str, bool | int | float | str],
        Meta(
            description="Entries of the model's metadata to read differently: {'tokenizer.ggml.add_bos_token': False}."
        ),
    ] = msgspec.field(default_factory=dict)
    verbose: Annotated[bool, Meta(description="Let the engine's log go to standard error, in full.")] = False

    def __post_init__(self) -> None:
        for name in ("type_k", "type_v"):
            given = getattr(self, name)
            if self.f16_kv is not None and given not in (None, self._kv_type):
                raise ConflictingParametersError(
                    ["f16_kv", name], f"f16_kv={self.f16_kv} means {self._kv_type}, but {name} is {given}."
                )
        if self.flash_attn is False and self.cache_types[1] not in ("f32", "f16", "bf16"):
            raise ConflictingParametersError(
                ["type_v", "flash_attn"], "A quantized type_v needs flash attention, but flash_attn is False."
            )
        if self.tensor_split is not None and not sum(self.tensor_split) > 0:
            raise InvalidParameterError("tensor_split", self.tensor_split, "a list of proportions, not all zero")
        for key, value in self.kv_overrides.items():
            if not 0 < len(key.encode()) <= _OVERRIDE_BYTES:
                raise InvalidParameterError(
                    "kv_overrides", key, f"a mapping whose keys have 1 to {_OVERRIDE_BYTES} bytes"
                )
            if isinstance(value, str) and len(value.encode()) > _OVERRIDE_BYTES:
                raise InvalidParameterError(f"kv_overrides[{key!r}]", value, f"at most {_OVERRIDE_BYTES} bytes long")
            if type(value) is int and not -(2**63) <= value < 2**63:
                raise InvalidParameterError(f"kv_overrides[{key!r}]", value, "a whole number that fits into 64 bits")

    @property
    def cache_types(self) -> tuple[CacheType, CacheType]:
        """Types of the keys and of the values in the cache."""
        return self.type_k or self._kv_type, self.type_v or self._kv_type

    @property
    def adapters(self) -> tuple[LoraAdapter, ...]:
        """The LoRA adapters, each with its scale; a ``~`` in a path is the home folder."""
        given = (each if isinstance(each, LoraAdapter) else LoraAdapter(each) for each in self.lora)
        return tuple(LoraAdapter(str(local_path(each.path)), each.scale) for each in given)

    @property
    def stretches_context(self) -> bool:
        """Whether parameters change the rotary embedding, and so for how many tokens the model is good."""
        names = ("rope_freq_base", "rope_freq_scale", "rope_scaling_type", "yarn_ext_factor", "yarn_orig_ctx")
        return any(getattr(self, name) is not None for name in names)

    @property
    def _kv_type(self) -> Literal["f16", "f32"]:
        return "f32" if self.f16_kv is False else "f16"
