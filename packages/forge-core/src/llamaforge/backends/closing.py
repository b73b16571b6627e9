"""A backend as a context manager: whoever leaves the block unloads the model."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..awaitables import AwaitableResult


class ClosedByContext:
    """:meth:`close`, ``with`` and ``async with``."""

    @property
    def is_basic(self) -> bool:
        """Whether the author wrote only the four basic methods."""
        raise NotImplementedError

    def unload_model(self, *, wait: bool | float = False) -> None:
        """Unload the model and free its memory."""
        raise NotImplementedError

    def close(self) -> None:
        """Unload the model, if one is loaded."""
        if not self.is_basic:
            self.unload_model()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await AwaitableResult(self.close)
