"""A benchmark: what is measured, with which load, how often."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from llamaforge import LlamaForge
from llamaforge.errors import ConflictingParametersError, InvalidParameterError
from llamaforge.parameters import canonical, read_parameters
from llamaforge.secrets import Secret

from .arrivals import PATTERNS, Pattern
from .loads import Load, Prompts, Synthetic, Trace, read_dataset
from .metrics import SLO
from .opening import Via, opened
from .results import Results
from .session import Session, Setting, run_in_turn
from .targets.server import ServerSettings

Mode = Literal["latency", "throughput", "serve"]
"""``latency``: *concurrency* requests at once, one by default. ``throughput``: all of them at once, or *concurrency*.
``serve``: requests arrive at *arrival_rate*, whether or not others have ended."""

_RUNS = 50
"""Requests of a trial whose load has no size of its own."""


class Benchmark:
    """Measures an engine under load.

    ::

        results = await Benchmark(
            backend=VLLMConfig(model="Qwen/Qwen3-0.6B"),
            prompts=["What is the capital of France?", "Explain tides."],
            mode="latency",
            concurrency=[1, 4, 8],
            sampling={"max_tokens": 64},
        ).run()
        results.print()
        results.save("results.json")

    Args:
        backend: a backend's config, with the model in *model* or in the config; a mapping with the backend's name as
            ``type``; a loaded backend; the name of a model, or a reference; ``serve:`` and such a name, to measure it
            behind ``llamaforge serve``; or the address of a server that speaks OpenAI's API.
        prompts: strings or conversations (lists of messages).
        dataset: instead of *prompts*: a file or ``hf:NAME`` (see :func:`forge_bench.loads.read_dataset`), or a load
            such as ``Synthetic(prompt_tokens=512, output_tokens=128)``. Without both, that one.
        mode: ``latency``, ``throughput`` or ``serve``; see :data:`Mode`.
        model: the model, where *backend* doesn't name it.
        load: more load parameters.
        concurrency: requests at once; a list measures each. With ``serve``: at most so many, else as many as arrive.
        arrival_rate: requests a second for ``serve``; a list measures each.
        arrival_pattern: how they arrive; see :data:`forge_bench.arrivals.Pattern`.
        burstiness: shape of ``gamma``; below 1 in bunches.
        burst_size: requests of a ``burst``.
        time_scale: for ``trace``: stretches time.
        warmup: requests before the first trial of each level, with other prompts. They count nowhere.
        runs: requests in each trial. None: as many as there are prompts, or 50; but at least two for each one at once.
        trials: how often each level is measured, with fresh prompts; levels take turns, so that a machine that slows
            down changes all alike.
        confidence_level: of the intervals over trials.
        sampling: generation parameters (``max_tokens``, ``temperature`` ...) of every request. For a server they are
            fields of the request.
        slo: ``{"ttft": 0.5, "tpot": 0.05, "e2e": 10}``, in seconds, for the goodput.
        seed: decides arrivals, lengths and order. Texts are new in each run, so that no cache knows them.
        workers: processes that send, for servers.
        timeout: seconds that an answer may take.
        via: ``http`` asks a backend's server directly instead of through the backend.
        api_key: a server's key, or ``env:NAME``.
        headers: more headers for a server.
        body: more fields of each request to a server.
        continuous_usage: ask a server to count tokens with each chunk (vLLM, SGLang), which makes TPOT exact.
        forge: where named models are looked up. None: the user's model file.
        progress: called with a line of text now and then.

    Raises InvalidParameterError, ConflictingParametersError, or EmptyPromptError.
    """

    def __init__(
        self,
        backend: object,
        prompts: Iterable[object] | None = None,
        *,
        dataset: str | os.PathLike[str] | Load | None = None,
        mode: Mode = "latency",
        model: str | None = None,
        load: Mapping[str, Any] | None = None,
        concurrency: int | Sequence[int] | None = None,
        arrival_rate: float | Sequence[float] | None = None,
        arrival_pattern: Pattern = "poisson",
        burstiness: float = 1.0,
        burst_size: int = 10,
        time_scale: float = 1.0,
        warmup: int = 2,
        runs: int | None = None,
        trials: int = 3,
        confidence_level: float = 0.95,
        sampling: Mapping[str, Any] | None = None,
        slo: SLO | Mapping[str, float] | None = None,
        seed: int = 0,
        workers: int = 1,
        timeout: float = 600.0,
        via: Via = "backend",
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        continuous_usage: bool = False,
        forge: LlamaForge | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        if prompts is not None and dataset is not None:
            raise ConflictingParametersError(["prompts", "dataset"])
        if mode not in get_args(Mode):
            raise InvalidParameterError("mode", mode, f"one of {', '.join(get_args(Mode))}")
        if arrival_pattern not in PATTERNS:
            raise InvalidParameterError("arrival_pattern", arrival_pattern, f"one of {', '.join(PATTERNS)}")
        for name, value, least in (
            ("warmup", warmup, 0),
            ("runs", runs, 1),
            ("trials", trials, 1),
            ("workers", workers, 1),
            ("burst_size", burst_size, 1),
            ("seed", seed, 0),
        ):
            if value is not None and not (is_number(value, int) and value >= least):
                raise InvalidParameterError(name, value, f"a whole number, at least {least}")
        for name, number, below, expected in (
            ("confidence_level", confidence_level, 1.0, "a number between 0 and 1, such as 0.95"),
            ("timeout", timeout, math.inf, "seconds, above 0"),
            ("burstiness", burstiness, math.inf, "a number above 0"),
            ("time_scale", time_scale, math.inf, "a number above 0"),
        ):
            if not is_number(number, int | float) or not 0 < number < below:
                raise InvalidParameterError(name, number, expected)
        self._backend, self._model, self._load_parameters = backend, model, dict(load or {})
        self._via, self._forge = via, forge
        self._workload = _workload(prompts, dataset)
        self._settings = _levels(mode, concurrency, arrival_rate, arrival_pattern)
        self._session: dict[str, Any] = {
            "load": self._workload,
            "mode": mode,
            "pattern": arrival_pattern if mode == "serve" else None,
            "burstiness": burstiness,
            "burst_size": burst_size,
            "time_scale": time_scale,
            "warmup": warmup,
            "runs": runs if runs is not None else self._workload.size or _RUNS,
            "fills": runs is None,
            "trials": trials,
            "level": confidence_level,
            "sampling": _sampling(sampling),
            "slo": SLO.read(slo),
            "seed": seed,
            "salt": secrets.token_hex(8),
            "workers": workers,
            "progress": progress or _quiet,
        }
        if mode == "serve":
            Session.check_schedule(self._session, self._settings)
        given = {str(name): str(value) for name, value in (headers or {}).items()}
        if api_key is not None:
            given["Authorization"] = f"Bearer {Secret.read(api_key, 'api_key').reveal()}"
        self._server = ServerSettings(
            url="",
            headers=given,
            body=dict(body or {}),
            timeout=timeout,
            continuous_usage=continuous_usage,
        )

    async def run(self) -> Results:
        """Measure every level.

        Failures of single requests are in the results. Raises the errors of loading the model, ConnectionFailedError
        for a server that can't be reached, and EngineError where nothing at all was answered while warming up.
        """
        async with self._target() as target:
            return await Session(target, self._settings, **self._session).run()

    @staticmethod
    async def run_together(benchmarks: Sequence[Benchmark]) -> list[Results]:
        """Measure several targets, whose trials take turns, so that a machine that slows down changes all alike.

        All are loaded at once, which fits servers; engines in this process disturb each other even while they rest.
        All need the same number of trials. Raises the errors of :meth:`run`.
        """
        async with contextlib.AsyncExitStack() as stack:
            sessions = []
            for one in benchmarks:
                target = await stack.enter_async_context(one._target())
                sessions.append(Session(target, one._settings, **one._session))
            return await run_in_turn(sessions)

    async def sweep(self, *, factor: float = 2.0, most: float | None = None) -> Results:
        """Raise the load from its first level on, by *factor* each time, until the engine is saturated.

        The load is the arrival rate with ``mode="serve"``, else the concurrency.

        Args:
            factor: above 1.
            most: the highest load. None: 10,000.

        Raises the errors of :meth:`run`, and InvalidParameterError.
        """
        from .sweep import sweep

        first = self._settings[0]
        if self._session["mode"] != "serve":
            first = Setting(concurrency=first.concurrency or 1)
        elif first.arrival_rate is None:
            raise InvalidParameterError("arrival_rate", None, "the requests a second to begin with")
        async with self._target() as target:
            return await sweep(Session(target, [first], **self._session), factor=factor, most=most)

    def _target(self) -> Any:
        return opened(
            self._backend,
            model=self._model,
            load=self._load_parameters,
            via=self._via,
            settings=self._server,
            forge=self._forge,
        )


def is_number(value: object, kind: Any) -> bool:
    """Whether it is a number of that *kind*; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _quiet(line: str) -> None:
    """Nobody wants to hear of it."""


