"""Measures the levels of a benchmark on an open target: probes, warm-up, trials in turn."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from llamaforge.errors import GenerationError, InvalidParameterError

from . import environment, validity
from .arrivals import Pattern, schedule
from .driver import Item, Plan, Sent, carry_out, share
from .loads import Load, Trace, Wording
from .loads.base import source_of, text_of
from .loop import in_own_thread
from .metrics import SLO, summarize
from .records import Call, Record, Trial
from .results import Level, Results
from .targets import Target
from .targets.counters import difference
from .targets.server import ServerTarget
from .workers import Workers


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One level of load."""

    concurrency: int | None = None
    arrival_rate: float | None = None


_WAVES = 2
"""For each request at once, how many there are in a trial at least."""
_PROBES = (60, 240)
"""Words of the two texts by which an engine shows how it counts."""


class Session:
    """Measures *settings* on *target*. The arguments are :class:`~forge_bench.Benchmark`'s, checked."""

    def __init__(
        self,
        target: Target,
        settings: Sequence[Setting],
        *,
        load: Load,
        mode: str,
        pattern: Pattern | None,
        burstiness: float,
        burst_size: int,
        time_scale: float,
        warmup: int,
        runs: int,
        fills: bool,
        trials: int,
        level: float,
        sampling: dict[str, Any],
        slo: SLO | None,
        seed: int,
        salt: str,
        workers: int,
        progress: Callable[[str], None],
    ) -> None:
        if workers > 1 and not isinstance(target, ServerTarget):
            message = "workers applies to servers: an engine in this process can't be shared with others."
            raise InvalidParameterError("workers", workers, "1", message=message)
        self.target = target
        self.settings = list(settings)
        self.mode = mode
        self._load, self._pattern = load, pattern
        self._burstiness, self._burst_size, self._time_scale = burstiness, burst_size, time_scale
        self._warmup, self._runs, self.trials = warmup, runs, trials
        self.fills = fills
        """Whether a trial has more requests where as many as are wanted at once would not be reached otherwise."""
        self._confidence, self._sampling, self._slo = level, sampling, slo
        self._seed, self._salt, self._count = seed, salt, workers
        self.progress = progress
        self._wording = Wording()
        self._workers: Workers | None = None
        self._notes: list[str] = []
        self._environment: dict[str, Any] = {}
        self._measured: list[list[Trial]] = [[] for _ in self.settings]

    @staticmethod
    def check_schedule(given: Mapping[str, Any], settings: Sequence[Setting]) -> None:
        """Make the schedules once, before anything is loaded. Raises InvalidParameterError."""
        load = given["load"]
        for setting in settings:
            schedule(
                given["pattern"],
                setting.arrival_rate,
                given["runs"],
                burstiness=given["burstiness"],
                burst_size=given["burst_size"],
                timestamps=load.timestamps if isinstance(load, Trace) else (),
                time_scale=given["time_scale"],
            )

    async def run(self) -> Results:
        """Measure all settings, their trials in turn."""
        (results,) = await run_in_turn([self])
        return results

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """In it, the target is open, and it is known how it counts."""
        self._environment = environment.capture()
        await self.target.open()
        try:
            await self._probe()
            if self._count > 1:
                assert isinstance(self.target, ServerTarget)  # noqa: S101 - checked above
                async with Workers(self.target.settings, self._count) as self._workers:
                    yield
            else:
                yield
        finally:
            self._workers = None
            await self.target.close()

    async def _probe(self) -> None:
        """Ask how the engine counts words, and whether a server knows ``ignore_eos``."""
        if not self._load.needs_wording:
            return
        self.progress("asking the engine how it counts")
        if isinstance(self.target, ServerTarget):
            record = await self._ask(Call(prompt="Hello", max_tokens=2, exact_length=True))
            if record.error is not None and record.error.startswith(("HTTP 400", "HTTP 422")):
                self.target.settings = msgspec.structs.replace(self.target.settings, ignore_eos=False)
                self._notes.append("The server doesn't know ignore_eos: answers end where the model ends them.")
        counts = []
        for words in _PROBES:
            record = await self._ask(Call(prompt=text_of(words, source_of(self._salt, "probe", words)), max_tokens=1))
            if record.error is not None:
                raise GenerationError(f"{self.target.name} did not answer the first request: {record.error}")
            if record.prompt_tokens is not None:
                counts.append((words, record.prompt_tokens))
        if len(counts) == len(_PROBES):
            self._wording = Wording.of_counts(*counts)
        if not self._wording.measured:
            self._notes.append("The engine reports no usage: a word of a synthetic prompt is taken for one token.")

    async def _ask(self, call: Call) -> Record:
        call = msgspec.structs.replace(call, parameters=self._parameters(), raw=bool(self._sampling.get("raw")))
        record = Record(index=0)
        await self.target.send(call, record)
        return record

    def _parameters(self) -> dict[str, Any]:
        return {name: value for name, value in self._sampling.items() if name not in ("max_tokens", "raw")}

    async def warm_up(self, setting: Setting) -> None:
        """Send what counts nowhere. Raises GenerationError if nothing at all is answered."""
        if not self._warmup:
            return
        self.progress(f"warming up: {self._say(setting)}")
        items = self._items(self._warmup, trial=0, place=0, fresh=True)
        sent = await self._carry_out(items, min(setting.concurrency or self._warmup, self._warmup))
        errors = [record.error for each in sent for record in each.records if record.error is not None]
        if errors and not any(record.succeeded for each in sent for record in each.records):
            raise GenerationError(f"{self.target.name} answered none of {len(errors)} warm-up requests: {errors[0]}")

    async def trial(self, setting: Setting, number: int, place: int) -> Trial:
        """One trial."""
        self.progress(f"trial {number + 1} of {self.trials}: {self._say(setting)}")
        items = self._items(self._requests(setting), trial=number, place=place, fresh=False)
        if len(items) < (setting.concurrency or 0) and self._pattern is None:
            note = f"With {len(items)} requests in a trial, {setting.concurrency} were never under way at once."
            self._notes += [] if note in self._notes else [note]
        offered = None
        if self._pattern is not None:
            times = schedule(
                self._pattern,
                setting.arrival_rate,
                len(items),
                seed=self._seed * 1000 + number,
                burstiness=self._burstiness,
                burst_size=self._burst_size,
                timestamps=self._load.timestamps if isinstance(self._load, Trace) else (),
                time_scale=self._time_scale,
            )
            for item, at in zip(items, times, strict=True):
                item.at = at
            span = times[-1] - times[0]
            offered = setting.arrival_rate or (len(times) / span if span else float(len(times)))
        before = await self._counters()
        sent = await self._carry_out(items, setting.concurrency)
        counted = difference(before, await self._counters()) if before else {}
        records = sorted((r for each in sent for r in each.records), key=lambda record: (record.index, record.turn))
        begun = min((record.intended for record in records), default=0.0)
        ended = max((record.end for record in records if record.end is not None), default=begun)
        return Trial(
            records=records,
            duration=ended - begun,
            observations=[each.observation for each in sent],
            counters=counted,
            offered=offered,
        )

    async def _counters(self) -> dict[str, float]:
        return await self.target.counters() if isinstance(self.target, ServerTarget) else {}

    async def round(self, number: int) -> None:
        """The trial *number* of every setting."""
        for place, setting in enumerate(self.settings):
            self._measured[place].append(await self.trial(setting, number, place))

    def finish(self) -> Results:
        """The results of all rounds."""
        return self.results([self.level(*each) for each in zip(self.settings, self._measured, strict=True)])

    async def measure(self, setting: Setting, place: int) -> Level:
        """All trials of one level."""
        return self.level(setting, [await self.trial(setting, number, place) for number in range(self.trials)])

    def _requests(self, setting: Setting) -> int:
        """Those of a trial: enough that as many are under way at once as are wanted."""
        together = setting.concurrency or 1
        if not self.fills or self._pattern is not None or together == 1:
            return self._runs
        return max(self._runs, _WAVES * together)

    def _say(self, setting: Setting) -> str:
        if self._pattern == "trace" and setting == Setting():
            return "as recorded"
        return Level(concurrency=setting.concurrency, arrival_rate=setting.arrival_rate).label

    def _items(self, count: int, *, trial: int, place: int, fresh: bool) -> list[Item]:
        """The requests of a trial: the same lengths at every level, texts that were never sent before."""
        salt = f"{self._salt}:{trial}:{place}"
        seed = self._seed * 1000 + trial
        items = self._load.draw(count, seed=seed, salt=salt, wording=self._wording, fresh=fresh)
        most, parameters = self._sampling.get("max_tokens"), self._parameters()
        for index, item in enumerate(items):
            item.index = index
            call = item.call
            call.parameters = parameters | call.parameters
            call.max_tokens = call.max_tokens if call.max_tokens is not None else most
            call.raw = bool(self._sampling.get("raw")) and call.prompt is not None and not item.turns
        return items

    async def _carry_out(self, items: list[Item], concurrency: int | None) -> list[Sent]:
        if self._workers is None:
            return [await carry_out(self.target, Plan(items=items, concurrency=concurrency))]
        return await self._workers.carry_out(share(items, concurrency, self._count))

    def level(self, setting: Setting, trials: list[Trial]) -> Level:
        """The figures of a level."""
        in_process = self.target.in_process
        limited = setting.concurrency is not None
        judged = [validity.reasons(each, in_process=in_process, concurrency_limited=limited) for each in trials]
        return Level(
            concurrency=setting.concurrency,
            arrival_rate=setting.arrival_rate,
            metrics=summarize(trials, slo=self._slo, level=self._confidence),
            reasons=validity.merged(judged),
            trials=trials,
        )

    def results(self, levels: list[Level]) -> Results:
        """All of it."""
        self._environment["load_average_after"] = environment.capture_load()
        return Results(
            target=self.target.name,
            mode=self.mode,
            levels=levels,
            arrival_pattern=self._pattern,
            engine=self.target.describe(),
            load=self._load.describe(),
            settings={
                "warmup": self._warmup,
                "runs": self._runs,
                "trials": self.trials,
                "seed": self._seed,
                "workers": self._count,
                "sampling": msgspec.to_builtins(self._sampling, enc_hook=repr),
                "wording": msgspec.to_builtins(self._wording),
            },
            environment=self._environment,
            slo=self._slo,
            confidence_level=self._confidence,
            notes=[*self._notes, *_remarks(levels)],
        )


