"""Mutation testing of sound backends: how much of what can be broken does the conformance kit see?

    hatch run bench:mutants                              every area of benchmarks/mutation/areas.toml
    hatch run bench:mutants --module echo --survivors    what no check saw, with its place and its change
    hatch run bench:mutants --module scheduler --sample 300 --seed 7

A mutant is the code with one small change, made by mutmut's operators. The kit runs against it, fails at once where it
sees the change, and so kills the mutant. Where an area names tests of the project, these run on what the kit lets live.
benchmarks/equivalent_mutants.toml names mutants that no test can see, each with its reason: they don't count. It also
names kinds of them, which count if a test sees them after all. Where all mutants of an area would take more than an
hour, 300 of them are drawn, always the same.

Runs without a mutant in between tell whether the tests fail by themselves: then the figures are worth nothing. What was
found is kept, and holds as long as neither the code nor the tests change. Returns 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from mutation.known import (
    Area,
    Areas,
    Equivalent,
    Known,
    Record,
    Rule,
    add_record,
    read_areas,
    read_known,
    read_records,
)
from mutation.mutate import Mutant, mutants_of
from mutation.trial import Killers, Limits, Run, Verdict, Workplace, fingerprint, warm_up

HERE = Path(__file__).resolve().parent
HOUR = 3600.0
SAMPLE = 300
CONTROL_EVERY = 60


class Found(msgspec.Struct, kw_only=True):
    """All that is known of one area."""

    name: str
    area: Area
    mutants: list[Mutant]
    """Those that were tried."""
    of: int
    """How many there are."""
    equivalent: dict[str, str]
    """Reasons, by key."""
    excused: dict[str, str]
    """Reasons where a rule holds: for those that live."""
    records: dict[str, Record]
    controls: int = 0
    alarms: list[Verdict] = []


def plan(options: argparse.Namespace, root: Path, areas: Areas, known: Known) -> list[Found]:
    """What to try. Raises SystemExit for an area that isn't known."""
    found = []
    for name, area in areas.area.items():
        places = {pattern: list(root.glob(pattern)) for pattern in area.modules}
        if missing := [pattern for pattern, matches in places.items() if not matches]:
            raise SystemExit(f"Area {name}: there is no file {missing[0]}.")
        modules = sorted({place for matches in places.values() for place in matches})
        relative = [str(place.relative_to(root)) for place in modules]
        wanted = [
            module
            for module in relative
            if not options.module
            or any(fnmatch.fnmatch(name, each) or fnmatch.fnmatch(module, f"*{each}") for each in options.module)
        ]
        mutants = [mutant for module in wanted for mutant in mutants_of(module, (root / module).read_text("utf-8"))]
        for patterns in (area.functions, (options.function or "*",)):
            mutants = [mutant for mutant in mutants if any(fnmatch.fnmatch(mutant.function, each) for each in patterns)]
        reasons = {mutant.key: each.reason for mutant in mutants for each in known.equivalent if each.holds_for(mutant)}
        excused = {mutant.key: each.reason for mutant in mutants for each in known.rule if each.holds_for(mutant)}
        if mutants:
            found.append(
                Found(
                    name=name,
                    area=area,
                    mutants=mutants,
                    of=len(mutants),
                    equivalent=reasons,
                    excused=excused,
                    records={},
                )
            )
    if not found:
        raise SystemExit(
            f"No area and no module is named {' or '.join(options.module)}. Areas: {', '.join(areas.area)}."
        )
    return found


