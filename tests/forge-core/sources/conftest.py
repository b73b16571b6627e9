"""A cache of its own for every test, and a package index on 127.0.0.1 that the user's own pip is configured for."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LLAMAFORGE_CACHE", str(folder))
    return folder


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    files: dict[str, bytes],
    *,
    record: Callable[[str, bytes], str] | None = None,
    compressed: bool = False,
) -> Path:
    """A real wheel. *record* states the digest of a file in RECORD, honestly if left out."""

    def honest(path: str, content: bytes) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        return f"sha256={digest}"

    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    members = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},{(record or honest)(path, content)},{len(content)}" for path, content in members.items()]
    members[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return wheel


class Index:
    """A package index: every wheel below its folder, by the simple repository API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.stall_after: int | None = None
        """Send that many bytes of a wheel, then wait for :attr:`go_on`."""
        self.stalled = threading.Event()
        self.go_on = threading.Event()
        self.hang_up = False
        """After the stall, close the connection instead of going on."""
        self.cut_off = threading.Event()
        """Set when a client went away in the middle."""
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def add(self, name: str, version: str, files: dict[str, bytes], **options: object) -> Path:
        return make_wheel(self.folder, name, version, files, **options)  # type: ignore[arg-type]

    @property
    def downloads(self) -> int:
        return sum(path.endswith(".whl") for path in self.requests)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        if handler.path.startswith("/simple/"):
            name = handler.path.split("/")[2].replace("-", "_")
            wheels = [wheel.name for wheel in self.folder.glob(f"{name}-*.whl")]
            body = "".join(f'<a href="/wheels/{wheel}">{wheel}</a>' for wheel in wheels).encode()
            handler.send_response(200 if wheels else 404)
            handler.send_header("Content-Type", "text/html")
        else:
            body = (self.folder / handler.path.rsplit("/", 1)[1]).read_bytes()
            handler.send_response(200)
            handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        try:
            if self.stall_after is not None and handler.path.endswith(".whl"):
                handler.wfile.write(body[: self.stall_after])
                handler.wfile.flush()
                self.stalled.set()
                self.go_on.wait(60)
                body = b"" if self.hang_up else body[self.stall_after or 0 :]
                handler.close_connection = True
            handler.wfile.write(body)
        except OSError:
            self.cut_off.set()

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def pip_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No pip configuration but what the test sets."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch


@pytest.fixture
def index(tmp_path: Path, pip_settings: pytest.MonkeyPatch) -> Iterator[Index]:
    index = Index(tmp_path / "index")
    pip_settings.setenv("PIP_INDEX_URL", index.url)
    yield index
    index.close()


class Watched:
    """Keeps what a Progress is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None, str]] = []

    def __call__(self, done: int, total: int | None, what: str) -> None:
        self.told.append((done, total, what))

    def about(self, word: str) -> list[tuple[int, int | None, str]]:
        return [each for each in self.told if word in each[2]]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def left_in(cache: Path) -> list[str]:
    """The complete or incomplete content that stands in the cache, without locks."""
    return sorted(
        path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file() and path.name != ".lock"
    )


@pytest.fixture(name="left_in")
def _left_in() -> Callable[[Path], list[str]]:
    return left_in