async def run_in_turn(sessions: Sequence[Session]) -> list[Results]:
    """Measure several targets, trial by trial in turn, so that a machine that slows down changes all alike."""

    async def work() -> list[Results]:
        async with contextlib.AsyncExitStack() as stack:
            for session in sessions:
                await stack.enter_async_context(session.ready())
            for session in sessions:
                for setting in session.settings:
                    await session.warm_up(setting)
            for number in range(max(session.trials for session in sessions)):
                for session in sessions if number % 2 == 0 else reversed(sessions):
                    await session.round(number)
            return [session.finish() for session in sessions]

    return await in_own_thread(work)


def _remarks(levels: Sequence[Level]) -> list[str]:
    """What a reader has to know about the answers."""
    records = [record for level in levels for trial in level.trials for record in trial.records]
    good = [record for record in records if record.succeeded]
    found = []
    if len(good) < len(records):
        first = next(record.error for record in records if record.error is not None)
        found.append(f"{len(records) - len(good)} of {len(records)} requests failed. The first one: {first}")
    if any(record.completion_tokens is None for record in good):
        found.append(
            "The engine gave no usage for some answers, so figures per token are missing. Chunks are no tokens."
        )
    cached = sum(record.cached_tokens or 0 for record in good)
    read = sum(record.prompt_tokens or 0 for record in good)
    if read and cached / read > 0.01:
        found.append(f"{cached / read:.0%} of the prompts' tokens came from the engine's cache.")
    short = [r for r in good if r.wanted_tokens is not None and (r.completion_tokens or 0) < r.wanted_tokens * 0.9]
    if good and len(short) > len(good) / 10:
        found.append(f"{len(short)} of {len(good)} answers ended before the length that was asked for.")
    estimated = [
        r for r in good if r.first_chunk_tokens is None and (r.completion_tokens or 0) > len(r.chunk_times) > 1
    ]
    if estimated:
        found.append(
            f"{len(estimated)} of {len(good)} answers had several tokens a chunk. How many the first one had, which "
            "TPOT leaves out, is estimated by its characters."
        )
    return found
