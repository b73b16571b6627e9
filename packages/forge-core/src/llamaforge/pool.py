"""The pool of loaded models: loading, leases, unloading, and a memory budget."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from . import forks
from .backends.base import BaseBackend
from .backends.memory import memory_of
from .errors import InvalidParameterError, ModelLoadError, ModelNotLoadedError
from .errors.base import own_copy
from .loaded_models import LoadedModel, Slot
from .models import ModelEntry
from .residents import FOREVER, Residents, unload
from .validation import check_number, check_text, seconds_to_wait


class ModelPool(Residents):
    """Loaded models by name.

    Loading is single-flight: if several callers request a model, it is loaded once, and all of them wait for that load
    and get its error. No lock is held while a model loads or unloads, so all other models keep answering.

    All methods are thread-safe.

    Args:
        open_model: loads a model on its backend: ``open_model(entry, parameters)``. It runs in the caller's thread.
        memory_budget: bytes that all models together may take. Before a model is loaded, idle models are unloaded, the
            least recently used first. None: no limit.
        estimate: estimates the bytes that a model will take: ``estimate(entry)``, which may return None.
    """

    def __init__(
        self,
        open_model: Callable[[ModelEntry, dict[str, Any]], BaseBackend],
        *,
        memory_budget: int | None = None,
        estimate: Callable[[ModelEntry], int | None] | None = None,
    ) -> None:
        super().__init__(memory_budget, estimate)
        self._open_model = open_model
        forks.watch(self)

    def after_fork(self) -> None:
        """The threads that loaded and unloaded, and those that held leases, are not there any more."""
        self._changed = forks.renewed(self._changed, threading.Condition)
        self._loading.clear()
        self._unloading.clear()
        for slot in self._slots.values():
            slot.leases = 0

    def get(self, name: str) -> BaseBackend | None:
        """The backend that runs the model *name*; None if it isn't loaded."""
        try:
            slot = self._slots.get(name)
        except TypeError:  # it can't be hashed
            check_text(name, "name")
            raise
        return slot.backend if slot is not None else None

    def has(self, name: str) -> bool:
        """Whether the model *name* is loaded or being loaded."""
        check_text(name, "name")
        return name in self._slots or name in self._loading

    def load(
        self, entry: ModelEntry, parameters: Mapping[str, object], *, abandoned: Callable[[], bool] = lambda: False
    ) -> BaseBackend:
        """Load a model, unless it is loaded with the same parameters already.

        If a model of that name is loaded with other parameters, it is unloaded once the new one is ready.

        Args:
            entry: the model.
            parameters: its load parameters.
            abandoned: whether the caller has given up; the model is then unloaded again, unless others wait for it.

        Raises InvalidParameterError for what is no model entry, MemoryBudgetError, and the errors of ``open_model``.
        """
        return self._get(entry, parameters, abandoned).ready

    def _get(
        self,
        entry: ModelEntry,
        parameters: Mapping[str, object],
        abandoned: Callable[[], bool] = lambda: False,
        leases: int = 0,
    ) -> Slot:
        """The slot that serves this, with so many more *leases*: they begin before anybody else can unload it."""
        _check_entry(entry)
        while True:
            slot, part = self._claim(entry, parameters, leases)
            if part == "has":
                return slot
            if part == "leads":
                self._load(slot, abandoned, leases)
                return slot
            self._follow(slot, leases if slot.serves(entry, parameters) else 0)
            if slot.error is not None and slot.serves(entry, parameters):
                raise own_copy(slot.error) from slot.error
            if slot.state == "loaded" and slot.serves(entry, parameters):
                return slot

    @contextlib.contextmanager
    def lease(self, entry: ModelEntry, parameters: Mapping[str, object]) -> Iterator[BaseBackend]:
        """Use a model for the length of the ``with`` block; it is loaded if necessary.

        The lease begins before the model is loaded. Until it ends, the model is not unloaded automatically, and
        ``unload(wait=True)`` waits for it.

        Raises the errors of :meth:`load`.
        """
        slot = self._get(entry, parameters, leases=1)
        with self._leased(slot, slot.ready) as backend:
            yield backend

    def lease_loaded(
        self, entry: ModelEntry, parameters: Mapping[str, object]
    ) -> contextlib.AbstractContextManager[BaseBackend] | None:
        """A lease on a model that is loaded with these parameters; None if it isn't. It never waits for a load.

        Raises InvalidParameterError for what is no model entry.
        """
        _check_entry(entry)
        with self._changed:
            slot = self._slots.get(entry.name)
            if slot is None or slot.backend is None or not slot.serves(entry, parameters):
                return None
            slot.leases += 1
        return self._leased(slot, slot.backend)

    @contextlib.contextmanager
    def _leased(self, slot: Slot, backend: BaseBackend) -> Iterator[BaseBackend]:
        try:
            yield backend
        finally:
            with self._changed:
                slot.leases = max(0, slot.leases - 1)  # a forked child forgets leases
                slot.used = time.monotonic()
                self._tell()

    @property
    def changes(self) -> int:
        """How many changes there were: see :meth:`wait_for_change`."""
        return self._changes

    def wait_for_change(self, timeout: float, since: int | None = None) -> bool:
        """Wait until a model is loaded or unloaded or a lease ends, at most *timeout* seconds; whether one did.

        Args:
            timeout: in seconds.
            since: the value of :attr:`changes` after which a change counts. None: now.

        Raises InvalidParameterError.
        """
        seconds = min(FOREVER, seconds_to_wait(timeout, "timeout"))
        with self._changed:
            seen = self._changes if since is None else since
            return self._changed.wait_for(lambda: self._changes != seen, seconds)

    def unload(self, name: str, *, wait: bool | float = False) -> None:
        """Unload a model. If it is still loading, it is unloaded once it is loaded.

        Args:
            name: the model.
            wait: whether to wait for running requests and leases; see :meth:`.BaseBackend.unload_model`. Callers that
                request the model meanwhile load it again.

        Raises ModelNotLoadedError.
        """
        seconds_to_wait(wait)
        check_text(name, "name")
        with self._changed:
            while name not in self._slots and name in self._loading:
                self._changed.wait()
            slot = self._slots.pop(name, None)
            if slot is None:
                raise ModelNotLoadedError(f"The model {name!r} is not loaded.", name)
            slot.enter("unloading")
            self._unloading.append(slot)
        self._release(slot, wait)

    def unload_all(self) -> None:
        """Unload all models. Tries all of them before it raises the first error."""
        errors: list[Exception] = []
        while names := [*self._slots, *self._loading]:
            for name in names:
                try:
                    self.unload(name)
                except ModelNotLoadedError:  # another thread was faster, or its loading failed
                    pass
                except Exception as error:  # noqa: BLE001 - one backend's failure must not keep the others loaded
                    errors.append(error)
        if errors:
            raise errors[0]

    def unload_idle(self, seconds: float, name: str | None = None) -> list[str]:
        """Unload the models that have been idle for *seconds*, except pinned ones; or only *name*, if it has.

        Returns the names of those that were unloaded.
        """
        check_number(seconds, "seconds")
        check_text(name, "name", optional=True)
        now = time.monotonic()
        with self._changed:
            idle = [
                each
                for each, slot in self._slots.items()
                if name in (None, each) and self._is_free(each) and now - slot.last_used >= seconds
            ]
        return [each for each in idle if self._evict(each)]

    def pin(self, name: str, pinned: bool = True) -> None:
        """Exempt *name* from being unloaded automatically; False ends that."""
        check_text(name, "name")
        with self._changed:
            (self._pinned.add if pinned else self._pinned.discard)(name)

    def loaded(self) -> list[LoadedModel]:
        """The models that are loading, loaded or unloading."""
        with self._changed:
            slots = [*self._slots.values(), *self._loading.values(), *self._unloading]
        return [self._describe(slot) for slot in slots if not slot.lost]

    def _claim(
        self, entry: ModelEntry, parameters: Mapping[str, object], leases: int
    ) -> tuple[Slot, Literal["has", "follows", "leads"]]:
        """The slot that serves this; or one that loads, to be waited for; or a new one, which the caller loads."""
        with self._changed:
            slot = self._slots.get(entry.name)
            if slot is not None and slot.serves(entry, parameters):
                slot.used = time.monotonic()
                slot.leases += leases
                return slot, "has"
            loading = self._loading.get(entry.name)
            if loading is not None:
                if loading.thread == threading.get_ident():
                    raise ModelLoadError(entry.name, "its backend asked for the same model while loading it.")
                loading.followers += 1
                return loading, "follows"
            slot = self._loading[entry.name] = Slot(entry, dict(parameters), threading.get_ident())
            return slot, "leads"

    def _load(self, slot: Slot, abandoned: Callable[[], bool], leases: int) -> None:
        name = slot.entry.name
        try:
            self._reserve(slot)
            backend = self._open_model(slot.entry, dict(slot.parameters))
            try:
                slot.backend = backend
                self._settle(slot)
            except BaseException:
                slot.backend = None
                unload(backend, wait=False)
                raise
        except BaseException as error:
            with self._changed:
                if isinstance(error, Exception):  # an interrupted load is not the others' error: one of them loads
                    slot.error = error
                self._end_loading(slot)
            raise
        with self._changed:
            given_up = abandoned() and not slot.followers
            previous = None if given_up else self._slots.get(name)
            if given_up:
                slot.enter("unloading")
                self._unloading.append(slot)
            else:
                slot.enter("loaded")
                slot.used = time.monotonic()
                slot.leases += leases
                self._slots[name] = slot
            if previous is not None:
                previous.enter("unloading")
                self._unloading.append(previous)
            self._end_loading(slot)
        for unwanted in (previous, slot if given_up else None):
            if unwanted is not None:
                self._release(unwanted, wait=False)

    def _end_loading(self, slot: Slot) -> None:
        del self._loading[slot.entry.name]
        if slot.state == "loading":
            slot.state = "unloading"
        self._tell()

    def _follow(self, slot: Slot, leases: int) -> None:
        with self._changed:
            try:
                while slot.state == "loading":
                    self._changed.wait()
                if slot.state == "loaded":
                    slot.leases += leases
            finally:
                slot.followers -= 1

    def _describe(self, slot: Slot) -> LoadedModel:
        backend = slot.backend
        return LoadedModel(
            name=slot.entry.name,
            backend=backend.name if backend is not None else slot.entry.backend,
            state=slot.state,
            since=slot.since,
            memory=memory_of(backend) if backend is not None else None,
            requests=backend.requests_in_flight if backend is not None else 0,
            leases=slot.leases,
            idle=None if slot.busy else time.monotonic() - slot.last_used,
            pinned=slot.entry.name in self._pinned,
        )


def _check_entry(entry: object) -> None:
    if not isinstance(entry, ModelEntry):
        raise InvalidParameterError("entry", entry, "a ModelEntry")
