"""How the page is served, and built. test_browser.py looks at the page itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from forge_serve import ServeConfig, create_app
from forge_serve.keys import Key
from forge_serve.page import Page
from llamaforge import LlamaForge
from support.browser import SERVE, build_hook
from support.serving import Running, Serve, until


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A page as the build leaves it."""
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text('<script src="./assets/a-1.js"></script>')
    (folder / "assets" / "a-1.js").write_text("let a = 1;\n" * 100)
    (folder / "assets" / "a-1.css").write_text("a {}")
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "sources.sha256").write_text("0")
    return folder


def client(folder: Path) -> TestClient:
    return TestClient(Starlette(routes=list(Page(folder).routes())))


@pytest.mark.parametrize(
    ("path", "kind", "caching"),
    [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/assets/a-1.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/assets/a-1.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/favicon.svg", "image/svg+xml", "no-cache"),
    ],
)
def test_a_file(built: Path, path: str, kind: str, caching: str) -> None:
    answer = client(built).get(path, headers={"accept-encoding": "identity"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["cache-control"] == caching
    assert answer.content == (built / (path[1:] or "index.html")).read_bytes()
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    again = client(built).get(path, headers={"if-none-match": f'"other", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client(built).get(path, headers={"if-none-match": '"other"'}).status_code == 200
    assert client(built).head(path).status_code == 200


@pytest.mark.parametrize(
    ("header", "packed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
def test_compression(built: Path, header: str, packed: bool) -> None:
    answer = client(built).get("/assets/a-1.js", headers={"accept-encoding": header})
    assert ("content-encoding" in answer.headers) is packed
    assert answer.headers["vary"] == "accept-encoding"
    assert answer.text == "let a = 1;\n" * 100
    if packed:
        assert int(answer.headers["content-length"]) < 100


@pytest.mark.parametrize(
    "path", ["/assets/", "/assets/b.js", "/assets/../index.html", "/sources.sha256", "/assets/%2e%2e/x"]
)
def test_nothing_else_is_served(built: Path, path: str) -> None:
    assert client(built).get(path).status_code == 404


def test_without_a_page_the_server_says_how_to_get_it(tmp_path: Path) -> None:
    answer = client(tmp_path / "nowhere").get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert "hatch_build.py" in answer.text


def test_the_page_needs_no_key_and_its_requests_do(serve: Serve) -> None:
    with serve(keys=(Key.of("secret"),)) as server:
        assert ask(server, "/")[0] == 200
        assert ask(server, "/favicon.svg")[0] in (200, 404)
        assert ask(server, "/assets/none.js")[0] == 404
        assert ask(server, "/v1/models")[0] == 401
        assert ask(server, "/", host="evil.example")[0] == 403


def test_keys_count_where_the_application_is_mounted(forge: LlamaForge) -> None:
    """The page needs none there, either, and a key that may use models doesn't administer them."""
    app = create_app(forge, ServeConfig(keys=(Key.of("user"), Key.of("boss", "admin")), hosts=("*",)))
    mounted = TestClient(Starlette(routes=[Mount("/llm", app)]))

    def get(path: str, key: str | None = None) -> int:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return mounted.get(f"/llm{path}", headers=headers).status_code

    assert (get("/"), get("/assets/none.js"), get("/health")) == (200, 404, 200)
    assert (get("/v1/models"), get("/v1/models", "user")) == (401, 200)
    assert (get("/admin/models", "user"), get("/admin/models", "boss")) == (403, 200)
    assert (get("/metrics", "user"), get("/metrics", "boss")) == (403, 200)


def ask(server: Running, path: str, **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class TestBuild:
    """The hook of the build. It is run without npm here; test_browser.py uses what it builds with npm."""

    @pytest.fixture
    def hook(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        """hatch_build.py with a web folder and a page of its own, and without npm."""
        hook = build_hook()
        monkeypatch.setattr(hook, "WEB", tmp_path / "web")
        monkeypatch.setattr(hook, "PAGE", tmp_path / "static")
        monkeypatch.setattr(hook, "_installs", lambda: False)
        monkeypatch.setattr(shutil, "which", lambda name: None)
        (tmp_path / "web" / "src").mkdir(parents=True)
        (tmp_path / "web" / "package.json").write_text("{}")
        (tmp_path / "web" / "src" / "main.ts").write_text("1")
        return hook

    def give(self, hook: ModuleType) -> None:
        """A page of today's sources."""
        hook.PAGE.mkdir(exist_ok=True)
        (hook.PAGE / "index.html").write_text("x")
        (hook.PAGE / hook.STAMP).write_text(hook.digest() + "\n")

    @pytest.mark.parametrize(("target", "version"), [("wheel", "standard"), ("sdist", "standard")])
    def test_a_distribution_without_the_page_is_refused(self, hook: ModuleType, target: str, version: str) -> None:
        with pytest.raises(hook.PageError, match=f"A {target} of forge-serve holds the page.*npm isn't there"):
            hook.ensure(target, version)
        self.give(hook)
        assert hook.ensure(target, version) is None

    def test_an_old_page_is_no_page_for_a_wheel(self, hook: ModuleType) -> None:
        self.give(hook)
        (hook.WEB / "src" / "main.ts").write_text("2")
        with pytest.raises(hook.PageError):
            hook.ensure("wheel", "standard")
        assert "an old page" in hook.ensure("wheel", "editable")

    def test_a_folder_installs_without_npm(self, hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "no page: npm isn't there" in hook.ensure("wheel", "editable")
        monkeypatch.setattr(hook, "_installs", lambda: True)
        assert "no page" in hook.ensure("wheel", "standard")
        with pytest.raises(hook.PageError):
            hook.ensure("sdist", "standard")

    @pytest.mark.parametrize(("word", "installs"), [("install", True), ("sync", True), ("wheel", False)])
    def test_who_builds(self, word: str, installs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        hook = build_hook()
        parent = subprocess.Popen([sys.executable, "-c", "input()", "pip", word], stdin=subprocess.PIPE)
        try:
            monkeypatch.setattr(os, "getppid", lambda: parent.pid)
            until(lambda: word.encode() in Path(f"/proc/{parent.pid}/cmdline").read_bytes())
            assert hook._installs() is installs
        finally:
            parent.communicate(b"\n")

    def test_a_failing_build_says_what_npm_said(
        self, hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        npm = tmp_path / "npm"
        npm.write_text("#!/bin/sh\necho the registry is away\nexit 1\n")
        npm.chmod(0o755)
        monkeypatch.setattr(shutil, "which", lambda name: str(npm))
        (hook.WEB / "package-lock.json").write_text("{}")
        with pytest.raises(hook.PageError, match="the registry is away"):
            hook.build()
        assert not hook.PAGE.exists()

    def test_the_page_is_replaced_as_a_whole(
        self, hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        npm = tmp_path / "npm"
        npm.write_text(
            '#!/bin/sh\n[ "$1" = ci ] && mkdir -p node_modules && exit 0\n'
            'mkdir -p "$5" && echo new > "$5/index.html" && echo $1-$2 >> calls\n'
        )
        npm.chmod(0o755)
        monkeypatch.setattr(shutil, "which", lambda name: str(npm))
        (hook.WEB / "package-lock.json").write_text("{}")
        hook.PAGE.mkdir()
        (hook.PAGE / "left.js").write_text("old")
        for _ in range(2):  # the second time there is nothing to do
            hook.build(say=lambda text: None)
        assert (hook.PAGE / "index.html").read_text() == "new\n"
        assert not (hook.PAGE / "left.js").exists()
        assert (hook.WEB / "calls").read_text() == "run-build\n"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["npm", "static", "web"]


def test_the_lock_file_names_no_host() -> None:
    """Where packages come from is the builder's own setting; their hashes are here."""
    lock = (SERVE / "web" / "package-lock.json").read_text()
    assert "http://" not in lock
    assert not re.findall(r'"resolved": "https?://', lock)
    packages = json.loads(lock)["packages"]
    assert all("integrity" in each for name, each in packages.items() if name)
