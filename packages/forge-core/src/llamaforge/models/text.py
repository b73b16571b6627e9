"""The model file as text: read it with line numbers for what is wrong, change it and leave the rest as it stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InvalidParameterError, ModelFileError, closest
from .entry import ModelEntry
from .values import same

_FIELDS = {"path": str, "backend": str, "sha256": str, "parameters": dict, "generation": dict}
_TOP = {"default": str, "models": dict}
_KINDS: Mapping[type, str] = {str: "text in quotes", dict: "a table"}
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")

NEW_FILE = '# Models of LlamaForge. Instead of a key, write "env:NAME": it is read from that environment variable.\n'


@dataclass(frozen=True)
class Contents:
    """A model file, read. Attributes: *entries* by name, in the file's order; *default*, a name or None."""

    entries: dict[str, ModelEntry]
    default: str | None


def decode(raw: bytes, path: Path) -> str:
    """The file's text; a byte order mark is dropped. Raises ModelFileError with the line that is not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ModelFileError(path, "it is not UTF-8 text", line) from None


def read(text: str, path: Path) -> Contents:
    """Read and check all of it. Raises ModelFileError with the line."""
    data = _parse(text, path)

    def fail(keys: tuple[str, ...], reason: str) -> ModelFileError:
        return ModelFileError(path, reason, line_of(text, keys))

    _check_fields(data, _TOP, (), fail)
    entries = {}
    for name, table in data.get("models", {}).items():
        keys = ("models", name)
        if not isinstance(table, dict):
            raise fail(keys, f"the model {name!r} must be a table: [models.{name}]")
        _check_fields(table, _FIELDS, keys, fail)
        if "path" not in table:
            raise fail(keys, f"the model {name!r} has no path")
        try:
            entries[name] = ModelEntry(name=name, origin="file", **table)
        except InvalidParameterError as error:
            field = (*keys, error.name) if error.name in table else keys
            raise fail(field, f"in the model {name!r}, {error.name} must be {error.expected}") from None
    return Contents(entries, data.get("default"))


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = getattr(error, "lineno", None)  # Python 3.14 and later say it outright
        if line is None:
            found = _AT_LINE.search(str(error))
            line = int(found[1]) if found else text.count("\n") + 1
        raise ModelFileError(path, f"it is not valid TOML: {str(error).partition(' (at ')[0]}", line) from None
    except RecursionError:
        raise ModelFileError(path, "its values are nested too deeply") from None


def _check_fields(
    table: Mapping[str, Any],
    fields: Mapping[str, type],
    keys: tuple[str, ...],
    fail: Callable[[tuple[str, ...], str], ModelFileError],
) -> None:
    where = f"in the model {keys[-1]!r}, " if keys else ""
    for key, value in table.items():
        if key not in fields:
            near = closest(key, fields)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(fields)}."
            raise fail((*keys, key), f"{where}{key!r} is unknown. {hint}")
        if not isinstance(value, fields[key]):
            raise fail((*keys, key), f"{where}{key} must be {_KINDS[fields[key]]}")


def line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """The line on which *keys* first is there, counted from 1; None where it can't be told.

    No TOML library tells positions, so the question is put the other way round: the first lines that parse and hold it.
    """
    before = 0
    for _, lines in _sections(text):
        if _holds("".join(lines), keys):
            complete = 0
            for count in range(1, len(lines) + 1):
                part = "".join(lines[:count])
                if _holds(part, keys):
                    return before + complete + 1
                if _parses(part):  # else in the middle of a value of several lines
                    complete = count
        before += len(lines)
    return None


def _holds(text: str, keys: tuple[str, ...]) -> bool:
    try:
        inner: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    for key in keys:
        if not isinstance(inner, dict) or key not in inner:
            return False
        inner = inner[key]
    return True


def with_entry(text: str, entry: ModelEntry, path: Path) -> str:
    """*text* with the model *entry* added, or in the place of the one of its name."""
    data = _parse(text, path)
    table = _table_of(entry)
    present = data.get("models", {}).get(entry.name)
    wanted = {**data, "models": {**data.get("models", {}), entry.name: table}}
    ways: list[Callable[[], str]] = []
    if present is None:
        ways.append(lambda: _append(text, entry.name, table))
        ways.append(lambda: _edit(text, lambda document: _put(document, entry.name, table)))
    else:
        ways.append(lambda: _edit(text, lambda document: _merge(document["models"][entry.name], table)))
        ways += [partial(_replaced, remove, entry.name, table) for remove in _removals(text, entry.name)]
        ways.append(lambda: _edit(text, lambda document: _put(document, entry.name, table)))
    return _first_true(ways, wanted, text, path)


def without_entry(text: str, name: str, path: Path) -> str:
    """*text* without that model, and without ``default`` where it names that model."""
    data = _parse(text, path)
    wanted = {**data, "models": {key: value for key, value in data["models"].items() if key != name}}
    if data.get("default") == name:
        text = with_default(text, None, path)
        del wanted["default"]
    return _first_true(_removals(text, name), wanted, text, path)


def with_default(text: str, name: str | None, path: Path) -> str:
    """*text* with that ``default``; None: without one."""
    data = _parse(text, path)
    wanted = {key: value for key, value in data.items() if key != "default"}
    if name is not None:
        wanted["default"] = name
    if "default" not in data:
        return _first_true([lambda: _prepend_default(text, name) if name is not None else text], wanted, text, path)
    if name is None:
        return _first_true(
            [lambda: _edit(text, lambda document: document.remove("default")).lstrip("\r\n")], wanted, text, path
        )
    return _first_true([lambda: _edit(text, lambda document: document.update({"default": name}))], wanted, text, path)


def _removals(text: str, name: str) -> list[Callable[[], str]]:
    """Ways to take a model out: its tables, its keys, or first the ones and then the others."""
    keys = ("models", name)
    return [
        lambda: _drop(text, keys),
        lambda: _edit(text, lambda document: document["models"].remove(name)),
        lambda: _edit(_drop(text, keys), lambda document: document["models"].remove(name)),
    ]


def _first_true(ways: list[Callable[[], str]], wanted: dict[str, Any], text: str, path: Path) -> str:
    """What the first of *ways* makes that reads as *wanted*: a file is never written that says something else."""
    if "#" not in text:
        ways = [*ways, lambda: _anew(wanted)]  # where there is no comment to lose
    for way in ways:
        made = _tried(way)
        if made is not None and same({"models": {}, **tomllib.loads(made)}, {"models": {}, **wanted}):
            return made.replace("\r\n", "\n").replace("\n", "\r\n") if "\r\n" in text else made
    raise ModelFileError(path, "it can't be changed without changing something else in it; change it by hand")


def _tried(way: Callable[[], str]) -> str | None:
    try:
        made = way()
    except Exception:  # noqa: BLE001 - the editor can't do this one, so the next way is tried
        return None
    return made if _parses(made) else None


def _table_of(entry: ModelEntry) -> dict[str, Any]:
    """The entry's table in the file; what is None or empty is left out."""
    table: dict[str, Any] = {"path": entry.path}
    for name in ("backend", "sha256", "parameters", "generation"):
        if value := getattr(entry, name):
            table[name] = value
    return table