def _workload(prompts: Iterable[object] | None, dataset: Any) -> Load:
    if prompts is not None:
        if isinstance(prompts, str):
            raise InvalidParameterError("prompts", prompts, "a list of prompts")
        return Prompts(prompts)
    if dataset is None:
        return Synthetic()
    if isinstance(dataset, str | os.PathLike):
        return read_dataset(dataset)
    if isinstance(dataset, Prompts | Synthetic | Trace) or hasattr(dataset, "draw"):
        found: Load = dataset
        return found
    return Prompts(dataset)


def _sampling(sampling: Mapping[str, Any] | None) -> dict[str, Any]:
    """The generation parameters by their canonical names. Raises UnknownParameterError and the like."""
    read_parameters(sampling)
    return canonical(sampling)


def _levels(mode: str, concurrency: Any, rate: Any, pattern: str) -> list[Setting]:
    places = _several("concurrency", concurrency, int)
    rates = _several("arrival_rate", rate, float)
    if mode != "serve":
        if rate is not None:
            message = f"arrival_rate has no meaning with mode={mode!r}. Use mode='serve'."
            raise ConflictingParametersError(["arrival_rate", "mode"], message)
        if places == [None] and mode == "latency":
            places = [1]
        return [Setting(concurrency=place) for place in places]
    if rates == [None] and pattern != "trace":
        raise InvalidParameterError(
            "arrival_rate", None, "requests a second", message="mode='serve' needs arrival_rate, in requests a second."
        )
    return [Setting(concurrency=place, arrival_rate=each) for each in rates for place in places]


def _several(name: str, value: Any, kind: type) -> list[Any]:
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    expected = "a whole number, at least 1" if kind is int else "a number above 0"
    for each in values:
        right = is_number(each, int if kind is int else int | float)
        if each is not None and (not right or not 0 < each < math.inf):
            raise InvalidParameterError(name, each, f"{expected}, or a list of such")
    if not values:
        raise InvalidParameterError(name, value, f"{expected}, or a list of such")
    return values
