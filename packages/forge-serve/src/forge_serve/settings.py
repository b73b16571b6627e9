"""The settings of ``llamaforge serve`` from a file: TOML whose keys are the names of the options.

::

    models = ["small", "large"]
    memory = "8GB"
    pin = ["small"]
    max_queue = 64
    api_key_file = "keys.txt"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from llamaforge.errors import InvalidParameterError, closest

AccessLog = Literal["text", "json", "off"]

_UNITS: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_PATHS: Final = ("unix_socket", "tls_cert", "tls_key", "api_key_file")

RESTART: Final = ("host", "port", "unix_socket", "tls_cert", "tls_key", "offline", "access_log")
"""Settings that are only read at the start."""


class Settings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a file may set. None: not set."""

    models: list[str] | None = None
    host: str | None = None
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    unix_socket: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    api_key_file: str | None = None
    no_key: bool | None = None
    allow_host: list[str] | None = None
    cors_origin: list[str] | None = None
    memory: int | str | None = None
    idle: float | None = None
    pin: list[str] | None = None
    max_queue: int | None = None
    max_wait: float | None = None
    max_body: int | str | None = None
    read_timeout: float | None = None
    write_timeout: float | None = None
    keep_alive_timeout: float | None = None
    max_connections: int | None = None
    store_size: int | str | None = None
    access_log: AccessLog | None = None
    offline: bool | None = None

    def given(self) -> dict[str, Any]:
        """Those that are set, by name; sizes in bytes."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value is not None}


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in the file *path*, by name. Relative paths in it count from its folder.

    Raises InvalidParameterError, which names the file and what is wrong in it.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise _wrong(path, f"it can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, f"it is not TOML: {error}") from None
    for name in content:
        if "-" in name and name.replace("-", "_") in content:
            raise _wrong(path, f"{name} is set twice, also as {name.replace('-', '_')}.")
    content = {name.replace("-", "_"): value for name, value in content.items()}
    for name in content:
        if name not in Settings.__struct_fields__:
            near = closest(name, Settings.__struct_fields__)
            raise _wrong(path, f"there is no setting {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
    try:
        given = msgspec.convert(content, Settings).given()
        for name in ("memory", "max_body", "store_size"):
            if name in given:
                given[name] = size_of(given[name])
    except msgspec.ValidationError as error:
        raise _wrong(path, _plain(error)) from None
    except ValueError as error:
        raise _wrong(path, f"{error}") from None
    for name in _PATHS:
        if name in given:
            given[name] = str(path.parent / given[name])
    return given


def size_of(value: int | str) -> int:
    """A number of bytes, also as ``8GB`` or ``500M``. Raises ValueError."""
    text = str(value).strip().lower().removesuffix("b").removesuffix("i")
    try:
        size = int(float(text[:-1]) * _UNITS[text[-1]]) if text and text[-1] in _UNITS else int(text)
    except (ValueError, OverflowError):
        size = -1
    if size < 0:
        raise ValueError(f"{value!r} is not a size such as 8GB or 500M.")
    return size


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's message in the words of the file: ``port: expected int, got str``."""
    what, _, where = str(error).partition(" - at `$.")
    what = what.replace("`", "").replace(" | null", "")
    if what.startswith("Invalid enum value"):  # there is only one
        what = f"Expected {', '.join(map(repr, get_args(AccessLog)))}, got {what.removeprefix('Invalid enum value ')}"
    return f"{where.rstrip('`')}: {what[0].lower()}{what[1:]}" if where else what


def _wrong(path: Path, reason: str) -> InvalidParameterError:
    return InvalidParameterError("config", str(path), "a file with settings", message=f"{path}: {reason}")
