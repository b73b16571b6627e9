"""``llamaforge new-backend``: names, refusals, and a distribution that works as it was written."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge.scaffold import KINDS, derive, render, write
from llamaforge.scaffold.names import LONGEST
from support.plugins import make_distribution
from support.skips import unexplained_skips

NAMES = st.from_regex(rf"[A-Za-z0-9]([A-Za-z0-9._-]{{0,{LONGEST - 2}}}[A-Za-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "distribution", "package", "stem", "module"),
    [
        ("my-engine", "forge-my-engine", "forge_my_engine", "MyEngine", "my_engine"),
        ("my_engine", "forge-my-engine", "forge_my_engine", "MyEngine", "my_engine"),
        ("rwkv.cpp", "forge-rwkv-cpp", "forge_rwkv_cpp", "RwkvCpp", "rwkv_cpp"),
        ("vLLM", "forge-vllm", "forge_vllm", "VLLM", "vllm"),
        ("4all", "forge-4all", "forge_4all", "Forge4all", "4all"),
        ("forge-x", "forge-x", "forge_x", "ForgeX", "forge_x"),
        ("class", "forge-class", "forge_class", "Class", "class"),
        ("a--b", "forge-a-b", "forge_a_b", "AB", "a_b"),
        ("base", "forge-base", "forge_base", "ForgeBase", "base"),
        ("errors", "forge-errors", "forge_errors", "Errors", "errors_backend"),
    ],
)
def test_names_follow_from_the_backend_s(name: str, distribution: str, package: str, stem: str, module: str) -> None:
    names = derive(name)
    assert (names.distribution, names.package, names.stem, names.module) == (distribution, package, stem, module)
    assert names.name == name


def test_the_package_may_be_chosen() -> None:
    names = derive("my-engine", "acme_engine")
    assert (names.distribution, names.package, names.stem) == ("acme-engine", "acme_engine", "MyEngine")


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a-", ".a", "a/b", "naïve", "a\n", "x" * (LONGEST + 1), "a:b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="backend's name"):
        derive(name)


@pytest.mark.parametrize(
    "package",
    ["", "class", "my-pack", "1x", "a.b", "json", "llamaforge", "toy_server", "_x", "naïve", "x" * (LONGEST + 1)],
)
def test_what_is_no_package_is_refused(package: str) -> None:
    with pytest.raises(ValueError, match="package's name"):
        derive("my-engine", package)


@given(name=NAMES, kind=st.sampled_from(sorted(KINDS)))
@settings(max_examples=60, deadline=None)
def test_every_name_makes_a_sound_distribution(name: str, kind: str) -> None:
    names = derive(name)
    files = render(kind, names)
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["entry-points"]["llamaforge.backends"] == {name: f"{names.package}.plugin"}
    assert f"tests/test_{names.module}.py" in files
    for path, text in files.items():
        assert "$" not in text.replace("${{ matrix.python }}", ""), path
        if path.endswith(".py"):
            nodes = list(ast.walk(ast.parse(text)))
            defined = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
            imported = {each.name for node in nodes if isinstance(node, ast.ImportFrom) for each in node.names}
            assert not defined & imported, path


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_what_a_distribution_needs(kind: str) -> None:
    files = render(kind, derive("my-engine"))
    package = "src/forge_my_engine"
    needed = {f"{package}/{name}" for name in ("__init__.py", "plugin.py", "config.py", "backend.py", "py.typed")}
    needed |= {"pyproject.toml", "README.md", "LICENSE", ".gitignore", ".github/workflows/test.yml"}
    assert needed | {"tests/test_my_engine.py"} <= files.keys()
    assert "MIT License" in files["LICENSE"]
    project = tomllib.loads(files["pyproject.toml"])["project"]
    core = "forge-core[chat,constraints]" if kind == "engine" else "forge-core"
    assert f"{core}>=2.0,<3" in project["dependencies"]
    assert project["optional-dependencies"]["test"] == ["forge-core[testing]>=2.0,<3"]
    assert ("forge-openai>=2.0,<3" in project["dependencies"]) == (kind == "openai-server")
    if kind != "openai-server":  # there forge-openai has the table
        assert f"{package}/errors.py" in files


def test_the_author_of_an_openai_server_s_backend_writes_little() -> None:
    files = render("openai-server", derive("my-engine"))
    own = [text for path, text in files.items() if path.startswith("src/") and path.endswith(".py")]
    assert sum(map(code_lines, own)) <= 40


def code_lines(source: str) -> int:
    """Lines that hold code: no comments, no docstrings, no empty ones."""
    tree = ast.parse(source)
    texts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            texts |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and at not in texts for at, line in lines)


def test_it_prints_what_to_type_next_and_nothing_else(quickly: Any) -> None:
    done = quickly("new-backend", "my-engine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "cd forge-my-engine",
        'python -m pip install -e ".[test]"',
        "python -m pytest",
    ]
    assert "Wrote" in done.stderr
    assert (quickly.folder / "forge-my-engine" / "src" / "forge_my_engine" / "backend.py").is_file()


def test_a_folder_with_a_space_can_be_typed(quickly: Any) -> None:
    assert quickly.fine("new-backend", "my-engine", "-o", "a b/c").startswith("cd 'a b/c'\n")


def test_the_folder_is_shown_although_the_shell_names_it_too(quickly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", str(quickly.folder))
    done = quickly("new-backend", "my-engine", "-o", str(quickly.folder / "there"))
    assert f"to {quickly.folder / 'there'}." in done.stderr


@pytest.mark.parametrize("made", ["file", "full"])
def test_nothing_is_overwritten(quickly: Any, made: str) -> None:
    folder = quickly.folder / "there"
    if made == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "README.md").write_text("mine")
    for more in ([], ["--force"]):
        done = quickly("new-backend", "my-engine", "--output", "there", *more)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Nothing is overwritten" in done.stderr
    kept = folder if made == "file" else folder / "README.md"
    assert kept.read_text() == "mine"
    assert folder.is_file() or list(folder.iterdir()) == [kept]


def test_an_empty_folder_is_taken(quickly: Any) -> None:
    (quickly.folder / "there").mkdir()
    quickly.fine("new-backend", "my-engine", "--output", "there")
    assert (quickly.folder / "there" / "pyproject.toml").is_file()


def test_a_folder_that_can_not_be_made_is_a_usage_error(quickly: Any) -> None:
    (quickly.folder / "file").write_text("")
    for output, said in (("file/there", "file is a file."), ("x" * 300, "can't be written: ")):
        done = quickly("new-backend", "my-engine", "--output", output)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert "--output" in done.stderr


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    files = {"a/b.py": "fine", "a/c.py": "\ud800", "d.py": "never"}  # half a character can't be written
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "new" / "one", files)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["openai"], "'openai' is taken"),
        (["OpenAI"], "'openai'"),
        (["llama-cpp"], "'llama.cpp'"),
        (["echo"], "'echo' is taken"),
        (["core"], "'forge-core' is taken"),
        (["hf"], "'forge-hf' is taken"),
        (["my-engine", "--package", "pytest"], "'pytest' is taken"),
        (["my-engine", "--package", "forge_core"], "'forge-core' is taken"),
    ],
)
def test_taken_names_are_refused(quickly: Any, arguments: list[str], said: str) -> None:
    done = quickly("new-backend", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "--force" in done.stderr
    assert list(quickly.folder.glob("*/pyproject.toml")) == []
    quickly.fine("new-backend", *arguments, "--force", "-o", "forced")


def test_what_it_builds_on_can_not_be_replaced(quickly: Any) -> None:
    done = quickly("new-backend", "OpenAI", "--kind", "openai-server", "--force")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--package" in done.stderr
    quickly.fine("new-backend", "OpenAI", "--kind", "openai-server", "--force", "--package", "my_openai")
    backend = (quickly.folder / "my-openai" / "src" / "my_openai" / "backend.py").read_text()
    assert "class ForgeOpenAIBackend(OpenAIServerBackend[Config]):" in backend


def test_the_name_of_an_installed_plugin_is_refused(quickly: Any) -> None:
    entry_points = {"llamaforge.backends": {"My.Engine": "acme_engine"}}
    make_distribution(quickly.plugins, "acme", entry_points, {"acme_engine": ""})
    done = quickly("new-backend", "my-engine")
    assert done.returncode == 2
    assert "acme 1.0 has the backend 'My.Engine'" in done.stderr
    done = quickly("new-backend", "other", "--package", "acme_engine")
    assert "'acme_engine' is taken: such a package can be imported" in done.stderr


@pytest.mark.parametrize("arguments", ["", "a/b", "a b", "a --package class", "a --package 1", "a --kind remote"])
def test_bad_arguments_are_usage_errors(quickly: Any, arguments: str) -> None:
    done = quickly("new-backend", *arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


SERVERS = [pytest.param(kind, marks=pytest.mark.engine) for kind in KINDS if "server" in KINDS[kind].layers]


@pytest.mark.parametrize("kind", ["in-process", "engine", "embedder", "reranker", *SERVERS])
def test_what_is_written_is_found_and_passes_its_own_tests(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    write(folder, render(kind, derive("my.engine-2")))
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    make_distribution(folder / "src", project["name"], project["entry-points"], {})
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error"]
    if kind == "engine":  # the whole kit runs with its wheel
        command += ["-k", "tool or format or schema or grammar or choice or reasoning or penalt or top or refused"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert not unexplained_skips(done.stdout)
    command = [sys.executable, "-m", "llamaforge", "backends"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert any(line.split()[:3] == ["my.engine-2", "installed", "forge-my-engine-2"] for line in listed.splitlines())
