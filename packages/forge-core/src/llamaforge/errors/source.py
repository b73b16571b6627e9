"""A model can't be found or downloaded."""

from __future__ import annotations

from .base import LlamaForgeError


class SourceError(LlamaForgeError):
    """A model can't be found or downloaded."""


class InvalidReferenceError(SourceError, ValueError):
    """The model reference is not valid.

    Attributes: ``reference``; ``reason``.

    What to do: correct it as ``reason`` says.
    """

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        self.reason = reason
        super().__init__(f"The model reference {reference!r} is not valid: {reason}")


class SourceNotFoundError(SourceError, FileNotFoundError):
    """The reference leads nowhere.

    Attributes: ``reference``; ``reason``.

    What to do: check the reference; ``reason`` suggests similar ones.
    """

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        self.reason = reason
        super().__init__(f"{reference} was not found: {reason}")


class ChecksumError(SourceError, ValueError):
    """The file doesn't have the expected SHA-256.

    Attributes: ``reference``; ``expected``; ``actual``; ``file`` (the path of a file that was here already; None for a
    download).

    What to do: check the reference and the expected checksum, then download the file again. Accept the
    new checksum only if you know why the file changed.
    """

    def __init__(self, reference: str, expected: str, actual: str, file: str | None = None) -> None:
        self.reference = reference
        self.expected = expected
        self.actual = actual
        self.file = file
        if file is None:
            what = reference
            advice = (
                "The file was not kept. It was changed at its source or damaged in transit; check the reference, then "
                "try again."
            )
        else:
            what = f"The file {file}"
            advice = "It is another file than expected, or damaged. It was left as it is, and not loaded."
        super().__init__(f"{what} has the SHA-256 {actual}, but {expected} was expected. {advice}")


class DownloadError(SourceError, ConnectionError):
    """The download failed or was cut off; no partial file is kept.

    Attributes: ``reference``; ``reason``.

    What to do: check the network and, for ``pypi:``, pip's configuration, then try again.
    """

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        self.reason = reason
        super().__init__(f"{reference} could not be downloaded: {reason}")


class MissingDependencyError(SourceError, ImportError):
    """An optional package is missing.

    Attributes: ``needed_by``; ``package``; ``command``.

    What to do: run ``command``.
    """

    def __init__(self, needed_by: str, package: str, command: str) -> None:
        self.needed_by = needed_by
        self.package = package
        self.command = command
        super().__init__(f"{needed_by} needs the package {package}. Install it with: {command}")
