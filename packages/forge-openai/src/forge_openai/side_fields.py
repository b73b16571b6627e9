"""What is said of a field beside the text that can't be read: once for each field, to the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("forge_openai")

Report = Callable[[str, object], None]
"""Called with the name of a field and the value that it had."""

_KINDS: Final = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


_LONGEST_NAME: Final = 100
_MOST: Final = 50
"""Fields that are warned of, at most."""


class SideFieldReport:
    """Warns of the fields of one server's answers that are left out.

    Each field is named once; later ones are logged at the level DEBUG. The value isn't shown: it may be a user's.
    """

    __slots__ = ("_address", "_known")

    def __init__(self, address: str) -> None:
        self._address = address
        self._known: set[str] = set()

    def __call__(self, field: str, value: object) -> None:
        """Report *field*, whose *value* can't be read."""
        field = field[:_LONGEST_NAME] if field.isprintable() else ascii(field)[:_LONGEST_NAME]  # some of it is theirs
        level = logging.DEBUG
        if field not in self._known and len(self._known) < _MOST:
            self._known.add(field)
            level = logging.WARNING
        kind = _KINDS.get(type(value), "something else")
        logger.log(
            level,
            "The server at %s sent the field %s as %s that can't be read. It is left out; the text is not affected.",
            self._address,
            field,
            kind,
        )
