"""The page of `llamaforge serve`: what its first load weighs, and how soon it can be used.

    hatch run bench:page

The server and Chromium are real, each round has a new profile with empty caches. "Interactive" is when the message box
is there and takes input (a mark that the page itself sets), counted from the navigation; "models" is when the list of
models has come. The bars: 250 KB with gzip, and a second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.browser import ARGUMENTS

_LOADED = (
    "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))"
    ".map((each) => [each.name, each.encodedBodySize, each.decodedBodySize])"
)


@contextmanager
def serving() -> Iterator[str]:
    """`llamaforge serve` with a model that costs nothing; its URL."""
    with socket.socket() as found, tempfile.TemporaryDirectory() as home:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
        found.close()
        models = Path(home) / "models.toml"
        models.write_text('[models.echo]\npath = "echo"\nbackend = "echo"\n')
        server = subprocess.Popen(
            [sys.executable, "-m", "llamaforge", "serve", "echo", "--port", str(port)],
            env=os.environ | {"LLAMAFORGE_CONFIG": str(models)},
            stdout=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}/"
            while True:
                try:
                    urllib.request.urlopen(f"{url}health").close()
                    break
                except OSError:
                    if server.poll() is not None:
                        raise SystemExit("The server did not start.") from None
                    time.sleep(0.05)
            yield url
        finally:
            server.terminate()
            server.wait()


def visit(browser: Browser, url: str) -> tuple[float, float, list[tuple[str, int, int]]]:
    """Milliseconds until it is interactive, until the models are there; what was loaded, packed and unpacked."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".picker select")
    models = page.evaluate("performance.now()")
    interactive = page.evaluate("performance.getEntriesByName('interactive')[0].startTime")
    loaded = [(name.removeprefix(url), packed, whole) for name, packed, whole in page.evaluate(_LOADED)]
    context.close()
    return interactive, models, loaded


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        raise SystemExit("Chromium is needed: apt-get install chromium, or set CHROMIUM to its path.")
    with serving() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        visit(browser, url)  # once, uncounted: the disk's caches
        found = [visit(browser, url) for _ in range(options.rounds)]
        browser.close()
    print(f"{'file':36} {'packed':>9} {'unpacked':>9}")
    files = [each for each in found[-1][2] if each[1]]
    for name, packed, whole in files:
        print(f"{name or '/':36} {packed:9,} {whole:9,}")
    print(f"{'first load':36} {sum(packed for _, packed, _ in files):9,} {sum(whole for _, _, whole in files):9,}")
    for name, times in (("interactive", [each[0] for each in found]), ("models", [each[1] for each in found])):
        print(f"{name}: median {statistics.median(times):.0f} ms, worst of {len(times)} {max(times):.0f} ms")


if __name__ == "__main__":
    main()
