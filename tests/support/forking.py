"""Run something in a forked child."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable


def in_child(work: Callable[[], object], seconds: float = 60) -> str:
    """What *work* returned in a child of this process, as text; the type and message of what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    try:
        if not select.select([reading], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
            return "it hangs"
        return os.read(reading, 65536).decode()
    finally:
        os.close(reading)
        os.waitpid(child, 0)
