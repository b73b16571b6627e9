"""What the READMEs and docs/ show is true: every block of Python and shell runs, and prints what stands below it.

How a block says what it is: see :mod:`support.documents`. A page's blocks run in order, in a folder, an environment and
a Python of the page's own (:mod:`support.sandbox`). Three things are not done in full, because continuous integration
does them with the very commands of the README: ``hatch ...`` is only checked to exist (:mod:`support.hatch_check`),
an answer without ``--max-tokens`` is cut at 40 tokens, and ``pip install`` finds the engines installed already.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.documents import ROOT, Block, blocks, check_data, pages, parse, same_output
from support.sandbox import Sandbox

TESTED_ELSEWHERE = {"docs/backends-reference.md": "tests/integration/test_reference.py"}
"""Pages with a test of their own."""

REAL_PARTS: dict[str, set[str]] = {
    "README.md": {"gguf_model"},
    "packages/forge-core/README.md": {"gguf_model"},
    "packages/forge-hf/README.md": {"gguf_model", "hf_model"},
    "packages/forge-llamacpp/README.md": {"gguf_model"},
    "packages/forge-openai/README.md": {"openai_server"},
    "docs/choosing-a-model.md": {"gguf_model"},
    "docs/embeddings.md": {"embedding_model"},
    "docs/index.md": {"gguf_model", "hf_model", "openai_server"},
    "docs/logging.md": {"gguf_model"},
    "docs/models.md": {"gguf_model"},
    "docs/reasoning.md": {"gguf_model"},
    "docs/servers.md": {"gguf_model"},
    "docs/structured-answers.md": {"gguf_model"},
    "docs/command-line.md": {"gguf_model"},
    "docs/tools.md": {"gguf_model"},
    "docs/troubleshooting.md": {"gguf_model"},
    "docs/web-application.md": {"gguf_model"},
}
"""The fixtures that a page's blocks need: real models, a real server. They mark its tests as `engine`."""

NOT_RUN: dict[str, int] = {
    "README.md": 1,
    "docs/benchmarking.md": 3,
    "docs/graphics-cards.md": 1,
    "docs/observability.md": 1,
    "docs/serving.md": 3,
    "docs/serving-clients.md": 11,
    "docs/troubleshooting.md": 1,
    "packages/forge-bench/README.md": 1,
    "packages/forge-openai/README.md": 1,
    "packages/forge-otel/README.md": 1,
    "packages/forge-serve/README.md": 1,
    "packages/forge-tgi/README.md": 2,
    "packages/forge-vllm/README.md": 2,
}
"""Pages with blocks that can't run, and how many. The document says why, in a comment before each."""

PAGES = [page for page in pages() if page not in TESTED_ELSEWHERE]
RUNNABLE = {page: [one for one in blocks(page) if one.kind in ("python", "shell", "file")] for page in PAGES}

Run = Callable[[str, int], None]