class Laboratory:
    """Some copies of the repository, and the runs in them."""

    def __init__(self, root: Path, areas: Areas, options: argparse.Namespace, folder: Path) -> None:
        self._root = root
        self._options = options
        self._workplaces = [
            Workplace(root, folder / str(number), areas.paths)
            for number in range(0 if options.report else options.jobs)
        ]
        self._records = read_records(options.results)
        self._tests = fingerprint(root)

    def report(self, found: Found) -> None:
        """What is known of one area without trying any: of its mutants, those that were tried against this code."""
        known = {mutant.key: self._records.get(mutant.key) for mutant in found.mutants}
        for mutant in found.mutants:
            record = known[mutant.key]
            if record is not None and record.source == self._source(mutant.module):
                found.records[mutant.key] = record
        found.mutants = [each for each in found.mutants if each.key in found.records or each.key in found.equivalent]

    def examine(self, found: Found) -> None:
        """Try the mutants of one area."""
        limits = self._baseline(found)
        wall = sum(limits[phase].wall / 6 for phase in limits)
        counted = [mutant for mutant in found.mutants if mutant.key not in found.equivalent]
        sample = self._options.sample
        if sample is None and len(counted) * wall / 2 / self._options.jobs > HOUR:
            sample = SAMPLE
        if sample and sample < len(found.mutants):
            chosen = random.Random(self._options.seed).sample(range(len(found.mutants)), sample)
            found.mutants = [found.mutants[number] for number in sorted(chosen)]
        todo = []
        for mutant in found.mutants:
            record = self._records.get(mutant.key)
            if record is not None and self._holds(record, mutant):
                found.records[mutant.key] = record
            elif mutant.key not in found.equivalent or self._options.check_equivalent:
                todo.append(mutant)
        random.Random(self._options.seed).shuffle(todo)  # a run that is broken off has seen something of everything
        say(f"{found.name}: {len(todo)} of {found.of} mutants to try, {len(found.records)} known already")
        killers = {"kit": Killers(), "own": Killers()}
        for record in self._records.values():
            for phase, verdict in (("kit", record.kit), ("own", record.own)):
                if verdict is not None:
                    killers[phase].add(verdict.test)
        self._try_all(found, todo, limits, killers)

    def _holds(self, record: Record, mutant: Mutant) -> bool:
        if record.source != self._source(mutant.module):
            return False
        return record.tests == self._tests or (self._options.keep_kills and record.last.killed)

    def _source(self, module: str) -> str:
        return hashlib.sha256((self._root / module).read_bytes()).hexdigest()[:16]

    def _phases(self, found: Found) -> dict[str, list[str]]:
        phases = {"kit": found.area.kit} | ({"own": found.area.own} if found.area.own else {})
        return dict(reversed(phases.items())) if self._options.own_first else phases

    def _baseline(self, found: Found) -> dict[str, Limits]:
        """What a run takes without a mutant. Raises SystemExit where the tests fail then."""
        limits = {}
        for phase, tests in self._phases(found).items():
            run = Run(self._workplaces[0], tests, [], Limits(), list_modules=True)
            while not run.poll():
                time.sleep(0.02)
            verdict = run.verdict
            assert verdict is not None
            if verdict.outcome != "passed":
                raise SystemExit(f"{found.name}: {phase} fails without a mutant: {verdict.test}\n{verdict.said}")
            warm_up(verdict.modules)
            limits[phase] = Limits(wall=max(120, 6 * verdict.wall), cpu=max(self._options.least_cpu, 3 * verdict.cpu))
        return limits

    def _try_all(
        self, found: Found, todo: list[Mutant], limits: dict[str, Limits], killers: dict[str, Killers]
    ) -> None:
        waiting = todo[::-1]
        started = 0
        running: dict[int, Iterator[Run]] = {}
        current: dict[int, Run] = {}
        idle = set(range(len(self._workplaces)))
        done = 0
        try:
            while waiting or running:
                while idle and waiting:
                    place = idle.pop()
                    if started and started % CONTROL_EVERY == 0 and started // CONTROL_EVERY > found.controls:
                        found.controls += 1
                        steps = self._control(found, place, limits)
                    else:
                        started += 1
                        steps = self._try(found, waiting.pop(), place, limits, killers)
                    running[place], current[place] = steps, next(steps)
                for place in list(running):
                    if current[place].poll():
                        following = next(running[place], None)
                        if following is not None:
                            current[place] = following
                            continue
                        del running[place], current[place]
                        idle.add(place)
                        done += 1
                        if done % 20 == 0:
                            say(f"{found.name}: {len(found.records)} judged, {len(waiting)} wait")
                time.sleep(0.01)
        finally:
            for run in current.values():
                run.stop()
            for steps in running.values():
                close = getattr(steps, "close", None)
                if close:
                    close()

    def _try(
        self, found: Found, mutant: Mutant, place: int, limits: dict[str, Limits], killers: dict[str, Killers]
    ) -> Iterator[Run]:
        workplace = self._workplaces[place]
        verdicts: dict[str, Verdict] = {}
        with workplace.changed(mutant.module, mutant.code):
            for phase, tests in self._phases(found).items():
                run = Run(workplace, tests, killers[phase].best(), limits[phase])
                yield run
                assert run.verdict is not None
                verdicts[phase] = run.verdict
                if run.verdict.killed or run.verdict.outcome == "broken":
                    killers[phase].add(run.verdict.test)
                    break
        record = Record(
            key=mutant.key,
            source=self._source(mutant.module),
            tests=self._tests,
            kit=verdicts.get("kit"),
            own=verdicts.get("own"),
        )
        found.records[mutant.key] = record
        add_record(self._options.results, record)

    def _control(self, found: Found, place: int, limits: dict[str, Limits]) -> Iterator[Run]:
        for phase, tests in self._phases(found).items():
            run = Run(self._workplaces[place], tests, [], limits[phase])
            yield run
            assert run.verdict is not None
            if run.verdict.outcome != "passed":
                found.alarms.append(run.verdict)


