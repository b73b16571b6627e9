"""Pieces of grammars in llguidance's Lark: markers that may be special tokens, texts up to a marker, named rules."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from .output_format import MARKER


class LarkParts:
    """The rules of one grammar, and how markers are written in it.

    Args:
        special: the vocabulary's special tokens, ids by spellings. All other texts are plain.
    """

    def __init__(self, special: Mapping[str, int]) -> None:
        self._special = special
        self._rules: dict[str, str] = {"TEXT": "/(?s:.*)/"}
        self._by_body: dict[str, str] = {}

    def text(self, text: str) -> str:
        """*text* as it must come: special tokens where it spells them."""
        return " ".join(self._pieces(text)) or '""'

    def is_special(self, text: str) -> bool:
        """Whether *text* begins with a special token."""
        match = MARKER.match(text)
        return match is not None and match[0] in self._special

    def until(self, marker: str, kind: str = "") -> str:
        """Any text, and the first *marker* after it. *kind* is a terminal that the text must match."""
        kind = kind or "TEXT"
        leading = re.match(r"\s*", marker)
        space = leading[0] if leading else ""
        rest = marker[len(space) :]
        if self.is_special(rest):  # no text has it
            body = kind if not space else f"{kind} {json.dumps(space)}"
            before = self.rule(body, lazy=bool(space)) if space else kind
            return f"{before} {self.text(rest)}"
        match = MARKER.search(rest)
        plain = rest if match is None or match[0] not in self._special else rest[: match.start()]
        return f"{self.rule(f'{kind} {json.dumps(space + plain)}', lazy=True)} {self.text(rest[len(plain) :])}".strip()

    def without(self, markers: tuple[str, ...]) -> str:
        """Any text in which none of *markers* stands."""
        plain = [marker for marker in markers if not self.is_special(marker)]
        if not plain:
            return "TEXT"
        words = "|".join(re.escape(marker).replace("/", r"\/") for marker in plain)
        having = self.terminal(f"/(?s:.*({words}).*)/")
        return self.terminal(f"TEXT & ~{having}")

    def rule(self, body: str, *, lazy: bool = False) -> str:
        """The name of a rule with this *body*."""
        return self._named(body, f"r{len(self._rules)}", "[lazy]" if lazy else "")

    def terminal(self, body: str) -> str:
        """The name of a terminal with this *body*."""
        return self._named(body, f"T{len(self._rules)}", "")

    def define(self, name: str, body: str) -> None:
        """A rule with a *name* that others know."""
        self._rules[name] = body

    def grammar(self, start: str) -> str:
        """The whole grammar."""
        return "\n".join([f"start: {start}", *(f"{name}: {body}" for name, body in self._rules.items())]) + "\n"

    def _named(self, body: str, name: str, attributes: str) -> str:
        known = self._by_body.get(attributes + body)
        if known is None:
            self._rules[name + attributes] = body
            known = self._by_body[attributes + body] = name
        return known

    def _pieces(self, text: str) -> list[str]:
        pieces: list[str] = []
        plain, at = "", 0
        for match in MARKER.finditer(text):
            plain += text[at : match.start()]
            at = match.end()
            token = self._special.get(match[0])
            if token is None:
                plain += match[0]
                continue
            if plain:
                pieces.append(json.dumps(plain, ensure_ascii=False))
            pieces.append(f"<[{token}]>")
            plain = ""
        plain += text[at:]
        if plain:
            pieces.append(json.dumps(plain, ensure_ascii=False))
        return pieces
