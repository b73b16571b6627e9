"""Builds the page that the server shows, from its sources in web/, when the distribution is built or installed.

* Where npm is there, an install and a build have the page, built anew when its sources have changed.
* An editable install, and an install of the folder, do without npm: the server then says how to get the page.
* Every other wheel, and every sdist, is refused without the page.

``python hatch_build.py`` builds it by hand. Standard library and hatchling only: pip runs this in an empty environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WEB = HERE / "web"
PAGE = HERE / "src" / "forge_serve" / "static"
STAMP = "sources.sha256"
"""In the built page: the digest of the sources that it was built from."""
INSTALLED = ".llamaforge-lock"
"""In node_modules: the digest of the lock file that it was installed from."""
_SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "public", "src")


class PageError(Exception):
    """The page can't be built."""


def digest() -> str:
    """The digest of the page's sources."""
    found = hashlib.sha256()
    for name in _SOURCES:
        place = WEB / name
        for path in [place] if place.is_file() else sorted(each for each in place.rglob("*") if each.is_file()):
            found.update(f"{path.relative_to(WEB).as_posix()}\0{path.stat().st_size}\0".encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def is_built() -> bool:
    """Whether there is a page, new or old."""
    return (PAGE / "index.html").is_file()


def is_current() -> bool:
    """Whether there is a page that was built from today's sources."""
    stamp = PAGE / STAMP
    return is_built() and stamp.is_file() and stamp.read_text("ascii").strip() == digest()


def build(*, say: Any = print) -> None:
    """Build the page, unless it is there already. Raises PageError."""
    if is_current():
        return
    npm = _npm()
    with _locked():
        if is_current():  # another process has built it meanwhile
            return
        say("forge-serve: building the page with npm ...")
        _install(npm)
        with tempfile.TemporaryDirectory(dir=PAGE.parent, prefix=".static-") as made:
            built = Path(made) / "page"
            _run(npm, "run", "build", "--", "--outDir", str(built), "--logLevel", "warn")
            (built / STAMP).write_text(digest() + "\n", "ascii")
            old = Path(made) / "old"
            if PAGE.exists():
                PAGE.rename(old)
            built.rename(PAGE)


def install() -> None:
    """Install what the build and the browser tests need, unless it is there. Raises PageError."""
    if not _is_installed():
        npm = _npm()
        with _locked():
            _install(npm)


def _is_installed() -> bool:
    stamp = WEB / "node_modules" / INSTALLED
    return stamp.is_file() and stamp.read_text("ascii") == _locked_versions()


def _locked_versions() -> str:
    return hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()


def _npm() -> str:
    found = shutil.which("npm")
    if found is None:
        raise PageError("npm isn't there. Install Node.js 20.19 or newer, which brings it.")
    return found


def _install(npm: str) -> None:
    """What the lock file names, unless it is there already."""
    if not _is_installed():
        _run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        (WEB / "node_modules" / INSTALLED).write_text(_locked_versions(), "ascii")


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=WEB, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise PageError(f"`{' '.join(command)}` failed in {WEB}:\n{done.stdout.strip()}")


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One build at a time: several environments may be made at once."""
    with (WEB / ".lock").open("w") as lock:
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure(target: str, version: str) -> str | None:
    """Have the page there for a build of that kind.

    Returns:
        What to say to the user where the install goes on without a page.

    Raises PageError where the build must not go on.
    """
    try:
        build()
    except PageError as error:
        if target == "wheel" and (version == "editable" or _installs()):
            return f"The server will have {'an old' if is_built() else 'no'} page: {error}"
        raise PageError(
            f"A {target} of forge-serve holds the page that the server shows, and it can't be built: {error}"
        ) from error
    return None


def _installs() -> bool:
    """Whether the wheel is built to be installed here, not to be given to others: the parent is `pip install` or such,
    not `pip wheel` or `python -m build`."""
    parent = os.getppid()
    try:
        words = Path(f"/proc/{parent}/cmdline").read_text("utf-8", "replace").split("\0")
    except OSError:  # not on Linux
        command = ["ps", "-o", "args=", "-p", str(parent)]
        words = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.split()
    return "install" in words or "sync" in words


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand
    pass
else:

    class PageHook(BuildHookInterface):  # type: ignore[type-arg]
        """What hatchling calls."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Before anything is collected."""
            said = ensure(self.target_name, version)
            if said is not None:
                self.app.display_warning(f"forge-serve: {said}")


if __name__ == "__main__":
    try:
        build()
    except PageError as failure:
        sys.exit(f"{failure}")
    sys.stdout.write(f"The page is in {PAGE}.\n")
