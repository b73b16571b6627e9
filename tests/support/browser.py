"""A real Chromium, and the page in it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "packages" / "forge-serve"
AXE = SERVE / "web" / "node_modules" / "axe-core" / "axe.min.js"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 60_000
"""Milliseconds until a state that must come is given up. A busy machine may take long for it."""
expect.set_options(timeout=PATIENCE)


def missing(what: str) -> NoReturn:
    """Something isn't installed: the tests fail where .ci/run has set the variable; elsewhere they are skipped."""
    if os.environ.get("BROWSER_TESTS") == "required":
        pytest.fail(what)
    pytest.skip(what)


def chromium() -> str:
    """Its path."""
    found = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        missing("The browser tests need Chromium: `apt-get install chromium`, or set CHROMIUM to its path.")
    return found


def build_hook() -> ModuleType:
    """hatch_build.py of forge-serve; a new module each time, which a test may change."""
    spec = importlib.util.spec_from_file_location("hatch_build", SERVE / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_page() -> None:
    """Have the page there as today's sources make it, and the checker of accessibility that npm brings with it."""
    hook = build_hook()
    if shutil.which("npm") is None and not (hook.is_current() and AXE.is_file()):
        missing("The browser tests need npm, which builds the page: install Node.js 20.19 or newer.")
    hook.build(say=lambda text: None)
    hook.install()


@contextmanager
def browsing() -> Iterator[Browser]:
    """Chromium with a new profile."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """The page in a new profile. What it complains about in the console is kept."""

    def __init__(self, browser: Browser, url: str, **settings: Any) -> None:
        settings = {"viewport": {"width": 1366, "height": 768}, "color_scheme": "light", **settings}
        self.context: BrowserContext = browser.new_context(**settings, bypass_csp=False)
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"{error.stack or error}"))
        self.page.on("console", self._heard)
        self.page.goto(url)

    def _heard(self, message: Any) -> None:
        # A status of 400 or more is told by the browser itself; the page shows it in its own way.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def choose(self, model: str, lane: int = 0) -> None:
        """Choose a model."""
        picker = self.page.locator(".picker select").nth(lane)
        expect(picker.locator(f"option[value='{model}']")).to_be_attached()
        picker.select_option(model)

    def say(self, text: str) -> None:
        """Send a message."""
        self.page.get_by_label("Message", exact=True).fill(text)
        self.page.get_by_role("button", name="Send", exact=True).click()

    def answered(self, count: int = 1) -> None:
        """Wait until nothing is being written, and so many answers are shown."""
        expect(self.page.locator("article.answer")).to_have_count(count)
        expect(self.page.locator("article.answer[aria-busy=true]")).to_have_count(0)

    def settings(self) -> None:
        """Open the settings."""
        self.page.get_by_role("button", name="Settings", exact=True).click()
        expect(self.page.get_by_label("Temperature", exact=True)).to_be_visible()

    def section(self, name: str) -> None:
        """Unfold a part of the settings."""
        self.page.locator("details.section", has=self.page.get_by_role("heading", name=name)).locator("summary").click()

    def fits(self) -> None:
        """Nothing is wider than the window."""
        wide = self.page.evaluate(
            """() => [...document.querySelectorAll("body *")]
                .filter((each) => {
                    const box = each.getBoundingClientRect();
                    if (!box.width || getComputedStyle(each).visibility === "hidden") return false;
                    if (each.closest("pre, table, .hidden, .skip, select")) return false;
                    return box.right > innerWidth + 1 || box.left < -1;
                })
                .map((each) => each.outerHTML.slice(0, 120))"""
        )
        assert wide == []

    def accessible(self) -> None:
        """axe-core has no serious finding."""
        # The page's own policy keeps scripts out, so the checker comes through the debugger's door.
        self.page.evaluate(AXE.read_text("utf-8") + "; 0")
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (each["id"], each["help"], [node["html"][:160] + " " + node["failureSummary"] for node in each["nodes"]])
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], json.dumps(serious, indent=1)
