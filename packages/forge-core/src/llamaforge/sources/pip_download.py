"""Let the user's own pip fetch a wheel, with its configuration and its cache; nothing is installed."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import re
import subprocess
import sys
from collections import deque
from pathlib import Path

from ..errors import ChecksumError, DownloadError, MissingDependencyError, SourceNotFoundError, closest
from .cache import CACHE_VARIABLE
from .network_settings import blame
from .pypi_cache import WheelFile
from .redact import redact
from .spec import Progress
from .versions import sort_key

_RAW_PROGRESS = (24, 1)
"""The first pip that can say its progress as lines of text."""

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_GRACE = 3.0
"""Seconds that pip has to end when it is asked to."""

# pip's exit status is 1 or 2 for every failure. What it prints and logs is the only place where it tells an unknown
# distribution from an index that did not answer, and a full disk from either.
_UNANSWERED = re.compile(r"Could not fetch URL (\S+): (.+) - skipping")
_ABSENT = re.compile(r"(?:404|410) Client Error")
_VERSIONS = re.compile(r"\(from versions: (.+)\)")
_CRASH = re.compile(r"^Traceback \(most recent call last\):", re.M)
_RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*): (.+)$", re.M)
_SYSTEM = re.compile(r"^((?:OS|Permission|FileNotFound|NotADirectory)Error: \[Errno (\d+)\] .+)$", re.M)
_MAKE_ROOM = f". Make room, or name another folder in the environment variable {CACHE_VARIABLE}."
_PASSED_OVER = re.compile(r"WARNING: (.*(?:ignored|seems invalid|not a trusted).*)")
_HASHES = re.compile(r"Expected sha256 ([0-9a-f]{64}).*?Got\s+([0-9a-f]{64})", re.S)


def download(wanted: WheelFile, staging: Path, progress: Progress | None) -> Path:
    """Download the wheel of *wanted* into a folder below *staging*, which holds pip's temporary files too.

    Whatever ends this function early, Ctrl-C included, ends pip as well.

    Raises MissingDependencyError (no pip), SourceNotFoundError, DownloadError.
    """
    destination, scratch, log = staging / "wheel", staging / "tmp", staging / "pip.log"
    for folder in (destination, scratch):
        folder.mkdir()
    command = [*_pip(), "download", wanted.requirement, "--no-deps", "--only-binary=:all:", "--dest", str(destination)]
    command += ["--no-input", "--no-color", "--disable-pip-version-check", "--log", str(log)]
    command += ["--progress-bar", "raw" if _version() >= _RAW_PROGRESS else "off"]
    what = f"downloading {wanted.requirement}"
    if progress is not None:
        progress(0, None, what)
    output: deque[str] = deque(maxlen=200)
    status = _run(command, scratch, output, what, progress)
    wheels = list(destination.glob("*.whl"))
    if status != 0:
        raise _failure(wanted, status, output, log)
    if len(wheels) != 1:
        raise DownloadError(wanted.text, f"pip succeeded, but left {len(wheels)} wheels where one was expected.")
    return wheels[0]


def _pip() -> list[str]:
    if not sys.executable or getattr(sys, "frozen", False) or importlib.util.find_spec("pip") is None:
        raise MissingDependencyError("A pypi: reference", "pip", "python -m ensurepip --upgrade")
    return [sys.executable, "-P", "-m", "pip"]  # -P: a folder named pip in the working directory is not pip


def _version() -> tuple[int, ...]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return tuple(int(part) for part in re.findall(r"\d+", version("pip"))[:2])
    except PackageNotFoundError:
        return (0,)


def _run(command: list[str], scratch: Path, output: deque[str], what: str, progress: Progress | None) -> int:
    # PIP_QUIET would keep pip's reasons from us, and PIP_VERBOSE bury them.
    environment = {name: value for name, value in os.environ.items() if name not in ("PIP_QUIET", "PIP_VERBOSE")}
    environment |= {"TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    environment |= {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
    child: subprocess.Popen[str] | None = None
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            encoding="utf-8",
            errors="replace",
        )
        for line in child.stdout or ():
            if found := _PROGRESS.match(line):
                if progress is not None:
                    progress(int(found[1]), int(found[2]) or None, what)
            else:
                output.append(line.rstrip())
        return child.wait()
    finally:
        if child is not None:
            _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    """Make sure that pip has ended; its temporary files are in our folder, so no farewell of its own is needed."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_GRACE)
        except BaseException as error:
            child.kill()
            child.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
    if child.stdout is not None:
        with contextlib.suppress(OSError):
            child.stdout.close()


def _failure(
    wanted: WheelFile, status: int, output: deque[str], log: Path
) -> SourceNotFoundError | DownloadError | ChecksumError:
    """What pip's exit *status*, its *output* and its *log* mean."""
    if status < 0:
        return DownloadError(wanted.text, f"pip was killed by signal {-status}.")
    printed, logged = "\n".join(output), _read(log)
    for url, reason in _UNANSWERED.findall(logged):
        if not _ABSENT.match(reason):
            advice = blame(reason) or " Check the network."
            return DownloadError(
                wanted.text, f"the package index did not answer ({redact(url)}: {redact(reason)}).{advice}"
            )
    if (hashes := _HASHES.search(printed)) is not None:
        return ChecksumError(wanted.text, hashes[1], hashes[2])
    said = _reason(printed)
    listed = _VERSIONS.findall(printed)
    if not listed:
        return DownloadError(wanted.text, f"pip failed: {said}{blame(said)}")
    known = [] if listed[-1] == "none" else [version.strip() for version in listed[-1].split(",")]
    if known and wanted.version is not None:
        newest = sorted(known, key=lambda version: sort_key(version) or (), reverse=True)
        near = closest(wanted.version, newest) or newest[:5]
        return SourceNotFoundError(
            wanted.text, f"the index has no version {wanted.version} of it, but {', '.join(near)}. pip: {said}"
        )
    return SourceNotFoundError(wanted.text, f"{_nowhere(wanted, printed)} pip: {said}{blame('')}")


def _nowhere(wanted: WheelFile, printed: str) -> str:
    """Why pip knows no version at all, as far as it says so."""
    if passed_over := list(dict.fromkeys(_PASSED_OVER.findall(printed))):
        return f"pip's configuration keeps it from the index: {redact(' / '.join(passed_over))}"
    if os.environ.get("PIP_NO_INDEX", "").strip().lower() not in ("", "0", "false", "no", "off", "n", "f"):
        return "the environment variable PIP_NO_INDEX keeps pip from the index."
    return (
        f"your package index has no {wanted.distribution!r}, or no wheel of it for this Python and system, or pip's "
        "configuration keeps it from the index (`pip config list`)."
    )


def _reason(printed: str) -> str:
    """pip's own reason: the exception that it died of, or its error lines, or its last lines; credentials masked."""
    if (system := _SYSTEM.search(printed)) is not None:  # also where pip can't even write its log any more
        advice = _MAKE_ROOM if int(system[2]) in (errno.ENOSPC, errno.EDQUOT) else ""
        return redact(f"{system[1]}{advice}")
    crash = _CRASH.search(printed)
    if crash is not None and (raised := _RAISED.findall(printed, crash.end())):
        name, message = raised[-1]
        return redact(f"{name}: {message}")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return redact(" / ".join((errors or lines)[-3:])) or "it said nothing."


def _read(log: Path) -> str:
    try:
        return log.read_text("utf-8", errors="replace")
    except OSError:
        return ""
