"""Keeps transformers quiet while a model loads: it logs errors only, and draws progress bars only at a terminal."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llamaforge.forks import ForkSafeLock

_lock = ForkSafeLock()
_restore: list[list[Callable[[], None]]] = []
"""One entry for every load that is under way; what restores the host's settings is in the first one."""


@contextmanager
def quiet() -> Iterator[None]:
    """Let transformers log errors alone and draw nothing; the host's settings come back afterwards.

    They are one set for the whole process, so of loads that overlap the first one saves them and the last one restores
    them. The bars of what takes minutes stay where standard error is a terminal: downloads, and unpacking GGUF weights.
    """
    with _lock:
        _restore.append([] if _restore else list(_silence()))
    try:
        yield
    finally:
        with _lock:
            ended = _restore.pop()
            for restore in [] if _restore else ended:
                restore()


def _silence() -> Iterator[Callable[[], None]]:
    """Switch everything off; what comes out switches it on again, in this order."""
    library: Any = importlib.import_module("transformers.utils.logging")
    hub: Any = importlib.import_module("huggingface_hub.utils")
    watched = sys.stderr is not None and sys.stderr.isatty()

    verbosity = library.get_verbosity()
    library.set_verbosity(max(verbosity, logging.ERROR))
    yield functools.partial(library.set_verbosity, verbosity)

    bars, downloads = library.is_progress_bar_enabled(), not hub.are_progress_bars_disabled()
    if bars:
        library.disable_progress_bar()
        yield library.enable_progress_bar
    # That switch moves the hub library's, too.
    _show_downloads(hub, show=downloads and watched)
    yield functools.partial(_show_downloads, hub, show=downloads)

    # The loader of GGUF files draws a bar of its own, past that switch.
    try:
        gguf: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    except ImportError:
        return
    bar = getattr(gguf, "tqdm", None)
    if bar is not None and not watched:
        gguf.tqdm = functools.partial(bar, disable=True)
        yield functools.partial(setattr, gguf, "tqdm", bar)


def _show_downloads(hub: Any, *, show: bool) -> None:
    if show == hub.are_progress_bars_disabled():
        (hub.enable_progress_bars if show else hub.disable_progress_bars)()
