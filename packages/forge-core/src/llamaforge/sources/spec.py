"""What a model source is made of: plain data, standard library only, so that a plugin's module stays light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .redact import redact


class Progress(Protocol):
    """What a caller passes to watch a download. Called from the thread that called ``resolve``, or from a worker.

    An exception that it raises ends the download, and nothing incomplete is kept.
    """

    def __call__(self, done: int, total: int | None, what: str, /) -> object:
        """*done* bytes of *total* (None: nobody knows) are there of *what*, a phrase for people."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A model reference, taken apart.

    Attributes:
        text: the reference as the user wrote it.
        scheme: the kind of source: ``path``, ``pkg``, ``pypi``, ``hf`` or a plugin's own.
        target: what stands behind the scheme, without the checksum.
        sha256: the expected SHA-256 of the file, 64 lower-case hexadecimal digits, or None.
    """

    text: str
    scheme: str
    target: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Where a model is.

    Attributes:
        reference: the reference it came from, as the user wrote it.
        location: what is handed to the engine: a local path, or an id that the engine fetches by itself.
        path: the local file or folder, absolute; None where *location* is such an id.
        revision: branch, tag or commit on a model hub; None where there is none.
        scheme: the kind of source that answered.
    """

    reference: str
    location: str
    path: Path | None
    revision: str | None
    scheme: str

    def __repr__(self) -> str:
        return (
            f"ResolvedModel(reference={redact(self.reference)!r}, location={redact(self.location)!r}, "
            f"path={self.path!r}, revision={self.revision!r}, scheme={self.scheme!r})"
        )

    @property
    def is_file(self) -> bool:
        """Whether it is a local file."""
        return self.path is not None and self.path.is_file()

    @property
    def is_folder(self) -> bool:
        """Whether it is a local folder."""
        return self.path is not None and self.path.is_dir()

    @property
    def is_hub_id(self) -> bool:
        """Whether it is no local path but an ``org/name`` that the engine fetches by itself."""
        return self.path is None

    @property
    def suffix(self) -> str:
        """The local file's suffix in lower case, as ``.gguf``; empty for folders and hub ids."""
        return self.path.suffix.lower() if self.path is not None and self.path.is_file() else ""

    def has_file(self, name: str) -> bool:
        """Whether it is a local folder that holds a file called *name*."""
        return self.path is not None and (self.path / name).is_file()

    def starts_with(self, magic: bytes) -> bool:
        """Whether it is a local file whose first bytes are *magic*; an unreadable file is not."""
        if self.path is None or not self.path.is_file():
            return False
        try:
            with self.path.open("rb") as file:
                return file.read(len(magic)) == magic
        except OSError:
            return False


class ResolveFunction(Protocol):
    """What a source's target names: make a local path, or an engine's own id, of a reference."""

    def __call__(
        self, reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool
    ) -> ResolvedModel:
        """Fetch what *reference* names, unless it is here already.

        Args:
            reference: the reference, taken apart. Its checksum is checked by the caller where *path* is a file.
            progress: called while bytes arrive, if not None.
            offline: touch no network: answer from what is here, or raise DownloadError.
            refresh: ask the network anew, although an older answer is here.

        Raises InvalidReferenceError, SourceNotFoundError, ChecksumError, DownloadError or MissingDependencyError.
        """
        ...


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One kind of model source.

    Attributes:
        scheme: the word before the colon; lower case, two letters at least.
        target: ``module:function``, imported on first use; the function is a :class:`ResolveFunction`.
        description: one line for people, with an example.
        pull_target: likewise, for ``pull``: fetches also what an engine would fetch by itself. None: the same function.
    """

    scheme: str
    target: str
    description: str
    pull_target: str | None = None
