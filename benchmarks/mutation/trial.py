"""Trying a mutant: the tests run in a forked process, in a copy of the repository where one file is the mutant's.

The copy is there so that processes which the tests start see the mutant as well, and so that nobody who edits the
repository meanwhile changes what is measured. The parent has imported what doesn't belong to the repository; a child
imports the rest in a quarter of a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil
import pytest

FIRST: Final = 40
"""How many of the tests that have killed most run first; then all of them, in their own order."""
IDLE: Final = 20.0
"""Seconds without any use of the processor after which a run hangs: every check that waits does so for less."""
_ARGUMENTS: Final = ("-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=short")
_PLUGINS: Final = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin")


class Verdict(msgspec.Struct, kw_only=True):
    """How a run of the tests ended."""

    outcome: str
    """``passed``; ``failed``; ``import`` where the tests couldn't be collected; ``crashed``; ``hung`` or ``busy`` where
    a limit of time was reached; ``broken`` where pytest itself couldn't run."""
    test: str = ""
    """The test that failed first."""
    said: str = ""
    """What it said."""
    wall: float = 0.0
    """Seconds."""
    cpu: float = 0.0
    """Seconds of the processor."""
    modules: list[str] = []
    """What was imported."""

    @property
    def killed(self) -> bool:
        """Whether the tests saw the mutant."""
        return self.outcome in ("failed", "import", "crashed", "hung", "busy")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of the tests may take."""

    wall: float = 600.0
    cpu: float = 300.0
    memory: int = 4 << 30


class Workplace:
    """A copy of the repository at *root* in *folder*, for one mutant at a time."""

    def __init__(self, root: Path, folder: Path, paths: Sequence[str]) -> None:
        self.folder = folder
        for name in _files(root):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target, follow_symlinks=False)
        self.paths = [str(place) for pattern in paths for place in sorted(folder.glob(pattern))]

    @contextlib.contextmanager
    def changed(self, module: str, code: str) -> Iterator[None]:
        """With *code* in the place of the file *module*."""
        place = self.folder / module
        original = place.read_bytes()
        stat = place.stat()
        self._write(place, code.encode())
        try:
            yield
        finally:
            self._write(place, original)
            os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    @staticmethod
    def _write(place: Path, data: bytes) -> None:
        place.write_bytes(data)
        # Bytecode is known by the second of its source's change and its size: a mutant's may look the same.
        Path(importlib.util.cache_from_source(str(place))).unlink(missing_ok=True)


class Run:
    """A run of *tests* in a process of its own, in *workplace*. Those in *first* go first."""

    def __init__(
        self,
        workplace: Workplace,
        tests: Sequence[str],
        first: Iterable[str],
        limits: Limits,
        *,
        list_modules: bool = False,
    ) -> None:
        self._report = workplace.folder.with_name(f"{workplace.folder.name}.report")
        self._report.unlink(missing_ok=True)
        self._output = workplace.folder.with_name(f"{workplace.folder.name}.output")
        self._limits = limits
        self._start = time.monotonic()
        self._stopped = ""
        self._used, self._moved = 0.0, self._start
        self.verdict: Verdict | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _child(workplace, tests, list(first), limits, self._report, self._output, list_modules)
            except BaseException:  # noqa: BLE001 - the parent reads it
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(70)

    def poll(self) -> bool:
        """Whether it has ended; then there is a verdict."""
        pid, status, used = os.wait4(self.pid, os.WNOHANG)
        now = time.monotonic()
        if pid == 0:
            self._watch(now)
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what the tests have left behind
        self.verdict = self._judge(status, now - self._start, used.ru_utime + used.ru_stime)
        return True

    def stop(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _watch(self, now: float) -> None:
        if now - self._moved < 1 and now - self._start < self._limits.wall:
            return
        used = _cpu_of_tree(self.pid)
        if abs(used - self._used) > 0.02:
            self._used, self._moved = used, now
        if now - self._moved > IDLE or now - self._start > self._limits.wall:
            self._stopped = "hung"
        elif used > self._limits.cpu:
            self._stopped = "busy"
        if self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _judge(self, status: int, wall: float, cpu: float) -> Verdict:
        timing = {"wall": round(wall, 2), "cpu": round(cpu, 2)}
        if self._stopped:
            return Verdict(outcome=self._stopped, **timing)
        if self._report.exists():
            report = msgspec.json.decode(self._report.read_bytes(), type=Verdict)
            report.wall, report.cpu = timing["wall"], timing["cpu"]
            return report
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGXCPU:
            return Verdict(outcome="busy", **timing)
        if code == 70:
            return Verdict(outcome="broken", said=self._output.read_text(errors="replace")[-3000:], **timing)
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return Verdict(outcome="crashed", said=how, **timing)


def warm_up(modules: Iterable[str]) -> None:
    """Import those of *modules* that come with Python or from packages, so that children needn't."""
    homes = tuple(f"{os.path.realpath(sysconfig.get_path(name))}{os.sep}" for name in ("stdlib", "purelib", "platlib"))
    for name in modules:
        if name.startswith("_"):
            continue  # those that others need come with them; _asyncio, imported before asyncio, is half of one
        with contextlib.suppress(Exception):
            top = importlib.util.find_spec(name.partition(".")[0])  # of a submodule, it would import the package
            origin = (top and top.origin) or ""
            if os.path.realpath(origin).startswith(homes) or f"{os.sep}site-packages{os.sep}" in origin:
                importlib.import_module(name)


