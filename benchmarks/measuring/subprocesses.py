"""Each side of a comparison in a process of its own.

In one process they would slow each other: OpenMP lets its workers wait for the next piece of work eagerly, which both
engines depend on, only while the threads that it manages in the process are no more than its processors.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
import traceback
from collections.abc import Callable
from typing import Any, Self

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Apart:
    """What *make* makes of *arguments*, in a process of its own; its methods are called from here.

    Everything that goes there or comes back is copied. RuntimeError says what went wrong there.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments, options), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call *method*; what it returns."""
        return self._call(method, arguments, None)

    def rate(self, method: str, *arguments: Any, clock: str = "wall") -> float:
        """Call *method*, which returns a number of tokens; tokens a second of that process's *clock*."""
        tokens, seconds = self.timed(method, *arguments, clock=clock)
        return float(tokens / seconds)

    def timed(self, method: str, *arguments: Any, clock: str = "wall") -> tuple[Any, float]:
        """Call *method*; what it returns, and the seconds that it took there."""
        value, seconds = self._call(method, arguments, clock)
        return value, seconds

    def close(self) -> None:
        """Let it close, and end."""
        self._call("close", (), None)
        self._pipe.close()
        self._process.join(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, arguments: tuple[Any, ...], clock: str | None) -> Any:
        self._pipe.send((method, arguments, clock))
        return self._answer()

    def _answer(self) -> Any:
        try:
            went_well, value = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            raise RuntimeError(f"The process ended with {self._process.exitcode}; what it said stands above.") from None
        if not went_well:
            raise RuntimeError(value)
        return value


def _serve(pipe: Any, make: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        served = make(*arguments, **options)
        pipe.send((True, None))
        while True:
            method, asked, clock = pipe.recv()
            gc.collect()
            if clock is None:
                value = getattr(served, method)(*asked)
            else:
                now = CLOCKS[clock]
                start = now()
                value = getattr(served, method)(*asked)
                value = value, now() - start
            pipe.send((True, value))
    except EOFError:  # nobody asks any more
        pass
    except BaseException:  # noqa: BLE001 - whatever it is, the other side shows it
        pipe.send((False, traceback.format_exc()))