def score(found: Found, module: str | None = None) -> dict[str, float | int]:
    """Counts, of one module or of the whole area."""
    mutants = [mutant for mutant in found.mutants if module in (None, mutant.module)]
    counts: Counter[str] = Counter()
    for mutant in mutants:
        record = found.records.get(mutant.key)
        if mutant.key in found.equivalent:
            counts["equivalent"] += 1
        elif record is None:
            counts["not tried"] += 1
        elif record.last.outcome == "passed" and mutant.key in found.excused:
            counts["equivalent"] += 1
        elif record.last.outcome == "broken":
            counts["broken"] += 1
        elif record.kit is not None and record.kit.killed:
            counts["by the kit"] += 1
        elif record.last.killed:
            counts["by own tests"] += 1
        else:
            counts["survived"] += 1
    killed = counts["by the kit"] + counts["by own tests"]
    counted = killed + counts["survived"] + counts["broken"]
    return {
        "mutants": len(mutants),
        "by the kit": counts["by the kit"],
        "by own tests": counts["by own tests"],
        "survived": counts["survived"],
        "equivalent": counts["equivalent"],
        "broken": counts["broken"],
        "not tried": counts["not tried"],
        "killed %": round(100 * killed / counted, 1) if counted else 100.0,
    }


def print_table(every: list[Found], survivors: bool) -> None:
    columns = list(score(every[0]))
    every = [found for found in every if found.mutants]
    print(f"{'':<52}" + "".join(f"{name:>13}" for name in columns))
    for found in every:
        for module in dict.fromkeys(mutant.module for mutant in found.mutants):
            row = score(found, module)
            print(f"  {module.partition('/src/')[2] or module:<50}" + "".join(f"{row[name]:>13}" for name in columns))
        row = score(found)
        met = "met" if row["killed %"] >= found.area.bar else "MISSED"
        drawn = f", {len(found.mutants)} of {found.of} drawn" if len(found.mutants) < found.of else ""
        print(f"{found.name:<52}" + "".join(f"{row[name]:>13}" for name in columns), end="")
        print(f"   (bar: {found.area.bar:g}%, {met}{drawn}; {len(found.alarms)} of {found.controls} controls failed)")
        for verdict in found.alarms:
            print(f"    FALSE ALARM: {verdict.test} {verdict.outcome}: {verdict.said.strip()[-300:]}")
    for found in every:
        for mutant in found.mutants:
            record = found.records.get(mutant.key)
            if record is None:
                continue
            if mutant.key in found.equivalent and record.last.killed:
                print(f"NOT EQUIVALENT, {record.last.test} kills it:\n{shown(mutant)}")
            elif record.last.outcome == "broken" and mutant.key not in found.equivalent:
                print(f"BROKEN: {record.last.said[-300:]}\n{shown(mutant)}")
            elif survivors and not record.last.killed and mutant.key not in found.equivalent | found.excused:
                print(f"SURVIVED: {shown(mutant)}")


