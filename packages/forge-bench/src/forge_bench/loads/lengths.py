"""Distributions of lengths, in tokens."""

from __future__ import annotations

import math
import random
from typing import Literal, get_args

import msgspec

from llamaforge.errors import InvalidParameterError

Shape = Literal["constant", "uniform", "normal", "lognormal"]
_EXPECTED = "a number of tokens, or uniform:LOW:HIGH, normal:MEAN:DEVIATION, lognormal:MEAN:DEVIATION"


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of lengths; each is a whole number, at least 1."""

    shape: Shape
    """``constant``, ``uniform``, ``normal`` or ``lognormal``."""
    first: float
    """The value, the lowest one, or the mean."""
    second: float = 0.0
    """The highest value, or the standard deviation of the lengths themselves."""

    def __post_init__(self) -> None:
        wrong = not (math.isfinite(self.first) and math.isfinite(self.second)) or self.first < 1 or self.second < 0
        if wrong or (self.shape == "uniform" and self.second < self.first):
            raise InvalidParameterError("lengths", self.say(), _EXPECTED)

    @classmethod
    def read(cls, value: int | str | Lengths, name: str = "lengths") -> Lengths:
        """Read a number, or text such as ``normal:512:64``. Raises InvalidParameterError, which calls it *name*."""
        if isinstance(value, Lengths):
            return value
        shape, _, rest = str(value).partition(":")
        try:
            if not rest:
                return cls(shape="constant", first=int(shape))
            first, _, second = rest.partition(":")
            if shape in get_args(Shape):
                return cls(shape=shape, first=float(first), second=float(second or 0))  # type: ignore[arg-type]
        except (ValueError, InvalidParameterError):
            pass
        raise InvalidParameterError(name, value, _EXPECTED)

    @property
    def mean(self) -> float:
        """The mean, before values are rounded and cut at 1."""
        return (self.first + self.second) / 2 if self.shape == "uniform" else self.first

    def draw(self, source: random.Random) -> int:
        """A length."""
        if self.shape == "constant":
            return round(self.first)
        if self.shape == "uniform":
            return source.randint(round(self.first), round(self.second))
        if self.shape == "normal":
            return max(1, round(source.gauss(self.first, self.second)))
        spread = math.log(1 + (self.second / self.first) ** 2)
        return max(1, round(source.lognormvariate(math.log(self.first) - spread / 2, math.sqrt(spread))))

    def say(self) -> str:
        """As :meth:`read` takes it."""
        return f"{self.first:g}" if self.shape == "constant" else f"{self.shape}:{self.first:g}:{self.second:g}"
