"""A backend can't be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .base import LlamaForgeError, closest, did_you_mean


class BackendError(LlamaForgeError):
    """A backend can't be used."""


class UnknownBackendError(BackendError, LookupError):
    """No backend has that name.

    Attributes: ``name``; ``known`` (every name there is); ``suggestions`` (the closest ones).

    What to do: use one of ``suggestions``, or list the backends with ``llamaforge backends``.
    """

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        self.suggestions = closest(name, self.known)
        super().__init__(f"There is no backend {name!r}." + did_you_mean(self.suggestions, self.known, "backends"))


class BackendNotInstalledError(BackendError, ImportError):
    """The name is known, but its distribution is not installed.

    Attributes: ``backend``; ``distribution``; ``command`` (the one that installs it).

    What to do: run ``command``.
    """

    def __init__(self, backend: str, distribution: str, command: str) -> None:
        self.backend = backend
        self.distribution = distribution
        self.command = command
        super().__init__(f"The backend {backend!r} is not installed. Install it with: {command}")


class EngineNotAvailableError(BackendError, ImportError):
    """The plugin works, but its engine can't be imported.

    Attributes: ``backend``; ``module`` (empty where the library doesn't name it); ``reason``. The original exception is
    ``__cause__``.

    What to do: follow the advice in the message; ``llamaforge doctor`` shows the library's own error.
    """

    def __init__(self, backend: str, module: str, reason: str, advice: str) -> None:
        self.backend = backend
        self.module = module
        self.reason = reason
        what = f"can't import its engine {module}" if module else "lacks a package"
        super().__init__(f"The backend {backend!r} {what}: {reason}. {advice}")


class BrokenPluginError(BackendError, ImportError):
    """The plugin is installed but raised an exception when it was imported.

    Attributes: ``plugin`` (its name; ImportError has a ``name`` of its own); ``kind`` (``backend``, ``source`` or
    ``command``); ``distribution`` (or None); ``reason``; ``traceback`` (text of the original traceback). The
    original exception is ``__cause__``.

    What to do: run ``llamaforge doctor``, which shows the traceback and the command that repairs the plugin. Other
    plugins are not affected.
    """

    def __init__(self, kind: str, plugin: str, distribution: str | None, reason: str, traceback: str) -> None:
        self.kind = kind
        self.plugin = plugin
        self.distribution = distribution
        self.reason = reason
        self.traceback = traceback
        owner = f" (from the distribution {distribution})" if distribution else ""
        super().__init__(
            f"The {kind} {plugin!r}{owner} is installed but broken: {reason}. `llamaforge doctor` shows its traceback."
        )


class DuplicatePluginError(BackendError, RuntimeError):
    """Two distributions provide the same name.

    Attributes: ``kind``; ``name``; ``distributions``.

    What to do: uninstall all of ``distributions`` but one.
    """

    def __init__(self, kind: str, name: str, distributions: Sequence[str]) -> None:
        self.kind = kind
        self.name = name
        self.distributions = list(distributions)
        super().__init__(
            f"The {kind} {name!r} is provided by {' and '.join(distributions)}. Uninstall all but one of them: "
            f"pip uninstall {distributions[-1]}"
        )


class ContractVersionError(BackendError, RuntimeError):
    """The plugin was written for another version of the contract.

    Attributes: ``name``; ``distribution``; ``plugin_version``; ``core_version``.

    What to do: upgrade the distribution that the message names: forge-core if the plugin is newer, otherwise the
    plugin.
    """

    def __init__(self, name: str, distribution: str | None, plugin_version: int, core_version: int) -> None:
        self.name = name
        self.distribution = distribution
        self.plugin_version = plugin_version
        self.core_version = core_version
        upgrade = "forge-core" if plugin_version > core_version else distribution or f"the plugin for {name!r}"
        super().__init__(
            f"The backend {name!r} was written for version {plugin_version} of the contract, but this forge-core has "
            f"version {core_version}. Upgrade {upgrade}."
        )


class NoBackendForModelError(BackendError, LookupError):
    """No installed backend recognises this model.

    Attributes: ``reference``; ``hints`` (suggestions).

    What to do: install a backend for it (``hints`` has the commands), or choose one with ``backend=...``.
    """

    def __init__(self, reference: str, hints: Sequence[str] = ()) -> None:
        self.reference = reference
        self.hints = list(hints)
        known = "If you know which one can run it, pass backend=... to choose it."
        super().__init__(" ".join([f"No installed backend recognises {reference!r}.", *hints, known]))
