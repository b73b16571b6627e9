"""Backends that are broken on purpose, each in one way that users have met, and the checks that catch them.

The catalogue is how the kit is held to its word: its tests run each entry and demand that the named checks fail, and
that they pass for the sound backend from which the broken one derives.
"""

from __future__ import annotations

from .catalogue import DEFECTS
from .entry import Defect

__all__ = ["DEFECTS", "Defect"]
