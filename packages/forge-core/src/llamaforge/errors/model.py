"""Something is wrong with a model, or with the file that lists them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .base import LlamaForgeError, closest, did_you_mean


class ModelError(LlamaForgeError):
    """Something is wrong with a model."""


class UnknownModelError(ModelError, LookupError):
    """No model has that name.

    Attributes: ``name``; ``known``; ``suggestions``.

    What to do: use one of ``suggestions``, or list the models with ``llamaforge models``. A reference to a file has a
    slash or ends in ``.gguf``.
    """

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        self.suggestions = closest(name, self.known)
        super().__init__(f"There is no model {name!r}." + did_you_mean(self.suggestions, self.known, "models"))


class ModelExistsError(ModelError, ValueError):
    """Another model already has that name.

    Attribute: ``name``.

    What to do: choose another name, or pass ``replace=True``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"The name {name!r} is taken by another model. Choose another name, or pass replace=True.")


class ModelNotLoadedError(ModelError, RuntimeError):
    """No model is loaded.

    Attribute: ``name`` (the requested model, or None).

    What to do: call ``load_model`` first, or load the model again if it was unloaded meanwhile.
    """

    def __init__(self, message: str = "No model is loaded: call load_model first.", name: str | None = None) -> None:
        self.name = name
        super().__init__(message)


class MemoryBudgetError(ModelError, MemoryError):
    """A model doesn't fit into the memory budget.

    Attributes: ``name``; ``needed``, ``budget`` and ``taken``, in bytes.

    What to do: unload or unpin other models, wait until they are idle, raise the budget, or use a smaller model.
    """

    def __init__(self, name: str, needed: int, budget: int, taken: int = 0) -> None:
        self.name = name
        self.needed = needed
        self.budget = budget
        self.taken = taken
        used = f", and models in use take {taken:,} of it" if taken else ""
        super().__init__(f"The model {name!r} needs {needed:,} bytes. The memory budget is {budget:,} bytes{used}.")


class ModelNotFoundError(ModelError, FileNotFoundError):
    """There is no such file, folder or remote model.

    Attributes: ``model``; ``known`` (the models that exist, if known).

    What to do: check the path or the id; ``known`` lists the models that exist, if known.
    """

    def __init__(self, message: str, model: str, known: Iterable[str] = ()) -> None:
        self.model = model
        self.known = list(known)
        super().__init__(message)


class InvalidModelError(ModelError, ValueError):
    """The file is damaged, truncated, or not a model.

    Attributes: ``model``; ``reason``.

    What to do: download the file again, or use a model that this backend supports.
    """

    def __init__(self, model: str, reason: str) -> None:
        self.model = model
        self.reason = reason
        super().__init__(f"{model} can't be loaded: {reason}")


class ModelLoadError(ModelError, RuntimeError):
    """The engine could not load the model.

    Attributes: ``model``; ``reason``.

    What to do: read ``reason``, which includes the engine's own message. Most often memory is short, or the engine is
    too old for the model.
    """

    def __init__(self, model: str, reason: str) -> None:
        self.model = model
        self.reason = reason
        super().__init__(f"The engine could not load {model}: {reason}")


class DeviceNotAvailableError(ModelError, RuntimeError):
    """The requested device is not available.

    Attributes: ``device``; ``available``.

    What to do: use one of ``available``, or install a build of the engine for that device (see ``llamaforge doctor``).
    """

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

    What to do: correct that line, or move the file away and start a new one.
    """

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        self.path = path
        self.reason = reason
        self.line = line
        where = f"{path}, line {line}" if line is not None else str(path)
        end = "" if reason.endswith((".", "?")) else "."
        advice = "The file was not changed. Correct it, or move it away."
        super().__init__(f"The model file can't be used: {where}: {reason}{end} {advice}")


class LogFileError(LlamaForgeError, ValueError):
    """The file of the response log can't be read or written. It was not changed.

    Attributes: ``path``; ``reason``.

    What to do: as the reason says; or name another file in the environment variable ``LLAMAFORGE_LOG``.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"The response log {path} can't be used: {reason}")
