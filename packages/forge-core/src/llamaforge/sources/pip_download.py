"""Let the user's own pip fetch a wheel, with its configuration and its cache; nothing is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from collections import deque
from pathlib import Path

from ..errors import DownloadError, MissingDependencyError, SourceNotFoundError, closest
from .pypi import WheelFile
from .redact import redact
from .spec import Progress
from .versions import sort_key

_RAW_PROGRESS = (24, 1)
"""The first pip that can say its progress as lines of text."""

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_GRACE = 3.0
"""Seconds that pip has to end when it is asked to."""

# pip's exit status is 1 for every failure. What it logs is the only place where it tells an unknown distribution
# from an index that did not answer.
_UNANSWERED = re.compile(r"Could not fetch URL (\S+): (.+) - skipping")
_ABSENT = re.compile(r"(?:404|410) Client Error")
_VERSIONS = re.compile(r"\(from versions: (.+)\)")


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
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
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


def _failure(wanted: WheelFile, status: int, output: deque[str], log: Path) -> SourceNotFoundError | DownloadError:
    said = _last_words(output)
    if status < 0:
        return DownloadError(wanted.text, f"pip was ended by signal {-status}.")
    logged = _read(log)
    for url, reason in _UNANSWERED.findall(logged):
        if not _ABSENT.match(reason):
            return DownloadError(
                wanted.text, f"the package index did not answer ({redact(url)}: {redact(reason)}). Check the network."
            )
    listed = _VERSIONS.findall("\n".join(output))
    if not listed:
        return DownloadError(wanted.text, f"pip failed with exit status {status}: {said}")
    known = [] if listed[-1] == "none" else [version.strip() for version in listed[-1].split(",")]
    if known and wanted.version is not None:
        newest = sorted(known, key=lambda version: sort_key(version) or (), reverse=True)
        near = closest(wanted.version, newest) or newest[:5]
        return SourceNotFoundError(
            wanted.text, f"the index has no version {wanted.version} of it, but {', '.join(near)}. pip: {said}"
        )
    return SourceNotFoundError(
        wanted.text,
        f"your package index has no {wanted.distribution!r}, or no wheel of it for this Python and system. pip: {said}",
    )


def _last_words(output: deque[str]) -> str:
    """pip's own error lines, or failing that its last lines; credentials masked."""
    lines = [line.strip() for line in output if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return redact(" / ".join((errors or lines)[-3:])) or "it said nothing."


def _read(log: Path) -> str:
    try:
        return log.read_text("utf-8", errors="replace")
    except OSError:
        return ""
