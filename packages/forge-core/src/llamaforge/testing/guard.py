"""Ensures that no check is dropped or replaced without a reason that is reported."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from .kit import Kit
from .settings import misspelt_settings, wrong_settings

SETTINGS: Final = frozenset(name for name in Kit.__annotations__)
"""What an author may set."""
_PREFIX: Final = "test_"


def kit_members(kit: type[Kit]) -> dict[str, Any]:
    """All that the kit defines: checks, fixtures, helpers. Settings are the author's."""
    members: dict[str, Any] = {}
    for owner in reversed(kit.__mro__):
        if issubclass(owner, Kit):
            members.update({name: value for name, value in vars(owner).items() if not name.startswith("__")})
    return {name: value for name, value in members.items() if name not in SETTINGS}


def checks_of(kit: type[Kit]) -> dict[str, Callable[..., None]]:
    """The checks, by name."""
    return {name: value for name, value in kit_members(kit).items() if name.startswith(_PREFIX)}


def guard(cls: type[Kit], kit: type[Kit]) -> None:
    """Hold the author's class *cls* to the *kit*.

    Raises TypeError if a setting can't be right or is misspelt; if the class drops or replaces a check without a
    reason, exempts itself from an unknown check or without a reason, or replaces other parts of the kit. Exempted
    checks become skipped ones.
    """
    mistake = wrong_settings(cls) or misspelt_settings(cls, SETTINGS)
    if mistake is not None:
        raise TypeError(mistake)
    checks = checks_of(kit)
    excused = _read_exceptions(cls, checks)
    for name, original in kit_members(kit).items():
        if name in excused:
            setattr(cls, name, _excuse(original, excused[name]))
            continue
        found = _static(cls, name)
        if found is original:
            continue
        if getattr(found, "excused_from", None) is original:  # a parent class was excused, this one is not
            setattr(cls, name, original)
        elif name in checks:
            how = "deletes" if found is None else "overrides"
            raise TypeError(
                f"{cls.__name__} {how} the check {name}. State why, and it is reported as skipped: "
                f'exceptions = {{"{name}": "reason"}}. A test of your own wants a name of its own.'
            )
        else:
            raise TypeError(f"{cls.__name__} redefines {name!r}, which the kit needs. Choose another name.")


def _read_exceptions(cls: type[Kit], checks: Mapping[str, Any]) -> dict[str, str]:
    exceptions = cls.exceptions
    if not isinstance(exceptions, Mapping):
        raise TypeError(f"{cls.__name__}.exceptions must map names of checks to reasons, not {exceptions!r}.")
    for name, reason in exceptions.items():
        if name not in checks:
            from ..errors import closest

            near = closest(str(name), checks)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise TypeError(f"{cls.__name__}.exceptions names {name!r}, which is no check of the kit.{hint}")
        if not isinstance(reason, str) or not reason.strip():
            raise TypeError(f"{cls.__name__}.exceptions must say why {name} does not apply, not {reason!r}.")
    return dict(exceptions)


def _excuse(original: Any, reason: str) -> Any:
    @functools.wraps(original)
    def excused(*args: Any, **kwargs: Any) -> None:
        """Never runs."""

    excused.excused_from = original  # type: ignore[attr-defined]
    return pytest.mark.skip(reason=reason)(excused)


def _static(cls: type, name: str) -> Any:
    """The attribute as it stands in the class, without binding it."""
    for owner in cls.__mro__:
        if name in vars(owner):
            return vars(owner)[name]
    return None