def _cases() -> Iterator[Any]:
    for page, runnable in RUNNABLE.items():
        marks = [pytest.mark.engine] if REAL_PARTS.get(page) else []
        for number, block in enumerate(runnable):
            yield pytest.param(page, number, marks=marks, id=f"{page}:{block.line}")


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a block of a page, and those before it that have not run yet."""
    sandboxes: dict[str, Sandbox] = {}
    done: dict[str, int] = {}
    broken: dict[str, str] = {}

    def run_block(page: str, number: int) -> None:
        if page not in sandboxes:
            sandboxes[page] = _sandbox(page, request, tmp_path_factory.mktemp("documents"))
        if page in broken:
            pytest.fail(f"An earlier block of this page failed: {broken[page]}")
        for each in range(done.get(page, 0), number + 1):
            block = RUNNABLE[page][each]
            broken[page] = block.where
            sandboxes[page].run(block)
            del broken[page]
            done[page] = each + 1
        if done[page] == len(RUNNABLE[page]):
            sandboxes[page].close()  # its models need not stay in memory

    yield run_block
    for sandbox in sandboxes.values():
        sandbox.close()


def _sandbox(page: str, request: pytest.FixtureRequest, folder: Path) -> Sandbox:
    """A folder that looks like a clone with a model in it, and real things for the placeholders of the documents."""
    parts = {name: request.getfixturevalue(name) for name in REAL_PARTS.get(page, ())}
    environment = {"LLAMAFORGE_CACHE": str(request.getfixturevalue("model_cache")), "HF_HUB_OFFLINE": "1"}
    replacements = {}
    if "hf_model" in parts:
        replacements["HuggingFaceTB/SmolLM2-135M-Instruct"] = str(parts["hf_model"])
    if "openai_server" in parts:
        server = parts["openai_server"]
        environment |= {"OPENAI_API_KEY": server.api_key, "OPENAI_BASE_URL": server.base_url}
        replacements |= {"https://api.openai.com/v1": server.base_url}
        replacements |= {f'"{name}"': f'"{server.model}"' for name in ("gpt-4", "gpt-4o", "gpt-4o-mini")}
    sandbox = Sandbox(folder, environment, replacements)
    for name in ("packages", "examples"):
        (sandbox.folder / name).symlink_to(ROOT / name)
    (sandbox.folder / "notes.txt").write_text("The tide was low at six.\nThe boat left at seven.\n", encoding="utf-8")
    if "gguf_model" in parts:
        (sandbox.folder / "models").mkdir()
        for name in ("models/llama.gguf", "model.gguf"):
            (sandbox.folder / name).symlink_to(parts["gguf_model"])
    return sandbox


@pytest.mark.parametrize(("page", "number"), list(_cases()))
def test_block(page: str, number: int, run: Run) -> None:
    run(page, number)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_covered(page: str) -> None:
    every = blocks(page)
    unknown = [f"{block.where}: {block.language}" for block in every if block.kind == "unknown"]
    assert not unknown, "Nothing tests a block of this kind: say what it is (support/documents.py), or teach the test"
    for block in every:
        if block.kind == "data":
            check_data(block)
        if block.kind == "not run":
            assert len(str(block.reason)) > 20, f"{block.where}: say why it is not run"


def test_what_is_not_run_is_listed_here() -> None:
    left_out: dict[str, list[str]] = {}
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "not run":
                left_out.setdefault(page, []).append(f"{block.where}: {block.reason}")
    assert {page: len(found) for page, found in left_out.items()} == NOT_RUN, left_out


def test_pages_with_a_test_of_their_own_have_it() -> None:
    for page, test in TESTED_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")
        assert page in pages()


def test_every_hatch_command_that_documents_name_is_there() -> None:
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in [*pages(), "CONTRIBUTING.md"])
    named = set(re.findall(r"hatch run ([\w-]+:[\w-]+)", text))
    assert {"quick:test", "docs:generate"} <= named
    check = ROOT / "tests" / "support" / "hatch_check.py"
    for each in sorted(named):
        done = subprocess.run([sys.executable, str(check), "run", each], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(each for each in pages() if each.endswith("/README.md"))]
)
def test_links_to_files_lead_somewhere(page: str) -> None:
    """Of the pages that are no part of the site, whose build checks its own."""
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    missing = [each for each in targets if "://" not in each and not (path.parent / each).exists()]
    assert not missing


class TestTheTest:
    """The machinery above notices what it is there for."""

    def test_a_block_that_fails(self, tmp_path: Path) -> None:
        with Sandbox(tmp_path, {}, {}) as sandbox:
            with pytest.raises(AssertionError, match=r"page:1 failed:(.|\n)*ZeroDivisionError"):
                sandbox.run(_one("```python\n1 / 0\n```"))
            with pytest.raises(AssertionError, match="ended with exit code 1"):
                sandbox.run(_one("```console\nfalse\necho later\n```"))
            with pytest.raises(AssertionError, match="ended with exit code 2"):
                sandbox.run(_one("```shell\nllamaforge run --no-such-option\n```"))

    def test_a_block_that_prints_something_else(self, tmp_path: Path) -> None:
        with Sandbox(tmp_path, {}, {}) as sandbox:
            for language in ("python", "bash"):
                code = "print(1 + 1)" if language == "python" else "echo 2"
                sandbox.run(_one(f"```{language}\n{code}\n```\n\n```text\n2\n```"))
                with pytest.raises(AssertionError, match="prints something else"):
                    sandbox.run(_one(f"```{language}\n{code}\n```\n\n```text\n3\n```"))

    def test_blocks_share_names_files_and_nothing_else(self, tmp_path: Path) -> None:
        with Sandbox(tmp_path, {"HARBOUR": "Brest"}, {"gpt-4": "smollm2"}) as sandbox:
            sandbox.run(_one("```python\nmodel = 'gpt-4'\n```"))
            sandbox.run(_one('```text title="a/note.txt"\nhello\n```'))
            sandbox.run(
                _one("```python\nprint(model, open('a/note.txt').read().strip())\n```\n```text\nsmollm2 hello\n```")
            )
            sandbox.run(_one("```bash\ncat a/note.txt; echo $HARBOUR\n```\n```text\nhello\nBrest\n```"))

    def test_a_chat_gets_a_turn_and_a_missing_environment_is_noticed(self, tmp_path: Path) -> None:
        with Sandbox(tmp_path, {}, {}) as sandbox:
            sandbox.run(_one("```bash\nllamaforge chat --backend echo\n```\n```text\nHello!\n```"))
            sandbox.run(_one("```bash\npip install hatch && hatch test\n```"))
            with pytest.raises(AssertionError, match="hatch has no quick:tests"):
                sandbox.run(_one("```bash\nhatch run quick:tests\n```"))

    def test_what_a_block_is(self) -> None:
        page = """
Text.

<!-- exits: 3 -->

```console
one
```

```text
two
```

```toml
a = 1
```

```python title="x.py"
```

<!-- not run: it would
publish -->
```bash
three
```

```
pip install something
```
"""
        found = parse("page", page)
        assert [block.kind for block in found] == ["shell", "output", "data", "file", "not run", "unknown"]
        assert (found[0].exits, found[0].output) == (3, "two\n")
        assert found[3].title == "x.py"
        assert found[4].reason == "it would\npublish"
        with pytest.raises(ValueError, match="page:2: this block never ends"):
            parse("page", "text\n```python\n1")

    @pytest.mark.parametrize(
        ("shown", "real", "same"),
        [
            ("a\nb", "a  \nb\n", True),
            ("a ... d", "a b\nc d", True),
            ("a\n...\n", "a\nb\n", True),
            ("a", "a b", False),
            ("a.c", "abc", False),
        ],
    )
    def test_what_counts_as_the_same_output(self, shown: str, real: str, same: bool) -> None:
        assert same_output(shown, real) is same


def _one(text: str) -> Block:
    return parse("page", text)[0]
