"""Every error that LlamaForge raises on purpose.

Each is also the builtin that a caller would guess, and carries what it knows as attributes::

    LlamaForgeError
    ├── BackendError
    │   ├── UnknownBackendError         LookupError      no such name; the closest ones
    │   ├── BackendNotInstalledError    ImportError      known name; the pip command
    │   ├── EngineNotAvailableError     ImportError      the engine's own library can't be imported
    │   ├── BrokenPluginError           ImportError      installed; what it raised, kept
    │   ├── DuplicatePluginError        RuntimeError     two distributions claim one name
    │   ├── ContractVersionError        RuntimeError     written for another API_VERSION
    │   └── NoBackendForModelError      LookupError      nothing installed takes this model
    ├── ModelError
    │   ├── UnknownModelError           LookupError      no model of that name; the closest ones
    │   ├── ModelExistsError            ValueError       the name is taken by another model
    │   ├── ModelNotLoadedError         RuntimeError     generate before load
    │   ├── ModelNotFoundError          FileNotFoundError  no such file, folder or remote model
    │   ├── InvalidModelError           ValueError       the file is damaged or is no model
    │   ├── ModelLoadError              RuntimeError     the engine could not load it
    │   └── DeviceNotAvailableError     RuntimeError     the device asked for is not there
    ├── SourceError
    │   ├── InvalidReferenceError       ValueError       a model reference that can't be read
    │   ├── SourceNotFoundError         FileNotFoundError  nothing stands under that reference
    │   ├── ChecksumError               ValueError       the SHA-256 is not the expected one
    │   ├── DownloadError               ConnectionError  the download failed or was cut off
    │   └── MissingDependencyError      ImportError      an optional package is needed; the pip command
    ├── ModelFileError                  ValueError       the user's model file is damaged; its line
    ├── RequestError
    │   ├── UnknownParameterError       ValueError       no such parameter; the closest ones
    │   ├── InvalidParameterError       ValueError       wrong type or out of range
    │   ├── ConflictingParametersError  ValueError       two parameters contradict each other
    │   ├── UnsupportedError            NotImplementedError  this backend can't do that
    │   ├── EmptyPromptError            ValueError       nothing to generate from
    │   ├── NoChatTemplateError         ValueError       the model has no chat template
    │   └── ContextOverflowError        ValueError       the prompt does not fit; both counts
    └── EngineError
        ├── GenerationError             RuntimeError     the engine failed while generating
        ├── GenerationTimeoutError      TimeoutError     the deadline passed
        ├── ContractError               RuntimeError     a backend broke the contract
        ├── ConnectionFailedError       ConnectionError  the server can't be reached, or went away
        ├── AuthenticationError         PermissionError  the server refused the key
        ├── RateLimitError              RuntimeError     the server asks to slow down
        └── ServerError                 RuntimeError     the server answered with an error
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def closest(name: str, known: Iterable[str]) -> list[str]:
    """The names in *known* that *name* was probably meant to be, best first, three at most."""
    import difflib

    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(_fold(candidate), candidate)
    found = difflib.get_close_matches(_fold(name), folded, n=3, cutoff=0.6)
    return [folded[key] for key in found]


def _fold(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _did_you_mean(suggestions: Sequence[str], known: Iterable[str], what: str) -> str:
    if suggestions:
        return f" Did you mean {' or '.join(map(repr, suggestions))}?"
    names = sorted(known)
    if not names:
        return f" There are no {what} yet."
    return f" Known {what}: {', '.join(names)}."


class LlamaForgeError(Exception):
    """Base of every error that LlamaForge raises on purpose."""

    message: str
    """What went wrong and what to do about it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take keyword arguments of their own, which the default protocol would lose.
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]


class BackendError(LlamaForgeError):
    """A backend can't be had."""


class UnknownBackendError(BackendError, LookupError):
    """No backend has that name.

    Attributes: ``name``; ``known`` (every name there is); ``suggestions`` (the closest ones).
    """

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        self.suggestions = closest(name, self.known)
        super().__init__(f"There is no backend {name!r}." + _did_you_mean(self.suggestions, self.known, "backends"))


class BackendNotInstalledError(BackendError, ImportError):
    """The name is known, but its distribution is not installed.

    Attributes: ``backend``; ``distribution``; ``command`` (what to type).
    """

    def __init__(self, backend: str, distribution: str, command: str) -> None:
        self.backend = backend
        self.distribution = distribution
        self.command = command
        super().__init__(f"The backend {backend!r} is not installed. Install it with: {command}")


class EngineNotAvailableError(BackendError, ImportError):
    """The plugin is sound, but the engine that it drives can't be imported.

    Attributes: ``backend``; ``module``; ``reason``. The original exception is ``__cause__``.
    """

    def __init__(self, backend: str, module: str, reason: str, advice: str) -> None:
        self.backend = backend
        self.module = module
        self.reason = reason
        super().__init__(f"The backend {backend!r} can't import its engine {module}: {reason}. {advice}")


