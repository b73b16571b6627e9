"""A server with a protocol of its own, run as a script: what a plugin's own kind of server may be like.

``GET /health`` is answered with 503 until it is ready; ``GET /words?N`` with N words, one a line, as they come.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self.send_response(200 if time.monotonic() > READY else 503)
            self.end_headers()
            return
        count = int(self.path.partition("?")[2])
        self.send_response(200)
        self.send_header("Content-Length", str(len(b"word\n") * count))
        self.end_headers()
        for _ in range(count):
            self.wfile.write(b"word\n")
            time.sleep(0.002)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    flags = argparse.ArgumentParser(allow_abbrev=False)
    flags.add_argument("--model", required=True)
    flags.add_argument("--host", required=True)
    flags.add_argument("--port", type=int, required=True)
    flags.add_argument("--warm-up", type=float, default=0.0)
    flags.add_argument("--fail", type=int)
    given = flags.parse_args()
    print(f"Loading {given.model}; the key is {os.environ.get('TINY_KEY')}", flush=True)
    if given.fail is not None:
        print("cannot read the model", file=sys.stderr, flush=True)
        sys.exit(given.fail)
    READY = time.monotonic() + given.warm_up
    ThreadingHTTPServer.allow_reuse_port = True  # as some servers have it
    ThreadingHTTPServer((given.host, given.port), Handler).serve_forever()
