"""The page at ``/``.

It is built from ``web/`` when the distribution is built (hatch_build.py). Its files are few and small: each is read
and compressed once. All of it comes from here: the content security policy permits nothing else, and no inline code.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

STATIC: Final = Path(__file__).with_name("static")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "vary": "accept-encoding",
}
_FOREVER: Final = "public, max-age=31536000, immutable"
"""For files whose names hold a hash of what is in them."""

_MISSING: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>LlamaForge</title>
<h1>The server works</h1>
<p>OpenAI, Anthropic and Ollama clients can use it. Only its page was not built, because npm was not there when
forge-serve was installed.</p>
<p>To get the page, install <a href="https://nodejs.org">Node.js</a> 20.19 or newer, which brings npm. Then run this in
a clone of LlamaForge, and start the server again:</p>
<pre>python packages/forge-serve/hatch_build.py</pre>
<p>Where forge-serve wasn't installed from a clone in editable mode, install it again instead:</p>
<pre>pip install --force-reinstall --no-deps ./packages/forge-serve</pre>
</html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the page, as it is sent."""

    content: bytes
    packed: bytes
    etag: str
    media_type: str
    caching: str

    @classmethod
    def of(cls, content: bytes, suffix: str, caching: str) -> _File:
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        # Level 9 takes a few milliseconds, once; mtime=0: the same file gives the same bytes.
        return cls(content, gzip.compress(content, 9, mtime=0), etag, _TYPES[suffix], caching)


class Page:
    """The files of the page.

    Args:
        folder: where the built page is.
    """

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}

    def routes(self) -> list[Route]:
        """All of them. The assets' routes are those of the files that are there: no path is made from a request."""
        paths = ["favicon.svg"]
        if self._folder.is_dir():
            paths += [f"assets/{each.name}" for each in (self._folder / "assets").iterdir() if each.suffix in _TYPES]
        return [
            Route("/", self.index),
            *(Route(f"/{path}", self._sends(path)) for path in paths if (self._folder / path).is_file()),
        ]

    async def index(self, request: Request) -> Response:
        """The page itself, or how to get it."""
        if not (self._folder / "index.html").is_file():
            return Response(_MISSING, headers=_HEADERS | {"cache-control": "no-store"}, media_type=_TYPES[".html"])
        return await self._send(request, "index.html")

    def _sends(self, path: str) -> Any:
        async def send(request: Request) -> Response:
            return await self._send(request, path)

        return send

    async def _send(self, request: Request, path: str) -> Response:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = await asyncio.to_thread(self._read, path)
        headers = _HEADERS | {"etag": file.etag, "cache-control": file.caching}
        known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
        if file.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        content = file.content
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            content, headers["content-encoding"] = file.packed, "gzip"
        return Response(content, headers=headers, media_type=file.media_type)

    def _read(self, path: str) -> _File:
        place = self._folder / path
        return _File.of(place.read_bytes(), place.suffix, _FOREVER if path.startswith("assets/") else "no-cache")


def _takes_gzip(header: str) -> bool:
    """Whether an Accept-Encoding permits gzip (RFC 9110, 12.5.3)."""
    for each in header.lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
