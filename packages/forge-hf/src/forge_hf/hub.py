"""A repository of the Hugging Face hub as a local folder: from the hub's cache, or fetched into it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache

from llamaforge.errors import InvalidModelError, ModelNotFoundError, closest
from llamaforge.formats.local import CONFIG

from .checkpoint import INDEXES, SINGLE, shards
from .config import HuggingFaceConfig
from .model_source import ModelSource

_LIBRARY = "llamaforge"
_NOT_NEEDED = frozenset(
    {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".ot", ".onnx", ".gguf", ".tflite", ".mlmodel"}
    | {".zip", ".gz", ".tar", ".parquet", ".md", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".mp4"}
)
"""Weights, which are chosen one by one, and what no model needs."""


def switched_off(config: HuggingFaceConfig, *, offline: bool) -> str | None:
    """What forbids downloads, for messages; None where they are allowed."""
    if offline:
        return "offline=True"
    if config.local_files_only:
        return "local_files_only=True"
    return "the environment variable HF_HUB_OFFLINE" if constants.is_offline_mode() else None


_MODULE = re.compile(r"\d+_[A-Za-z]+")
"""The folders of sentence-transformers' modules, such as ``1_Pooling``."""


def fetch(source: ModelSource, config: HuggingFaceConfig, forbidden_by: str | None) -> Path:
    """The folder that holds the repository *source*: the cached one if it is complete, else fetched now.

    What is cached is used as it is; a newer version of a branch is fetched by ``llamaforge models pull``. Small files
    come first and the weights last, so that whole weights mean a whole model.

    Raises what the hub's library raises (:mod:`forge_hf.errors` maps it), ModelNotFoundError where the network is
    switched off or the repository lacks the GGUF file, and InvalidModelError where it holds GGUF files and none is
    named.
    """
    folder = cached(source, config)
    if folder is not None:
        return folder
    if forbidden_by is not None:
        raise ModelNotFoundError(
            f"{source.name} is not, or not completely, in the hub's cache on this machine "
            f"({config.cache_folder or constants.HF_HUB_CACHE}), and {forbidden_by} forbids downloads. Download it "
            "once without that setting, or pass a local folder.",
            source.name,
        )
    repo, token = source.name, None if config.token is None else config.token.reveal()
    found = HfApi(library_name=_LIBRARY, token=token).model_info(repo, revision=config.revision)
    names = [file.rfilename for file in found.siblings or ()]
    small, weights = _choose(source, names, code=config.trust_remote_code)

    def download(files: list[str]) -> Path:
        return Path(
            snapshot_download(
                repo,
                revision=config.revision,
                cache_dir=config.cache_folder,
                token=token,
                allow_patterns=[_literal(file) for file in files],
                library_name=_LIBRARY,
            )
        )

    folder = download(small) if small else None
    index = next((each for each in INDEXES if each in small), None)
    if folder is not None and index is not None and not weights:
        weights = [shard for shard in shards(folder / index) if shard in names]
    if weights:
        return download(weights)
    if folder is not None:
        return folder
    raise ModelNotFoundError(f"The repository {repo} has no model.", repo, names)


def cached(source: ModelSource, config: HuggingFaceConfig) -> Path | None:
    """The folder in the hub's cache, where it holds all that is needed."""
    wanted = source.gguf_file or CONFIG
    found = try_to_load_from_cache(source.name, wanted, cache_dir=config.cache_folder, revision=config.revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parents[len(PurePosixPath(wanted).parts) - 1]
    return folder if source.gguf_file is not None or _is_complete(folder) else None


def _is_complete(folder: Path) -> bool:
    if any((folder / name).exists() for name in SINGLE):
        return True
    for index in INDEXES:
        if (folder / index).exists():
            try:
                return all((folder / name).exists() for name in shards(folder / index))
            except (ValueError, OSError):
                return False
    return False


def _choose(source: ModelSource, names: list[str], *, code: bool) -> tuple[list[str], list[str]]:
    """Which files to fetch first, and which weights after them. Of several kinds of weights, the first known one."""
    if source.gguf_file is not None:
        if source.gguf_file not in names:
            ggufs = [name for name in names if name.lower().endswith(".gguf")]
            near = closest(source.gguf_file, ggufs)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise ModelNotFoundError(f"{source.name} has no file {source.gguf_file!r}.{hint}", source.name, ggufs)
        return [], [source.gguf_file]
    small = [name for name in names if _is_small(name, code=code)]
    ggufs = sorted(name for name in names if name.lower().endswith(".gguf"))
    if ggufs and not {*SINGLE, *INDEXES}.intersection(names):
        raise InvalidModelError(
            source.name, f"the repository has its weights as GGUF files. Name one: gguf_file={ggufs[0]!r}."
        )
    return small, next(([name] for name in SINGLE if name in names), [])


def _is_small(name: str, *, code: bool) -> bool:
    path = PurePosixPath(name)
    if path.suffix == ".py":
        return code
    if len(path.parts) > 1:
        return path.parts[0] == "additional_chat_templates" or bool(_MODULE.fullmatch(path.parts[0]))
    return path.suffix.lower() not in _NOT_NEEDED and not path.name.startswith(".")


def _literal(name: str) -> str:
    """A pattern that matches *name* alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
