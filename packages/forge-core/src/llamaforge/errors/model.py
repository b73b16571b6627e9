"""Something is wrong with a model, or with the file that lists them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .base import LlamaForgeError, closest, did_you_mean


class ModelError(LlamaForgeError):
    """Something is wrong with a model."""


class UnknownModelError(ModelError, LookupError):
    """No model has that name. Attributes: ``name``; ``known``; ``suggestions``."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        self.suggestions = closest(name, self.known)
        super().__init__(f"There is no model {name!r}." + did_you_mean(self.suggestions, self.known, "models"))


class ModelExistsError(ModelError, ValueError):
    """Another model has that name already. Attribute: ``name``."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"A different model is named {name!r} already. Choose another name, or pass replace=True.")


class ModelNotLoadedError(ModelError, RuntimeError):
    """No model is loaded. Attribute: ``name`` (the model asked for, or None)."""

    def __init__(self, message: str = "No model is loaded: call load_model first.", name: str | None = None) -> None:
        self.name = name
        super().__init__(message)


class ModelNotFoundError(ModelError, FileNotFoundError):
    """There is no such file, folder or remote model. Attributes: ``model``; ``known`` (what there is, if known)."""

    def __init__(self, message: str, model: str, known: Iterable[str] = ()) -> None:
        self.model = model
        self.known = list(known)
        super().__init__(message)


class InvalidModelError(ModelError, ValueError):
    """The file is damaged, cut short, or is no model. Attributes: ``model``; ``reason``."""

    def __init__(self, model: str, reason: str) -> None:
        self.model = model
        self.reason = reason
        super().__init__(f"{model} can't be loaded: {reason}")


class ModelLoadError(ModelError, RuntimeError):
    """The engine could not load the model. Attributes: ``model``; ``reason``."""

    def __init__(self, model: str, reason: str) -> None:
        self.model = model
        self.reason = reason
        super().__init__(f"The engine could not load {model}: {reason}")


class DeviceNotAvailableError(ModelError, RuntimeError):
    """The device asked for is not there. Attributes: ``device``; ``available``."""

    def __init__(self, device: str, available: Sequence[str], advice: str = "") -> None:
        self.device = device
        self.available = list(available)
        super().__init__(
            f"The device {device!r} is not available here. Available: {', '.join(available)}."
            + (f" {advice}" if advice else "")
        )


class ModelFileError(LlamaForgeError, ValueError):
    """The user's model file can't be read or written; a damaged one is never overwritten.

    Attributes: ``path``; ``line`` (or None); ``reason``.
    """

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        self.path = path
        self.reason = reason
        self.line = line
        where = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(f"The model file can't be used: {where}: {reason}. It was left as it is; mend or move it.")
