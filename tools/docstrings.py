"""Docstrings as the API reference shows them: reStructuredText's roles and literal blocks become Markdown's.

mkdocstrings loads this file as an extension of griffe; mkdocs.yml names it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import griffe

_ROLE: Final = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):`~?([^`]+)`")
_BLOCK: Final = re.compile(r"::$", re.M)


class MarkdownDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of *obj*, if it has one."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """*text* with ``:class:`Name` `` as a code span and ``::`` before a block as a colon.

    A ``::`` alone on its line disappears: what follows is indented, which is a code block in Markdown, too.
    """
    lines = [line for line in _ROLE.sub(r"`\1`", text).splitlines() if line.strip() != "::"]
    return _BLOCK.sub(":", "\n".join(lines))
