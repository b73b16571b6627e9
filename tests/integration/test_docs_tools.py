"""The generated parts of docs/ are those that the code makes now, and the tools of docs/ notice what they are for."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from support.documents import ROOT
from support.tools import TOOLS, tool


def test_the_generated_pages_are_up_to_date() -> None:
    command = [sys.executable, str(TOOLS / "generate_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: run `hatch run docs:generate`"


class TestGenerateDocs:
    @pytest.fixture
    def generate(self) -> ModuleType:
        return tool("generate_docs")

    @pytest.fixture
    def pages(self, generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "docs"
        folder.mkdir()
        monkeypatch.setattr(generate, "DOCS", folder)
        monkeypatch.setattr(generate, "ROOT", tmp_path)
        (tmp_path / "packages").mkdir()
        return folder

    def test_check_names_a_stale_page_and_leaves_it(
        self, generate: ModuleType, pages: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stale = "# Codes\n\n<!-- generated: exit-codes -->\n| 0 | old |\n<!-- end -->\n\nThe end.\n"
        (pages / "codes.md").write_text(stale)
        assert generate.main(["--check"]) == 1
        assert "docs/codes.md" in capsys.readouterr().out
        assert (pages / "codes.md").read_text() == stale
        assert generate.main([]) == 0
        written = (pages / "codes.md").read_text()
        assert "| 130 | stopped with Ctrl-C |" in written
        assert "old" not in written
        assert written.endswith("<!-- end -->\n\nThe end.\n")
        assert generate.main(["--check"]) == 0

    def test_a_region_that_nothing_makes(self, generate: ModuleType, pages: Path) -> None:
        (pages / "a.md").write_text("<!-- generated: weather -->\n<!-- end -->\n")
        with pytest.raises(KeyError, match="weather"):
            generate.main(["--check"])

    def test_every_error_says_what_to_do(self, generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        from llamaforge import errors

        whole = generate.fill("<!-- generated: errors -->\n<!-- end -->")
        leaves = [name for name in errors.__all__ if name.endswith("Error") and f"# {name}\n" in whole]
        assert len(leaves) == len([name for name in errors.__all__ if name.endswith("Error")]) - 1  # but for the root
        monkeypatch.setattr(errors.ServerError, "__doc__", "The server answered with an error.")
        monkeypatch.setattr(errors.RateLimitError, "__doc__", "Slow down.")
        with pytest.raises(ValueError, match="RateLimitError does not say what to do"):
            generate.fill("<!-- generated: errors -->\n<!-- end -->")

    def test_the_matrix_is_what_the_tests_found(
        self, generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cells = json.loads(generate.MATRIX.read_text())
        cells["top_k"]["llama.cpp"] = "seen"
        found = tmp_path / "found.json"
        monkeypatch.setattr(generate, "MATRIX", found)
        found.write_text(json.dumps(cells))
        lines = generate.fill("<!-- generated: matrix -->\n<!-- end -->").splitlines()
        head, top_k = (
            [cell.strip() for cell in line.split("|")] for line in lines if "echo" in line or "top_k" in line
        )
        assert top_k[head.index("`llama.cpp`")] == "seen"
        del cells["seed"]["echo"]
        found.write_text(json.dumps(cells))
        with pytest.raises(ValueError, match="echo makes of seed"):
            generate.fill("<!-- generated: matrix -->\n<!-- end -->")


class TestApiReference:
    """The pages of docs/api show every public name. mkdocs builds them, strictly."""

    @pytest.fixture
    def shown(self) -> set[str]:
        pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md")]
        return set(re.findall(r"^::: ([\w.]+)$", "\n".join(pages), re.M))

    @pytest.mark.parametrize(
        "package",
        [
            "llamaforge",
            "llamaforge.backends",
            "llamaforge.chat",
            "llamaforge.engine",
            "llamaforge.requests",
            "llamaforge.sources",
            "llamaforge.testing",
            "llamaforge.text",
            "forge_openai.server",
        ],
    )
    def test_every_public_name_is_shown(self, package: str, shown: set[str]) -> None:
        names = {identifier.rpartition(".")[2] for identifier in shown}
        for identifier in shown:
            try:
                module = importlib.import_module(identifier)
                names |= {*vars(module), *getattr(module, "__all__", ())}  # some are imported late
            except ModuleNotFoundError:
                continue  # a class or a function
        aliases = {"BackendConfigBase", "API_VERSION", "Extensions", "LlamaForgeError", "__version__"}
        missing = set(importlib.import_module(package).__all__) - names - aliases
        assert not missing, "Show them on a page of docs/api"

    def test_every_identifier_is_there(self, shown: set[str]) -> None:
        for identifier in shown:
            try:
                importlib.import_module(identifier)
            except ModuleNotFoundError:
                module, _, name = identifier.rpartition(".")
                assert hasattr(importlib.import_module(module), name), identifier

    def test_methods_of_base_classes_are_shown(self, shown: set[str]) -> None:
        """Most calls of a class are in its base classes, which the reference leaves out unless it is told."""
        with_options = re.compile(r"^::: (\S+)\n((?: .*\n)*)", re.M)
        for page in (ROOT / "docs" / "api").glob("*.md"):
            for identifier, options in with_options.findall(page.read_text(encoding="utf-8")):
                module, _, name = identifier.rpartition(".")
                if "inherited_members: true" in options or not name[:1].isupper():
                    continue
                bases = getattr(importlib.import_module(module), name).__mro__[1:]
                ours = [each for each in bases if each.__module__.startswith(("llamaforge.", "forge_"))]
                if not shown & {f"{each.__module__}.{each.__name__}" for each in ours}:
                    left_out = [key for each in ours for key in vars(each) if not key.startswith("_")]
                    assert not left_out, f"{page.name}: {identifier}"

    def test_docstrings_become_markdown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        griffe = ModuleType("griffe")  # it is in the environment of the documentation alone
        griffe.Extension = griffe.Object = object  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "griffe", griffe)
        text = "See :class:`~a.b.Name` and ``code``::\n\n    x = 1\n\n::\n\n    y = 2"
        shown = "See `a.b.Name` and ``code``:\n\n    x = 1\n\n\n    y = 2"
        assert tool("docstrings").to_markdown(text) == shown


class TestCheckSite:
    def test_markup_that_is_left(self, tmp_path: Path) -> None:
        (tmp_path / "index.html").write_text("<p>See :class:<code>Name</code>, and :meth:`run`; not :smile: `x`.</p>")
        assert tool("check_site").raw_markup(tmp_path) == ["index.html: :class:<code>Name", "index.html: :meth:`run"]

    @pytest.mark.parametrize(
        "page",
        [
            '<link rel="stylesheet" href="https://elsewhere.example/a.css">',
            '<script src="//elsewhere.example/a.js"></script>',
            '<p><img alt="" src="http://elsewhere.example/a.png">',
        ],
    )
    def test_a_page_that_fetches(self, page: str, tmp_path: Path) -> None:
        (tmp_path / "index.html").write_text(page)
        assert len(tool("check_site").remote_assets(tmp_path)) == 1

    def test_a_style_that_fetches(self, tmp_path: Path) -> None:
        (tmp_path / "a.css").write_text("@font-face { src: url('https://elsewhere.example/a.woff2') }")
        assert tool("check_site").remote_assets(tmp_path) == ["a.css: https://elsewhere.example/a.woff2"]

    def test_links_and_local_files_are_fine(self, tmp_path: Path) -> None:
        (tmp_path / "index.html").write_text(
            '<link rel="canonical" href="https://home.example/"><a href="https://elsewhere.example/">there</a>'
            '<script src="assets/a.js"></script><link rel="stylesheet" href="assets/a.css">'
        )
        (tmp_path / "a.css").write_text("a { background: url(data:image/png;base64,x) }")
        assert tool("check_site").remote_assets(tmp_path) == []

    def test_no_site_is_no_success(self, tmp_path: Path) -> None:
        done = subprocess.run([sys.executable, TOOLS / "check_site.py", tmp_path], capture_output=True, text=True)
        assert done.returncode == 1
        assert "build it first" in done.stderr
