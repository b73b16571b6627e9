"""Formats of answers that plugins contribute: entry points of the group ``llamaforge.answer_formats``."""

from __future__ import annotations

import logging
from typing import Final

from ..errors import LlamaForgeError
from ..plugins import FORMATS, guarded
from .output_format import OutputFormat

_logger: Final = logging.getLogger("llamaforge.chat")


def plugin_formats() -> tuple[OutputFormat, ...]:
    """Those that can be loaded, by name. A broken one is told of in the log, and harms no model."""
    found = []
    for name in FORMATS.names():
        try:
            form = FORMATS.load(name)
            with guarded(FORMATS.kind, name, FORMATS.owner(name)):
                if not isinstance(form, OutputFormat):
                    raise TypeError(f"its hook returned {type(form).__name__}, not an OutputFormat")
        except LlamaForgeError as error:
            _logger.warning("An answer format is left out. %s", error)
        else:
            found.append(form)
    return tuple(found)