class BrokenPluginError(BackendError, ImportError):
    """The plugin is installed, but could not be loaded.

    Attributes: ``name``; ``kind`` (``backend``, ``source`` or ``command``); ``distribution`` (or None);
    ``reason``; ``traceback`` (text of the original traceback). The original exception is ``__cause__``.
    """

    def __init__(self, kind: str, name: str, distribution: str | None, reason: str, traceback: str) -> None:
        self.kind = kind
        self.name = name
        self.distribution = distribution
        self.reason = reason
        self.traceback = traceback
        owner = f" (from the distribution {distribution})" if distribution else ""
        super().__init__(
            f"The {kind} {name!r}{owner} is installed but broken: {reason}. `llamaforge doctor` shows its traceback."
        )


class DuplicatePluginError(BackendError, RuntimeError):
    """Two distributions claim one name. Attributes: ``kind``; ``name``; ``distributions``."""

    def __init__(self, kind: str, name: str, distributions: Sequence[str]) -> None:
        self.kind = kind
        self.name = name
        self.distributions = list(distributions)
        super().__init__(
            f"The {kind} {name!r} is claimed by {' and '.join(distributions)}. Uninstall all but one of them: "
            f"pip uninstall {distributions[-1]}"
        )


class ContractVersionError(BackendError, RuntimeError):
    """The plugin was written for another version of the contract.

    Attributes: ``name``; ``distribution``; ``plugin_version``; ``core_version``.
    """

    def __init__(self, name: str, distribution: str | None, plugin_version: int, core_version: int) -> None:
        self.name = name
        self.distribution = distribution
        self.plugin_version = plugin_version
        self.core_version = core_version
        upgrade = "forge-core" if plugin_version > core_version else distribution or f"the plugin of {name!r}"
        super().__init__(
            f"The backend {name!r} is written for contract version {plugin_version}, this forge-core speaks "
            f"{core_version}. Upgrade {upgrade}."
        )


class NoBackendForModelError(BackendError, LookupError):
    """No installed backend takes this model. Attributes: ``reference``; ``hints`` (what would help)."""

    def __init__(self, reference: str, hints: Sequence[str] = ()) -> None:
        self.reference = reference
        self.hints = list(hints)
        super().__init__(
            " ".join([f"No installed backend says that it can run {reference!r}.", *hints, "Or name one: backend=..."])
        )


class ModelError(LlamaForgeError):
    """Something is wrong with a model."""


class UnknownModelError(ModelError, LookupError):
    """No model has that name. Attributes: ``name``; ``known``; ``suggestions``."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        self.suggestions = closest(name, self.known)
        super().__init__(f"There is no model {name!r}." + _did_you_mean(self.suggestions, self.known, "models"))


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


class SourceError(LlamaForgeError):
    """A model can't be fetched."""


class InvalidReferenceError(SourceError, ValueError):
    """The model reference can't be read. Attributes: ``reference``; ``reason``."""

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        self.reason = reason
        super().__init__(f"The model reference {reference!r} is not valid: {reason}")


class SourceNotFoundError(SourceError, FileNotFoundError):
    """Nothing stands under that reference. Attributes: ``reference``; ``reason``."""

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        self.reason = reason
        super().__init__(f"{reference} was not found: {reason}")


class ChecksumError(SourceError, ValueError):
    """The content's SHA-256 is not the expected one. Attributes: ``reference``; ``expected``; ``actual``."""

    def __init__(self, reference: str, expected: str, actual: str) -> None:
        self.reference = reference
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"{reference} has the SHA-256 {actual}, expected was {expected}. Nothing was kept. "
            "The file was changed or damaged on its way; check the reference, then try again."
        )


class DownloadError(SourceError, ConnectionError):
    """The download failed or was cut off; nothing incomplete is kept. Attributes: ``reference``; ``reason``."""

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        self.reason = reason
        super().__init__(f"{reference} could not be downloaded: {reason}")


class MissingDependencyError(SourceError, ImportError):
    """An optional package is needed. Attributes: ``needed_by``; ``package``; ``command``."""

    def __init__(self, needed_by: str, package: str, command: str) -> None:
        self.needed_by = needed_by
        self.package = package
        self.command = command
        super().__init__(f"{needed_by} needs the package {package}. Install it with: {command}")


class ModelFileError(LlamaForgeError, ValueError):
    """The user's model file can't be read. It is never overwritten. Attributes: ``path``; ``line``; ``reason``."""

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        self.path = path
        self.reason = reason
        self.line = line
        where = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(f"The model file is damaged: {where}: {reason}. It was left as it is; mend or move it.")


class RequestError(LlamaForgeError):
    """The request can't be run as it stands; no work was done."""