class _Plugin:
    """Puts the best tests first, and remembers what failed."""

    def __init__(self, first: list[str]) -> None:
        self._rank = {test: rank for rank, test in enumerate(first[:FIRST])}
        self.test = ""
        self.said = ""
        self.when = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._rank.get(item.nodeid, FIRST))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.when:
            self.test, self.said, self.when = report.nodeid, report.longreprtext[-1500:], "import"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.when:
            self.test, self.said, self.when = report.nodeid, report.longreprtext[-1500:], "failed"


def _child(
    workplace: Workplace,
    tests: Sequence[str],
    first: list[str],
    limits: Limits,
    report: Path,
    output: Path,
    list_modules: bool,
) -> None:
    os.setsid()
    os.chdir(workplace.folder)
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    cpu = int(limits.cpu) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path[:0] = workplace.paths
    os.environ["PYTHONPATH"] = os.pathsep.join(workplace.paths)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    _check_places(workplace)
    plugin = _Plugin(first)
    installed = [name for name in _PLUGINS if importlib.util.find_spec(name.partition(".")[0])]
    arguments = [*_ARGUMENTS, *(part for name in installed for part in ("-p", name)), *tests]
    status = int(pytest.main(arguments, plugins=[plugin]))
    _check_places(workplace)
    outcome = {0: "passed", 1: "failed"}.get(status, "broken")
    if outcome != "passed" and plugin.when:
        outcome = plugin.when
    printed = output.read_text(errors="replace")
    if outcome == "broken" and status == 4 and "ImportError while loading conftest" in printed:
        outcome = "import"
    said = plugin.said if outcome != "broken" else f"pytest's exit status {status}: {printed[-1500:]}"
    modules = sorted(name for name in sys.modules if list_modules)
    verdict = Verdict(outcome=outcome, test=_encodable(plugin.test), said=_encodable(said), modules=modules)
    report.write_bytes(msgspec.json.encode(verdict))
    os._exit(0)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _check_places(workplace: Workplace) -> None:
    """What the copy has must come from there. Raises RuntimeError: the mutant would not be what the tests see."""
    packages = {place.name.partition(".")[0] for path in workplace.paths for place in Path(path).iterdir()}
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if name.partition(".")[0] in packages and place and not place.startswith(str(workplace.folder)):
            raise RuntimeError(f"{name} was imported from {place}, not from the copy.")


def _cpu_of_tree(pid: int) -> float:
    """Seconds of the processor that a process and its living children have used."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                total += times.user + times.system
    return total


def _files(root: Path) -> list[str]:
    """The repository's files, or those of a folder that is none."""
    command = ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return [name for name in done.stdout.split("\0") if name and (root / name).is_file()]
    return [
        str(place.relative_to(root))
        for place in root.rglob("*")
        if place.is_file() and "__pycache__" not in place.parts
    ]


class Killers:
    """The tests that kill most, as far as is known."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, test: str) -> None:
        """*test* has killed one more."""
        if test:
            self._counts[test] += 1

    def best(self) -> list[str]:
        """The best first."""
        return [test for test, _ in self._counts.most_common(FIRST)]


def fingerprint(root: Path) -> str:
    """Of all Python code: what is tested, and the tests."""
    digest = hashlib.sha256()
    for name in sorted(_files(root)):
        if name.endswith(".py") and not name.startswith("benchmarks/"):
            digest.update(f"{name}\0".encode() + (root / name).read_bytes())
    return digest.hexdigest()[:16]
