"""The parts of a model source. Standard library only, so that a plugin's module is cheap to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .redact import redact


class Progress(Protocol):
    """A callback for the progress of a download. Called in the thread that called ``resolve``, or in a worker thread.

    If it raises an exception, the download ends, and no partial file is kept.
    """

    def __call__(self, done: int, total: int | None, what: str, /) -> object:
        """*done* bytes of *total* (None if unknown) have arrived of *what*, a description for people."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed model reference.

    Attributes:
        text: the reference as the user wrote it.
        scheme: the kind of source: ``path``, ``pkg``, ``pypi``, ``hf`` or a plugin's own.
        target: the part after the scheme, without the checksum.
        sha256: the expected SHA-256 of the file, 64 lower-case hexadecimal digits, or None.
    """

    text: str
    scheme: str
    target: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The location of a model.

    Attributes:
        reference: the reference, as the user wrote it.
        location: what the engine gets: a local path, or an id that the engine downloads itself.
        path: the local file or folder, absolute; None if *location* is such an id.
        revision: branch, tag or commit on a model hub; None without one.
        scheme: the kind of source.
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
        """Whether it is an ``org/name`` that the engine downloads itself, not a local path."""
        return self.path is None

    @property
    def suffix(self) -> str:
        """The local file's suffix in lower case, such as ``.gguf``; empty for folders and hub ids."""
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
    """The function of a source: it resolves a reference to a local path or an engine's own id."""

    def __call__(
        self, reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool
    ) -> ResolvedModel:
        """Return the model; download it if it is not here already.

        Args:
            reference: the parsed reference. The caller verifies its checksum if *path* is a file.
            progress: called during a download, if not None.
            offline: don't use the network; raise DownloadError if the model is not here.
            refresh: ask the network even if an older answer is here.

        Raises InvalidReferenceError, SourceNotFoundError, ChecksumError, DownloadError or MissingDependencyError.
        """
        ...


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One kind of model source.

    Attributes:
        scheme: the word before the colon, in lower case, with at least two letters.
        target: ``module:function``, imported on first use; the function is a :class:`ResolveFunction`.
        description: one line for people, with an example.
        pull_target: the function for ``pull``, which also downloads what an engine would download itself. None: the
            same function.
    """

    scheme: str
    target: str
    description: str
    pull_target: str | None = None
