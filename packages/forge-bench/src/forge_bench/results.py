"""What a benchmark found out: to print, to save, to load, to compare."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from llamaforge.errors import InvalidParameterError

from .arrivals import Pattern
from .metrics import SLO, Metric, plain
from .records import Trial

FORMAT: Final = 1
_ENDINGS: Final = frozenset({".json", ".csv", ".html", ".htm", ".png"})
"""The version of the JSON document."""


class Level(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One setting of the load, measured in some trials."""

    concurrency: int | None = None
    """Requests at once. None: as many as arrive."""
    arrival_rate: float | None = None
    """Requests a second that arrive. None: the next one is sent when another one ends."""
    metrics: dict[str, Metric] = {}
    """All figures, by name; see :mod:`forge_bench.metrics`."""
    reasons: list[str] = []
    """Why the client's figures can't be trusted. Empty: they can."""
    trials: list[Trial] = []
    """Every request."""

    @property
    def valid(self) -> bool:
        """Whether the client was not the bottleneck."""
        return not self.reasons

    @property
    def label(self) -> str:
        """For people."""
        parts = []
        if self.arrival_rate is not None:
            parts.append(f"{self.arrival_rate:.4g}/s")
        if self.concurrency is not None:
            parts.append(f"{self.concurrency} at once")
        return ", ".join(parts) or ("as recorded" if self.trials and self.trials[0].offered else "all at once")


class Results(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The results of a benchmark."""

    target: str
    """What was measured."""
    mode: str
    levels: list[Level]
    arrival_pattern: Pattern | None = None
    engine: dict[str, Any] = {}
    """The engine's settings, without secrets."""
    load: dict[str, Any] = {}
    """What was sent."""
    settings: dict[str, Any] = {}
    """How it was measured."""
    environment: dict[str, Any] = {}
    """The machine; see :func:`forge_bench.environment.capture`."""
    slo: SLO | None = None
    confidence_level: float = 0.95
    notes: list[str] = []
    """What a reader has to know."""
    knee: int | None = None
    """Of a sweep: the index of the last level before saturation. None: none was found."""
    saturated: bool | None = None
    """Of a sweep: whether the load was raised until the engine could take no more."""
    format: int = FORMAT

    @property
    def valid(self) -> bool:
        """Whether the client was the bottleneck at no level."""
        return all(level.valid for level in self.levels)

    def print(self) -> None:
        """Print a table, and what to know about it."""
        from .reports.table import show

        show(self)

    def to_dict(self, *, requests: bool = True) -> dict[str, Any]:
        """Plain data: each metric an object with ``mean``, ``p50``, ``p90``, ``p95``, ``p99``, and ``intervals``.

        Args:
            requests: whether to include every request.
        """
        built: dict[str, Any] = msgspec.to_builtins(self)
        for level, made in zip(self.levels, built["levels"], strict=True):
            made["metrics"] = {name: plain(metric) for name, metric in level.metrics.items()}
            made["valid"], made["label"] = level.valid, level.label
            if not requests:
                made.pop("trials", None)
        return {"format": self.format, "valid": self.valid} | built

    def to_json(self, *, requests: bool = True, indent: int = 2) -> str:
        """:meth:`to_dict` as JSON text."""
        return msgspec.json.format(msgspec.json.encode(self.to_dict(requests=requests)), indent=indent).decode()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file. The ending decides: ``.json`` (every request), ``.csv`` (a row for each metric of each level),
        ``.requests.csv`` (a row for each request), ``.html`` (a page with plots), ``.png`` (with the extra ``png``).

        Raises InvalidParameterError for another ending, MissingDependencyError, or OSError.
        """
        from .reports import csv, html, png

        check_file_name(path)
        where = Path(path)
        kind = where.suffix.lower()
        if where.name.lower().endswith(".requests.csv"):
            where.write_text(csv.requests(self), "utf-8", newline="")
        elif kind == ".csv":
            where.write_text(csv.metrics(self), "utf-8", newline="")
        elif kind == ".json":
            where.write_text(self.to_json(), "utf-8")
        elif kind in (".html", ".htm"):
            where.write_text(html.page(self), "utf-8")
        else:
            png.draw(self, where)

    @classmethod
    def load_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote to a ``.json`` file. Raises InvalidParameterError."""
        name = os.fspath(path)
        try:
            found = msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except OSError as error:
            reason = error.strerror or str(error)
        except msgspec.MsgspecError as error:
            reason = f"it holds no results: {error}"
        else:
            if found.format == FORMAT:
                return found
            reason = f"its format is {found.format}, and this version reads {FORMAT}"
        message = f"The results {name!r} can't be read: {reason}."
        raise InvalidParameterError("path", name, "a file that bench run has written", message=message)


def check_file_name(path: str | os.PathLike[str]) -> None:
    """Raises InvalidParameterError unless the ending of *path* says what :meth:`Results.save` shall write."""
    if Path(path).suffix.lower() not in _ENDINGS:
        raise InvalidParameterError("path", os.fspath(path), "a name that ends in .json, .csv, .html or .png")
