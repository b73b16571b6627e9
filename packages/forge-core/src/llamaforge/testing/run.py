"""What is known of a test class while its checks run: what can't be used, and what need not be said again."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

from ..errors import LlamaForgeError
from .audit import Audit
from .expect import Hangs, NotAsExpected, Told, within
from .patience import NAME, Patient
from .plugin import KEYWORD
from .settings import missing_settings, wrong_settings

if TYPE_CHECKING:
    from .importing import Imported
    from .kit import Kit
    from .subject import Subject

C = TypeVar("C", bound=Callable[..., None])
_SLOW: Final = "llamaforge_slow"
MOST_HANGS: Final = 3
"""Checks that may hang before the others aren't tried any more: each costs the whole patience."""


class Run:
    """The run of one test class."""

    def __init__(self, cls: type[Kit]) -> None:
        self._cls = weakref.ref(cls)
        self.audit = Audit()
        """What is wrong with any answer."""
        self.hurried = False
        """Whether the check that runs now hangs somewhere: its clean-up gets little time."""
        self.has_imported = False
        """Whether a model was loaded and used, so that what libraries do when they are imported is done."""
        self._ready = False
        self._mistake: str | None = None
        self._unloadable: str | None = None
        self._told_by = ""
        self._has_loaded = False
        self._loading = 0
        self._hung: list[str] = []
        self._imported: Imported | None = None
        self._shared: tuple[Subject, contextlib.ExitStack] | None = None

    def get_ready(self, name: str) -> None:
        """Before the check *name*. An author's mistake fails one check; the others are skipped, as nothing can be said.

        So are all checks once some have hung: each of them takes the whole patience.
        """
        __tracebackhide__ = True
        if not self._ready:
            self._ready = True
            self._mistake = self._find_mistake()
            if self._mistake is not None:
                self._told_by = name
                pytest.fail(self._mistake, pytrace=False)
        if self._mistake is not None:
            pytest.skip(f"not run: {self._told_by} says what is wrong with the test class")
        if len(self._hung) >= MOST_HANGS:
            pytest.skip(f"not run: the backend hangs, see {', '.join(self._hung)}")
        self.hurried = False

    def run(self, name: str, check: Callable[[], None]) -> None:
        """Run the check *name*, with patience."""
        __tracebackhide__ = True
        cls = self.cls
        self.get_ready(name)
        try:
            Patient(cls.patience, name).run(check)
        except Hangs as error:
            self.lose(name)
            self._not_loaded(name, error)
            raise
        except Exception as error:
            if not self._has_loaded and self._unloadable is None:
                self._try_to_load()
            self._not_loaded(name, error)
            raise

    @property
    def cls(self) -> type[Kit]:
        """The test class."""
        found = self._cls()
        if found is None:
            raise RuntimeError("The test class is gone.")
        return found

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """The author's model is loaded in this block, with the author's parameters."""
        if self._unloadable is not None:
            pytest.skip(self._why_not())
        self._loading += 1
        try:
            yield
        except Exception as error:
            self._loading -= 1
            if not self._has_loaded:
                self._unloadable = str(error)
            raise
        self._loading -= 1
        self._has_loaded = True

    def subject(self, name: str) -> Subject:
        """The backend that all checks share, loaded for the check *name* unless it is already."""
        __tracebackhide__ = True
        self.get_ready(name)
        if self._shared is None:
            cls, stack = self.cls, contextlib.ExitStack()
            try:
                subject = Patient(cls.patience, f"loading {cls.model!r}").run(lambda: stack.enter_context(cls.loaded()))
            except Exception as error:
                if isinstance(error, Hangs):
                    self.lose(name)
                self._not_loaded(name, error)
                raise
            self._shared = subject, stack
        return self._shared[0]

    def imported(self, name: str) -> Imported:
        """What importing the backend does: seen once for all checks, *name* among them."""
        __tracebackhide__ = True
        self.get_ready(name)
        if self._imported is None:
            self._imported = self.cls.import_it()
        return self._imported

    def lose(self, name: str) -> None:
        """The check *name* hangs: nobody asks this backend again. It is unloaded if it comes to itself."""
        self._hung.append(name)
        shared, self._shared = self._shared, None
        if shared is not None:
            threading.Thread(target=_close, args=(shared[1],), name=NAME, daemon=True).start()

    def give_back(self) -> None:
        """Unload the shared backend."""
        __tracebackhide__ = True
        shared, self._shared = self._shared, None
        if shared is not None:
            within(self.cls.patience, shared[1].close, "unloading the model at the end")

    def _find_mistake(self) -> str | None:
        cls = self.cls
        found = missing_settings(cls) or wrong_settings(cls)
        if found is not None:
            return found
        try:
            within(cls.patience, cls.backend_class, f"importing the backend {cls.backend!r}")
            cls.location()
        except NotAsExpected as error:
            return str(error)
        except LlamaForgeError as error:
            return f"{cls.__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - a plugin may raise what it likes
            return f"{cls.__name__}: {type(error).__name__}: {error}"
        return None

    def _try_to_load(self) -> None:
        """Nothing has been loaded yet, and a check has failed: is that the reason?"""
        cls = self.cls

        def load() -> None:
            backend = cls.make()
            cls.load(backend)
            cls.release(backend)

        with contextlib.suppress(Exception):
            Patient(cls.patience, "loading the model").run(load)

    def _not_loaded(self, name: str, error: BaseException) -> None:
        """Of a model that can't be loaded only the first check speaks."""
        __tracebackhide__ = True
        if self._loading and not self._has_loaded and self._unloadable is None:
            self._unloadable = str(error)
        if self._unloadable is None:
            return
        if self._told_by:
            pytest.skip(self._why_not())
        self._told_by = name
        if str(error) != self._unloadable:
            raise NotAsExpected(f"{self.cls.model!r} to be loaded", Told(self._unloadable)) from error

    def _why_not(self) -> str:
        return f"not run: the model can't be loaded, see {self._told_by or 'the check that failed'}"


_RUNS: Final[weakref.WeakKeyDictionary[type, Run]] = weakref.WeakKeyDictionary()


def run_of(cls: type[Kit]) -> Run:
    """The run of the test class *cls*."""
    if cls not in _RUNS:
        _RUNS[cls] = Run(cls)
    return _RUNS[cls]


def watched(check: Callable[..., None], slow: bool = False) -> Callable[..., None]:
    """*check*, run with patience; marked where it is *slow*."""

    @functools.wraps(check)
    def run(self: Kit, *args: Any, **given: Any) -> None:
        __tracebackhide__ = True
        run_of(type(self)).run(check.__name__, lambda: check(self, *args, **given))

    setattr(run, KEYWORD, True)
    return _marked_slow(run) if slow or hasattr(check, _SLOW) else run


def slow(check: C) -> C:
    """Mark a check that needs many tokens, loads the model more than once, or waits."""
    setattr(check, _SLOW, True)
    return check


def _marked_slow(check: Callable[..., None]) -> Callable[..., None]:
    # The marker is registered by the kit's plugin. Without it pytest warns, or fails where markers are strict.
    with warnings.catch_warnings(), contextlib.suppress(pytest.fail.Exception):
        warnings.simplefilter("ignore", pytest.PytestUnknownMarkWarning)
        marked: Callable[..., None] = pytest.mark.slow(check)
        return marked
    return check


def _close(stack: contextlib.ExitStack) -> None:
    with contextlib.suppress(Exception):
        stack.close()