def shown(mutant: Mutant) -> str:
    """Where it is, and what it changes."""
    lines = [f"{mutant.module}:{mutant.line} in {mutant.function or 'the module'}, {mutant.nth}"]
    lines += [f"  - {line}" for line in mutant.before.splitlines()]
    lines += [f"  + {line}" for line in mutant.after.splitlines()]
    return "\n".join(lines)


def print_json(every: list[Found], stale: list[Equivalent | Rule]) -> None:
    areas = {
        found.name: {
            "bar": found.area.bar,
            "of": found.of,
            "controls": found.controls,
            "false alarms": [msgspec.to_builtins(verdict) for verdict in found.alarms],
            **score(found),
            "modules": {
                module: score(found, module) for module in dict.fromkeys(mutant.module for mutant in found.mutants)
            },
            "fates": {shown(mutant): fate(found, mutant) for mutant in found.mutants},
        }
        for found in every
    }
    json.dump({"areas": areas, "stale": [msgspec.to_builtins(each) for each in stale]}, sys.stdout, indent=2)
    print()


def fate(found: Found, mutant: Mutant) -> str:
    """In words."""
    if mutant.key in found.equivalent:
        return f"equivalent: {found.equivalent[mutant.key]}"
    record = found.records.get(mutant.key)
    if record is None:
        return "not tried"
    if record.last.outcome != "passed":
        return f"{record.last.outcome}: {record.last.test}"
    return f"equivalent: {found.excused[mutant.key]}" if mutant.key in found.excused else "survived"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--module", action="append", default=[], help="an area, or a pattern at a file's end; again for more"
    )
    parser.add_argument("--function", help="a pattern of qualified names")
    parser.add_argument("--sample", type=int, help="how many mutants to draw in each area; 0: all")
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--least-cpu", type=float, default=10, help="seconds of the processor that any run may take")
    parser.add_argument("--survivors", action="store_true", help="print each mutant that lives")
    parser.add_argument("--report", action="store_true", help="try nothing; print what was found, with whatever tests")
    parser.add_argument("--own-first", action="store_true", help="run the project's own tests first, then the kit")
    parser.add_argument("--check-equivalent", action="store_true", help="try what is said to be equivalent, too")
    parser.add_argument("--keep-kills", action="store_true", help="a kill counts even if tests have changed since")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table, with each mutant's fate")
    parser.add_argument("--root", type=Path, default=HERE.parent)
    parser.add_argument("--areas", type=Path, default=HERE / "mutation" / "areas.toml")
    parser.add_argument("--equivalents", type=Path, default=HERE / "equivalent_mutants.toml")
    parser.add_argument("--results", type=Path, default=HERE.parent / ".mutants.jsonl", help="where findings are kept")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    areas = read_areas(options.areas)
    known = read_known(options.equivalents)
    every = plan(options, options.root, areas, known)
    tried = [mutant for found in every for mutant in found.mutants]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, contextlib.suppress(KeyboardInterrupt):
        laboratory = Laboratory(options.root, areas, options, Path(folder))
        for found in every:
            (laboratory.report if options.report else laboratory.examine)(found)
    whole = not (options.module or options.function or options.sample)
    every_one = [*known.equivalent, *known.rule]
    stale = [each for each in every_one if whole and not any(map(each.holds_for, tried))]
    if options.json:
        print_json(every, stale)
    else:
        print_table(every, options.survivors)
        for each in stale:
            print(f"STALE: no mutant is {each}")
    met = all(score(found)["killed %"] >= found.area.bar and not found.alarms for found in every)
    return 0 if met and not stale else 1


if __name__ == "__main__":
    sys.exit(main())
