"""Server processes: finding the program, claiming a port, launching under a guard, supervising, stopping.

This package deals with processes, ports and logs, not with models or HTTP;
:class:`llamaforge.backends.managed.ManagedBackend` uses it.
"""

from __future__ import annotations

from .logs import ServerLog
from .ports import PortClaim, answered_by, claim_port
from .process import CAN_LAUNCH, ServerProcess
from .programs import find_program, variable
from .states import ProgressLine, ServerState, StateTracker

__all__ = [
    "CAN_LAUNCH",
    "PortClaim",
    "ProgressLine",
    "ServerLog",
    "ServerProcess",
    "ServerState",
    "StateTracker",
    "answered_by",
    "claim_port",
    "find_program",
    "variable",
]
