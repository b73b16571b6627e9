"""Let huggingface_hub report its downloads to a Progress, and draw nothing itself."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

from .spec import Progress


@contextlib.contextmanager
def reporting(call: Callable[..., Any], what: str, progress: Progress | None) -> Iterator[dict[str, Any]]:
    """Arguments that make huggingface_hub report to *progress*, as far as its version can, and draw nothing itself."""
    if progress is not None:
        progress(0, None, what)
    bars = {"tqdm_class": _bar_class(what, progress)} if "tqdm_class" in inspect.signature(call).parameters else {}
    utils: Any = importlib.import_module("huggingface_hub.utils")
    said = importlib.import_module("huggingface_hub.constants").HF_HUB_DISABLE_PROGRESS_BARS
    if said is not None or utils.are_progress_bars_disabled():  # the user or the program has decided
        yield bars
        return
    utils.disable_progress_bars()
    try:
        yield bars
    finally:
        utils.enable_progress_bars()


def _bar_class(what: str, progress: Progress | None) -> type[Any]:
    """A stand-in for tqdm's class that draws nothing and passes on the bars that count bytes.

    Downloads of a whole repository keep two of those, received and written: the one that is ahead counts.
    """
    lock = threading.RLock()
    bars: list[Bar] = []

    class Bar:
        monitor_interval = 0
        _lock: Any = lock

        def __init__(self, iterable: Any = None, **options: Any) -> None:
            self.iterable = iterable
            self.total: float | None = options.get("total")
            self.n: float = options.get("initial") or 0
            self.unit = options.get("unit")
            self.desc = options.get("desc") or ""
            self.disable = False
            with lock:
                bars.append(self)
            self.refresh()

        def __iter__(self) -> Iterator[Any]:
            for item in self.iterable or ():
                yield item
                self.update(1)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            self.close()

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            self.refresh()

        def refresh(self, *args: Any, **options: Any) -> None:
            if progress is None or self.unit != "B":
                return
            with lock:
                counted = [bar for bar in bars if bar.unit == "B"]
                done = max(bar.n for bar in counted)
                total = max(bar.total or 0 for bar in counted)
                progress(int(done), int(max(total, done)) or None, what)

        def reset(self, total: float | None = None) -> None:
            self.n = 0
            self.total = total if total is not None else self.total
            self.refresh()

        def __getattr__(self, name: str) -> Callable[..., None]:
            if name.startswith("_") or name in _ABSENT:
                raise AttributeError(name)
            return _nothing  # close, set_description, set_postfix_str and the like: drawing

        @classmethod
        def get_lock(cls) -> Any:
            return cls._lock

        @classmethod
        def set_lock(cls, new: Any) -> None:
            cls._lock = new

    return Bar


_ABSENT = frozenset({"update_transfer", "set_transfer_postfix_str"})
"""Methods that huggingface_hub looks for to keep a second count; without them it leaves it out."""


def _nothing(*args: Any, **options: Any) -> None:
    return None
