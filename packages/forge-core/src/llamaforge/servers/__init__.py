"""Servers of our own: found, given a port, launched under a guard, watched, and ended.

It knows processes, ports and logs, and nothing of models or HTTP; :class:`llamaforge.backends.managed.ManagedBackend`
puts it to use.
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