class UnknownParameterError(RequestError, ValueError):
    """No parameter has that name. Attributes: ``name``; ``known``; ``suggestions``."""

    def __init__(self, name: str, known: Iterable[str], where: str = "parameter") -> None:
        self.name = name
        self.known = sorted(known)
        self.suggestions = closest(name, self.known)
        super().__init__(f"There is no {where} {name!r}." + _did_you_mean(self.suggestions, self.known, f"{where}s"))


class InvalidParameterError(RequestError, ValueError):
    """A parameter has the wrong type or is out of range. Attributes: ``name``; ``value``; ``expected``."""

    def __init__(self, name: str, value: object, expected: str, *, show_value: bool = True) -> None:
        self.name = name
        self.expected = expected
        self.value = value if show_value else None
        got = f", not {value!r}" if show_value else ""
        super().__init__(f"{name} must be {expected}{got}.")


class ConflictingParametersError(RequestError, ValueError):
    """Two parameters contradict each other. Attribute: ``names``."""

    def __init__(self, names: Sequence[str], reason: str) -> None:
        self.names = list(names)
        super().__init__(f"{' and '.join(names)} contradict each other: {reason}")


class UnsupportedError(RequestError, NotImplementedError):
    """This backend can't do what the request asks for. Attributes: ``feature``; ``backend``."""

    def __init__(self, feature: str, backend: str, advice: str = "") -> None:
        self.feature = feature
        self.backend = backend
        super().__init__(f"The backend {backend!r} does not support {feature}." + (f" {advice}" if advice else ""))


class EmptyPromptError(RequestError, ValueError):
    """There is nothing to generate from."""

    def __init__(self, message: str = "The prompt is empty: give it some text.") -> None:
        super().__init__(message)


class NoChatTemplateError(RequestError, ValueError):
    """The model has no chat template, and none is ever guessed. Attribute: ``model``."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"{model} has no chat template, so messages can't be put into its words. Pass one with the load "
            "parameter chat_template, or send text as it stands with raw=True."
        )


class ContextOverflowError(RequestError, ValueError):
    """The prompt does not fit into the context.

    Attributes: ``prompt_tokens``; ``context_size`` (both in tokens; None where a server keeps a count to itself).
    """

    def __init__(self, prompt_tokens: int | None, context_size: int | None, advice: str = "") -> None:
        self.prompt_tokens = prompt_tokens
        self.context_size = context_size
        has = f"{prompt_tokens} tokens" if prompt_tokens is not None else "too many tokens"
        holds = f"holds {context_size}" if context_size is not None else "can't hold them"
        super().__init__(
            f"The prompt has {has}, the context {holds}, and at least one must stay free for the answer. "
            + (advice or "Shorten the prompt, or load the model with a larger context.")
        )


class EngineError(LlamaForgeError):
    """The engine or the server failed."""


class GenerationError(EngineError, RuntimeError):
    """The engine failed while generating."""


class GenerationTimeoutError(EngineError, TimeoutError):
    """The deadline passed. Attributes: ``timeout`` (seconds); ``text`` (what had come until then)."""

    def __init__(self, timeout: float, text: str = "") -> None:
        self.timeout = timeout
        self.text = text
        super().__init__(f"The answer was not complete after {timeout:g} s. Raise timeout, or lower max_tokens.")


class ContractError(EngineError, RuntimeError):
    """A backend broke the contract. Attributes: ``backend``; ``reason``."""

    def __init__(self, backend: str, reason: str) -> None:
        self.backend = backend
        self.reason = reason
        super().__init__(f"The backend {backend!r} broke the contract: {reason}. Please report it to its author.")


class ConnectionFailedError(EngineError, ConnectionError):
    """The server can't be reached, or went away. Attributes: ``endpoint``; ``reason``."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(f"The server at {endpoint} can't be reached: {reason}")


class AuthenticationError(EngineError, PermissionError):
    """The server refused the key. Attributes: ``endpoint``; ``status`` (HTTP)."""

    def __init__(self, endpoint: str, status: int, reason: str) -> None:
        self.endpoint = endpoint
        self.status = status
        super().__init__(f"The server at {endpoint} refused the API key (HTTP {status}): {reason}")


class ServerError(EngineError, RuntimeError):
    """The server answered with an error. Attributes: ``endpoint``; ``status`` (HTTP, or None inside a stream)."""

    def __init__(self, endpoint: str, status: int | None, reason: str) -> None:
        self.endpoint = endpoint
        self.status = status
        self.reason = reason
        code = f" (HTTP {status})" if status is not None else ""
        super().__init__(f"The server at {endpoint} answered with an error{code}: {reason}")


class RateLimitError(ServerError):
    """The server asks to slow down. Attribute: ``retry_after`` (seconds, or None)."""

    def __init__(self, endpoint: str, status: int | None, reason: str, retry_after: float | None = None) -> None:
        super().__init__(endpoint, status, reason)
        self.retry_after = retry_after
