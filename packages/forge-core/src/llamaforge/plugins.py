"""Discovery: entry points are listed without an import and loaded one by one; a failure affects no other plugin."""

from __future__ import annotations

import contextlib
import importlib
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .errors import BrokenPluginError, DuplicatePluginError, LlamaForgeError
from .forks import ForkSafeLock
from .installing import metadata

if TYPE_CHECKING:
    from importlib_metadata import EntryPoint


@dataclass(frozen=True)
class Contribution:
    """One plugin of a distribution, described without importing it."""

    kind: str
    name: str
    target: str
    """The module with the hook implementations."""
    distribution: str | None
    version: str | None
    _entry_point: EntryPoint

    @property
    def owner(self) -> str:
        """``distribution version``, for messages."""
        return f"{self.distribution} {self.version}" if self.distribution else self.target


class PluginGroup:
    """All plugins of one kind: an entry-point group and its hook.

    Args:
        kind: its name in messages: ``backend``, ``source``, ``command``, ``observer`` or ``answer format``.
        group: the entry-point group.
        hook: the hook that returns the contribution.
    """

    def __init__(self, kind: str, group: str, hook: str) -> None:
        self.kind = kind
        self.group = group
        self.hook = hook
        self.failures: dict[str, LlamaForgeError] = {}
        """The last error of each plugin that failed to load."""
        self._found: dict[str, list[Contribution]] | None = None
        self._loaded: dict[str, Any] = {}
        self._lock = ForkSafeLock()

    def names(self) -> list[str]:
        """The names of all installed plugins, sorted. Imports none of them."""
        return sorted(self._contributions())

    def contributions(self, name: str) -> list[Contribution]:
        """The plugins with that name: none, one, or several that conflict."""
        return list(self._contributions().get(name, ()))

    def owner(self, name: str) -> str | None:
        """The distribution that provides *name*; None if none does."""
        found = self.contributions(name)
        return found[0].distribution if found else None

    def load(self, name: str) -> Any:
        """The value that the plugin's hook returns for *name*.

        Raises KeyError if no plugin has that name, DuplicatePluginError if several have it, and BrokenPluginError if
        the plugin raises anything, even SystemExit. Errors are kept in :attr:`failures`.
        """
        with self._lock:
            if name in self._loaded:
                return self._loaded[name]
            found = self._contributions()[name]
            try:
                if len(found) > 1:
                    raise DuplicatePluginError(self.kind, name, [each.owner for each in found])
                self._loaded[name] = value = self._call_hook(found[0])
            except LlamaForgeError as failure:
                self.failures[name] = failure
                raise
            self.failures.pop(name, None)
            return value

    def refresh(self) -> None:
        """Search the installed distributions again, for example after an installation in a running process."""
        with self._lock:
            self._found = None
            self._loaded.clear()
            self.failures.clear()

    def _contributions(self) -> dict[str, list[Contribution]]:
        with self._lock:
            if self._found is None:
                found: dict[str, list[Contribution]] = {}
                for entry_point in _entry_points(self.group):
                    distribution, version = _name_and_version(entry_point.dist)
                    one = Contribution(
                        kind=self.kind,
                        name=entry_point.name,
                        target=entry_point.value,
                        distribution=distribution,
                        version=version,
                        _entry_point=entry_point,
                    )
                    same = found.setdefault(one.name, [])
                    if one.target not in [each.target for each in same if each.distribution == one.distribution]:
                        same.append(one)
                self._found = found
            return self._found

    def _call_hook(self, one: Contribution) -> Any:
        import pluggy

        from . import hookspecs

        with guarded(self.kind, one.name, one.distribution):
            # A manager of its own, so that one plugin's wrong hook is no other's problem.
            manager = pluggy.PluginManager(hookspecs.PROJECT)
            manager.add_hookspecs(hookspecs)
            manager.register(one._entry_point.load(), name=one.target)
            manager.check_pending()
            value = getattr(manager.hook, self.hook)(name=one.name)
            if value is None:
                raise LookupError(f"the module {one.target} has no hook {self.hook} that answers for {one.name!r}")
        return value


class guarded:  # noqa: N801 - reads as a statement
    """Run a plugin's code; its exceptions become a BrokenPluginError with their traceback.

    KeyboardInterrupt and LlamaForgeErrors pass unchanged.
    """

    def __init__(self, kind: str, name: str, distribution: str | None) -> None:
        self._about = (kind, name, distribution)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | LlamaForgeError):
            return
        text = "".join(traceback.format_exception(error))
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise BrokenPluginError(*self._about, reason, text) from error


def import_object(target: str) -> Any:
    """Import ``module:attribute``. Raises ValueError if *target* does not have that form."""
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{target!r} should read 'module:Class'")
    return getattr(importlib.import_module(module), attribute)


def damaged_distributions() -> dict[str, str]:
    """Paths of installed distributions with unreadable metadata (an interrupted installation), and the reasons."""
    damaged: dict[str, str] = {}
    for one in metadata().distributions():
        try:
            for _ in one.entry_points:
                pass
            reason = "" if all(_name_and_version(one)) else "it has no name or no version"
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it is what is asked for
            reason = f"{type(error).__name__}: {error}"
        if reason:
            damaged[str(getattr(one, "_path", one))] = reason
    return damaged


def _entry_points(group: str) -> list[EntryPoint]:
    """The entry points of *group*. A distribution with damaged metadata has none and does not affect others."""
    try:
        return list(metadata().entry_points(group=group))
    except Exception:  # noqa: BLE001 - one of the many is damaged: ask each by itself, which takes longer
        found: dict[str, list[EntryPoint]] = {}
        for one in metadata().distributions():
            with contextlib.suppress(Exception):
                found.setdefault(one.name, list(one.entry_points.select(group=group)))
        return [entry_point for entry_points in found.values() for entry_point in entry_points]


def _name_and_version(owner: Any) -> tuple[str | None, str | None]:
    """The distribution's name and version; both None if its metadata doesn't have them."""
    try:
        return (owner.name, owner.version) if owner is not None else (None, None)
    except Exception:  # noqa: BLE001 - which error says so differs between versions of the library
        return None, None


BACKENDS: Final = PluginGroup("backend", "llamaforge.backends", "llamaforge_backend")
SOURCES: Final = PluginGroup("source", "llamaforge.sources", "llamaforge_source")
COMMANDS: Final = PluginGroup("command", "llamaforge.commands", "llamaforge_command")
OBSERVERS: Final = PluginGroup("observer", "llamaforge.observers", "llamaforge_observer")
FORMATS: Final = PluginGroup("answer format", "llamaforge.answer_formats", "llamaforge_answer_format")
GROUPS: Final = {group.kind: group for group in (BACKENDS, SOURCES, COMMANDS, OBSERVERS, FORMATS)}
"""All of them, by kind."""
