"""The base of all checks: the author's settings, and the fixtures that create and load the backend."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeVar

import pytest

from ..backends.base import BaseBackend
from ..backends.config import BackendConfig
from ..backends.registry import get_backend, is_registered
from ..sources import resolve
from ..sources.kinds import is_fetched
from . import plugin
from .expect import Hangs, NotAsExpected, within
from .heartbeat import beat
from .importing import Imported, import_elsewhere
from .run import Run, run_of, watched
from .subject import Subject
from .watching import captured_output

T = TypeVar("T")

PROMPT = (
    "Tell a long story of a lighthouse keeper, his dog and the sea: of the fog in the morning, the boat that nobody "
    "sees, the lamp that burns all day, and the dog that barks at the fog."
)


class Kit:
    """The settings and fixtures of a conformance test.

    A fixture may also set them, if a value is known only when the tests run::

        @pytest.fixture(scope="class", autouse=True)
        def server(self, request, my_server):
            request.cls.parameters = {"api_base": my_server.url}
    """

    backend: ClassVar[str | type[BaseBackend]]
    """The backend: a name that :func:`llamaforge.get_backend` knows, or a class."""
    model: ClassVar[str | os.PathLike[str]]
    """A model for it: a reference for :mod:`llamaforge.sources`, or the engine's own name for a model."""
    parameters: ClassVar[Mapping[str, Any]] = {}
    """Load parameters."""
    prompt: ClassVar[str] = PROMPT
    """A prompt that the model answers with at least 30 tokens."""
    greedy: ClassVar[Mapping[str, Any] | None] = None
    """Parameters that make answers deterministic. None: temperature 0 if the backend declares it; otherwise the
    backend is assumed to be deterministic without parameters."""
    context_size: ClassVar[int | None] = None
    """The loaded model's context length, in tokens. None: a backend with a load parameter ``n_ctx`` is loaded with a
    small value to test prompts that are too long; any other gets a prompt of 20,000 words."""
    max_load_cycles: ClassVar[int] = 3
    """How often the model is loaded and unloaded to test whether memory is freed."""
    patience: ClassVar[float] = 120.0
    """Seconds after which a request, or loading the model, counts as hung. Resources that are freed late (threads,
    files, memory) may take a fortieth of it."""
    rounding: ClassVar[float] = 0.0
    """How much a log-probability may depend on concurrent requests and cached prefixes: with quantized weights, a few
    tenths. If two tokens are closer than this, either may be chosen, and the answer may continue differently from
    there. 0: answers are always the same."""
    crowd: ClassVar[int] = 24
    """The number of concurrent requests in crowd checks: more than the engine computes at once, and no more than it
    computes and lets wait."""
    normalizes: ClassVar[Literal["NFC", "NFD", "NFKC", "NFKD"] | None] = None
    """The form that the model's own tokenizer brings text into: NFC, NFD, NFKC or NFKD. None: it leaves text as it
    is."""
    exceptions: ClassVar[Mapping[str, str]] = {}
    """Checks that this backend is exempt from, with the reason; they are reported as skipped."""

    def __init_subclass__(cls, slow: bool = False, **more: Any) -> None:
        """Have each check that *cls* brings run with patience; *slow* says that daily work can do without them."""
        super().__init_subclass__(**more)
        for name, value in list(vars(cls).items()):
            if name.startswith("test_") and callable(value):
                setattr(cls, name, watched(value, slow))

    @classmethod
    def backend_class(cls) -> type[BaseBackend]:
        """The class under test."""
        chosen = _setting(cls, "backend")
        return chosen if isinstance(chosen, type) else get_backend(str(chosen))

    @classmethod
    def registered_name(cls) -> str | None:
        """The name that the author gave; None where it is a class."""
        chosen = _setting(cls, "backend")
        return None if isinstance(chosen, type) else str(chosen)

    @classmethod
    def location(cls) -> str:
        """The model as the backend gets it."""
        reference = os.fspath(_setting(cls, "model"))
        if is_fetched(reference) or os.path.exists(os.path.expanduser(reference)):
            return resolve(reference).location
        return str(reference)

    @classmethod
    def config_class(cls) -> type[BackendConfig]:
        """The backend's load parameters."""
        return cls.backend_class().config_class

    @classmethod
    def make(cls) -> BaseBackend:
        """A new backend without a model."""
        made = cls.backend_class()
        beat()
        try:
            return made()
        except Exception as error:
            raise NotAsExpected(f"{made.__name__}() to make a backend without a model", error) from error

    @classmethod
    def wrap(cls, backend: BaseBackend, printed: str = "", loaded: Mapping[str, Any] | None = None) -> Subject:
        """*backend* with the ways to ask it; *loaded* are load parameters beyond the author's."""
        return Subject(
            backend,
            prompt=cls.prompt,
            greedy=cls.greedy,
            patience=cls.patience,
            rounding=cls.rounding,
            printed=printed,
            audit=run_of(cls).audit,
            loaded=loaded,
        )

    @classmethod
    def load(cls, backend: BaseBackend, **more: Any) -> None:
        """Load the model; *more* are further load parameters. Any error is a failure of the check."""
        __tracebackhide__ = True
        beat()
        with contextlib.nullcontext() if more else run_of(cls).loading():
            try:
                backend.load_model(cls.location(), {**cls.parameters, **more})
            except Exception as error:
                raise NotAsExpected(f"{cls.model!r} to be loaded with {[*cls.parameters, *more]}", error) from error
        beat()

    @classmethod
    @contextlib.contextmanager
    def fresh(cls, **more: Any) -> Iterator[Subject]:
        """Another backend, loaded with *more* parameters, and unloaded at the end."""
        backend = cls.make()
        try:
            cls.load(backend, **more)
            yield cls.wrap(backend, loaded=more)
        except Hangs:
            run_of(cls).hurried = True
            raise
        finally:
            cls.release(backend)

    @classmethod
    def release(cls, backend: BaseBackend) -> None:
        """Unload what *backend* holds, if it can be unloaded; with patience."""
        __tracebackhide__ = True
        if not backend.is_basic or type(backend).unload_model is not BaseBackend.unload_model:
            if run_of(cls).hurried:  # what is wrong has been said already
                with contextlib.suppress(Exception):
                    within(cls.patience / 40, backend.unload_model, "unload_model()")
            else:
                within(cls.patience, backend.unload_model, "unload_model()")

    @property
    def grace(self) -> float:
        """Seconds after which what was not given back counts as kept."""
        return self.patience / 40

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def summed_up(cls, request: pytest.FixtureRequest) -> None:
        """Sum the checks up at the end, where pytest hasn't found the plugin that does."""
        manager = request.config.pluginmanager
        if not manager.has_plugin(plugin.NAME) and not manager.is_blocked(plugin.NAME):
            plugin.start(request.config)
            manager.register(plugin, plugin.NAME)
            plugin.pytest_sessionstart(request.session)

    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls) -> Iterator[Run]:
        """What all checks share; given back at the end."""
        run = run_of(cls)
        yield run
        run.give_back()

    @pytest.fixture
    def subject(self, shared: Run, request: pytest.FixtureRequest) -> Subject:
        """The backend with the model loaded, once for all checks that only ask; and again where a check hung."""
        return shared.subject(request.node.name)

    @pytest.fixture
    def imported(self, request: pytest.FixtureRequest) -> Imported:
        """What importing the backend does, seen in a process of its own."""
        return run_of(type(self)).imported(request.node.name)

    @classmethod
    @contextlib.contextmanager
    def loaded(cls) -> Iterator[Subject]:
        """The backend with the model loaded, which knows what loading printed."""
        backend = cls.make()
        with captured_output() as output:
            cls.load(backend)
        try:
            yield cls.wrap(backend, output.text)
        finally:
            cls.release(backend)

    @classmethod
    def import_it(cls) -> Imported:
        """What importing the backend does, seen in a process of its own."""
        chosen = _setting(cls, "backend")
        return import_elsewhere(cls.backend_class() if is_registered(chosen) else chosen, max(cls.patience, 10.0))

    def run_async(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run *work* in an event loop of its own, with patience."""

        async def bounded() -> T:
            try:
                return await asyncio.wait_for(work(), self.patience)
            except TimeoutError as error:
                if type(error) is not TimeoutError:  # a GenerationTimeoutError is one, too
                    raise
                raise Hangs(f"an answer within {self.patience:g} s (patience)", "none") from None

        beat()
        return asyncio.run(bounded())


def _setting(cls: type[Kit], name: str) -> Any:
    try:
        return getattr(cls, name)
    except AttributeError:
        raise NotAsExpected(
            f"{cls.__name__} to say which {name} to test", f"no class attribute {name!r}; see BackendConformance"
        ) from None