def _append(text: str, name: str, table: dict[str, Any]) -> str:
    import tomlkit

    document = tomlkit.document()
    models = tomlkit.table(is_super_table=True)
    models.add(name, tomlkit.item(table))
    document.add("models", models)
    gap = "\n" if text.endswith("\n") else "\n\n" if text else ""
    return text + gap + tomlkit.dumps(document)


def _replaced(remove: Callable[[], str], name: str, table: dict[str, Any]) -> str:
    return _append(remove(), name, table)


def _edit(text: str, change: Callable[[Any], object]) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    change(document)
    return tomlkit.dumps(document)


def _anew(wanted: dict[str, Any]) -> str:
    """The whole file, written as a program would."""
    import tomlkit

    text = f"default = {tomlkit.item(wanted['default']).as_string()}\n" if "default" in wanted else ""
    for name, table in wanted.get("models", {}).items():
        text = _append(text, name, table)
    return text


def _put(document: Any, name: str, table: dict[str, Any]) -> None:
    if "models" not in document:
        document["models"] = {}
    document["models"][name] = table


def _merge(present: Any, wanted: Mapping[str, Any]) -> None:
    """Make a tomlkit table equal to *wanted* and touch nothing that is equal already."""
    for key in [key for key in present if key not in wanted]:
        present.remove(key)
    for key, value in wanted.items():
        old = present.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value)
        elif old is None or not same(old.unwrap() if hasattr(old, "unwrap") else old, value):
            present[key] = value


def _sections(text: str) -> list[tuple[tuple[str, ...], list[str]]]:
    """The file cut at its table headers: each header's keys, () for what stands before the first, and the lines."""
    sections: list[tuple[tuple[str, ...], list[str]]] = [((), [])]
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        # Inside a list or a text of several lines, what stands before does not parse.
        if line.lstrip().startswith("[") and _parses("".join(sections[-1][1])) and _parses(line):
            sections.append((_keys(tomllib.loads(line)), []))
        sections[-1][1].append(line)
    return sections


def _parses(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _keys(header: Any) -> tuple[str, ...]:
    keys = []
    while header:
        header = header[0] if isinstance(header, list) else header
        if header:
            key, header = next(iter(header.items()))
            keys.append(key)
    return tuple(keys)


def _drop(text: str, keys: tuple[str, ...]) -> str:
    """*text* without the tables below *keys*; comments after their last line stay, they may belong to what follows."""
    kept: list[str] = []
    for found, lines in _sections(text):
        if found[: len(keys)] == keys:
            comments = lines[_content_end(lines) :]
            kept += comments if any(line.strip() for line in comments) else []
        else:
            kept += lines
    return "".join(kept).rstrip("\r\n") + "\n" if kept else ""


def _content_end(lines: list[str]) -> int:
    """How many of *lines* there are without the comments and empty lines at their end."""
    end = len(lines)
    while end and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return end


def _prepend_default(text: str, name: str) -> str:
    """*text* with a new ``default``: after the last key before any table, or the file's heading comment, or first."""
    import tomlkit

    head = _sections(text)[0][1]
    end = _content_end(head)
    if end == 0 and head and head[0].startswith("#"):
        blank = next((index for index, line in enumerate(head) if not line.strip()), 0)
        end = blank if all(line.startswith("#") for line in head[:blank]) else 0
    before, after = "".join(head[:end]), text[len("".join(head[:end])) :]
    line = f"default = {tomlkit.item(name).as_string()}\n"
    gap = "" if not before or before.endswith("\n") else "\n"
    return before + gap + line + ("\n" if after.strip() and not after.startswith(("\n", "\r")) else "") + after
