"""Check the built site: it fetches nothing from elsewhere, and no docstring's markup is left unrendered.

The site works without a network: fonts, scripts, styles and images are its own. Links for readers are fine.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

_FETCHED: Final = {"audio", "embed", "iframe", "img", "input", "link", "script", "source", "track", "video"}
_PLAIN_LINKS: Final = {"canonical", "next", "prev", "alternate"}
_REMOTE: Final = re.compile(r"\s*(https?:)?//", re.I)
_IN_STYLE: Final = re.compile(r"(?:url\(|@import)\s*['\"]?\s*((?:https?:)?//[^'\")\s]+)", re.I)
_ROLE: Final = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj|ref|doc):(?:`|<code>)[^`<]*")


class _Assets(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what *tag* makes a browser fetch from another host."""
        values = dict(attrs)
        if tag not in _FETCHED or _PLAIN_LINKS & set((values.get("rel") or "").split()):
            return
        for name in ("src", "href", "data", "poster", "srcset"):
            value = values.get(name)
            if value and _REMOTE.match(value):
                self.remote.append(value)


def remote_assets(site: Path) -> list[str]:
    """``file: address`` of each; empty for a site that needs no network."""
    found = []
    for page in sorted(site.glob("**/*.html")):
        parser = _Assets()
        parser.feed(page.read_text(encoding="utf-8"))
        found += [f"{page.relative_to(site)}: {address}" for address in parser.remote]
    for style in sorted(site.glob("**/*.css")):
        addresses = _IN_STYLE.findall(style.read_text(encoding="utf-8"))
        found += [f"{style.relative_to(site)}: {address}" for address in addresses]
    return found


def raw_markup(site: Path) -> list[str]:
    """``file: text`` of each reStructuredText role that a page shows to its readers."""
    return [
        f"{page.relative_to(site)}: {role}"
        for page in sorted(site.glob("**/*.html"))
        for role in _ROLE.findall(page.read_text(encoding="utf-8"))
    ]


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    if not list(folder.glob("*.html")):
        sys.exit(f"There is no site in {folder}: build it first.")
    if remote := remote_assets(folder):
        sys.exit("The site fetches from elsewhere:\n" + "\n".join(remote))
    if left := raw_markup(folder):
        sys.exit("The site shows markup of docstrings:\n" + "\n".join(left))
