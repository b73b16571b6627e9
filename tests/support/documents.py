"""Documents as programs: the fenced blocks of a Markdown file, and what each of them asks of a test.

=====================================  ================================================================================
in the document                        in the test
=====================================  ================================================================================
a block of ``python``                  runs, after all earlier ones of its page, in one namespace
``console``, ``shell``, ``bash``       runs in bash, in the page's folder
``text`` right after one of those      is what it prints; ``...`` stands for anything
any block with ``title="a/file"``      is written to that file in the page's folder
``toml``, ``json`` without a title     must be read without an error
``text`` elsewhere                     is shown only
``<!-- exits: 2 -->`` before a block   the shell block ends with that code; its output is what it prints on both streams
``<!-- not run: why -->``              the block is left alone; a test lists every one with its reason
anything else, or no language          is refused: nobody could tell whether it is a command
=====================================  ================================================================================
"""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]

Kind = Literal["python", "shell", "file", "data", "shown", "output", "not run", "unknown"]

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})[ ]*(?P<info>[^`\n]*)$")
_DIRECTIVE = re.compile(r"<!--\s*(not run|exits):\s*(.*?)\s*-->", re.S)
_TITLE = re.compile(r'\btitle="([^"]+)"')
_SHELLS = frozenset({"console", "shell", "bash", "sh"})


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    page: str
    """The document, relative to the repository."""
    line: int
    language: str
    text: str
    kind: Kind
    title: str | None = None
    output: str | None = None
    """What the document says that it prints."""
    exits: int = 0
    reason: str | None = None
    """Why it is not run."""

    @property
    def where(self) -> str:
        """Page and line, for people."""
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Every document with promises: the READMEs, those of the examples too, and all of docs/."""
    readmes = [ROOT / "README.md", *ROOT.glob("packages/*/README.md"), *ROOT.glob("examples/*/README.md")]
    found = [*readmes, *ROOT.glob("docs/**/*.md")]
    return [path.relative_to(ROOT).as_posix() for path in sorted(found)]


def blocks(page: str) -> list[Block]:
    """The blocks of a document of the repository, in order."""
    return parse(page, (ROOT / page).read_text(encoding="utf-8"))


def parse(page: str, text: str) -> list[Block]:
    """The blocks of *text*, in order. Raises ValueError for a block that never ends."""
    found: list[Block] = []
    for line, info, body, before in _fences(page, text):
        language, _, rest = info.strip().partition(" ")
        directives = dict(_DIRECTIVE.findall(before))
        title = _TITLE.search(rest)
        kind = _kind(language, title is not None)
        if "not run" in directives:
            kind = "not run"
        elif kind == "shown" and language == "text" and found and not before and _runs(found[-1]):
            found[-1] = _with_output(found[-1], body)
            kind = "output"
        found.append(
            Block(
                page=page,
                line=line,
                language=language,
                text=body,
                kind=kind,
                title=title[1] if title else None,
                exits=int(directives.get("exits", 0)),
                reason=directives.get("not run"),
            )
        )
    return found


def check_data(block: Block) -> None:
    """Read a block of data. Raises ValueError where it can't be read."""
    {"toml": tomllib.loads, "json": json.loads}[block.language](block.text)


def same_output(shown: str, real: str) -> bool:
    """Whether *real* is what the document shows, spaces at the ends of lines aside; ``...`` matches anything."""
    pattern = ".*?".join(re.escape(part) for part in _trimmed(shown).split("..."))
    return re.fullmatch(pattern, _trimmed(real), re.S) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def _kind(language: str, titled: bool) -> Kind:
    if titled:
        return "file"
    if language == "python":
        return "python"
    if language in _SHELLS:
        return "shell"
    if language in ("toml", "json"):
        return "data"
    return "shown" if language == "text" else "unknown"


def _runs(block: Block) -> bool:
    return block.kind in ("python", "shell") and block.output is None


def _with_output(block: Block, output: str) -> Block:
    return Block(**{**block.__dict__, "output": output})


def _fences(page: str, text: str) -> Iterator[tuple[int, str, str, str]]:
    """Line, info string and body of each block, and the paragraph of comments right before it."""
    lines = text.splitlines()
    index = 0
    before: list[str] = []
    while index < len(lines):
        opening = _FENCE.match(lines[index])
        if opening is None:
            before = [*before, lines[index]]
            index += 1
            continue
        end = index + 1
        closing = re.compile(rf"^ *{re.escape(opening['ticks'][0])}{{{len(opening['ticks'])},}} *$")
        while end < len(lines) and not closing.match(lines[end]):
            end += 1
        if end == len(lines):
            raise ValueError(f"{page}:{index + 1}: this block never ends")
        body = textwrap.dedent("\n".join(lines[index + 1 : end]))
        yield index + 1, opening["info"], body + "\n" if body else "", _last_paragraph(before)
        before = []
        index = end + 1


def _last_paragraph(lines: list[str]) -> str:
    """What stands right before a block, blank lines between aside."""
    text = "\n".join(lines).rstrip()
    return text.rpartition("\n\n")[2] if "\n\n" in text else text.strip("\n")
