"""Which pip command an error or the doctor recommends, by where forge-core was installed from."""

from __future__ import annotations

import json
import os
import shlex
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from llamaforge import installing
from llamaforge.installing import install_command, pip_here, reinstall_command


class Installed:
    """Distributions in a folder of their own; nothing else is installed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        found = installing.metadata()

        def find(name: str) -> Any:
            return next(iter(found.distributions(name=name, path=[str(folder)])), None)

        monkeypatch.setattr(installing, "find_distribution", find)

    def add(self, name: str, origin: dict[str, Any] | None = None) -> None:
        info = self._folder / f"{name.replace('-', '_')}-2.0.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0.0\n")
        if origin is not None:
            (info / "direct_url.json").write_text(json.dumps(origin))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    monkeypatch.setattr(installing, "__file__", str(tmp_path / "site" / "llamaforge" / "installing.py"))
    monkeypatch.chdir(tmp_path)
    return Installed(tmp_path / "site", monkeypatch)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone's folder of packages, some of which need others."""
    packages = tmp_path / "clone" / "packages"
    for name, needs, extras in (
        ("forge-core", [], {"chat": ["jinja2"]}),
        ("forge-hf", ["forge-core[chat]>=2.0,<3", "torch"], {}),
        ("forge-openai", ["forge-core>=2.0,<3"], {}),
        ("forge-vllm", ["forge-core>=2.0,<3", "forge-openai>=2.0,<3"], {}),
        ("forge-llamacpp", ["forge-core[chat]"], {"server": ["forge-openai>=2.0", "xllamacpp"]}),
    ):
        (packages / name).mkdir(parents=True)
        optional = "".join(f"{extra} = {json.dumps(its)}\n" for extra, its in extras.items())
        project = f"[project]\nname = {name!r}\ndependencies = {json.dumps(needs)}\n"
        (packages / name / "pyproject.toml").write_text(f"{project}[project.optional-dependencies]\n{optional}")
    return packages


def folder(path: Path, *, editable: bool = False) -> dict[str, Any]:
    return {"url": path.as_uri(), "dir_info": {"editable": True} if editable else {}}


def test_from_an_index(installed: Installed) -> None:
    installed.add("forge-core")
    assert install_command("forge-hf") == 'pip install "forge-hf>=2.0,<3"'
    assert install_command("forge-llamacpp[server]") == 'pip install "forge-llamacpp[server]>=2.0,<3"'
    assert reinstall_command("forge-hf") == 'pip install --upgrade "forge-hf>=2.0,<3"'
    assert install_command("another", "absent>=1") == 'pip install another "absent>=1"'
    assert reinstall_command("another") == "pip install --upgrade another"
    assert reinstall_command("another", damaged=True) == "pip install --force-reinstall --no-deps another"


@pytest.mark.parametrize("editable", [False, True])
def test_from_a_clone(installed: Installed, clone: Path, monkeypatch: pytest.MonkeyPatch, editable: bool) -> None:
    installed.add("forge-core", folder(clone / "forge-core", editable=editable))
    monkeypatch.chdir(clone.parent)
    packages = f".{os.sep}packages{os.sep}"
    assert install_command("forge-hf") == f"pip install {packages}forge-hf"
    assert install_command("forge-vllm") == f"pip install {packages}forge-openai {packages}forge-vllm"
    installed.add("forge-llamacpp", folder(clone / "forge-llamacpp", editable=editable))
    option = "-e " if editable else ""
    assert install_command("forge-llamacpp[server]") == (
        f'pip install {packages}forge-openai {option}"{packages}forge-llamacpp[server]"'
    )
    installed.add("forge-openai")
    assert install_command("forge-vllm") == f"pip install {packages}forge-vllm"
    assert reinstall_command("forge-llamacpp") == f"pip install {option}{packages}forge-llamacpp"
    assert install_command("forge-tgi") == 'pip install "forge-tgi>=2.0,<3"', "the clone has none"
    monkeypatch.chdir(clone.parent.parent.parent)
    assert shlex.split(install_command("forge-hf"))[-1].endswith(str(Path("clone", "packages", "forge-hf")))


def test_source_that_runs_where_it_stands(installed: Installed, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "__file__", str(clone / "forge-core" / "src" / "llamaforge" / "installing.py"))
    packages = f".{os.sep}clone{os.sep}packages{os.sep}"
    assert install_command("forge-openai") == f"pip install {packages}forge-core {packages}forge-openai"


def test_a_folder_with_a_space(installed: Installed, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = clone.rename(clone.parent / "all packages")
    installed.add("forge-core", folder(moved / "forge-core"))
    monkeypatch.chdir("/")
    assert shlex.split(install_command("forge-hf")) == ["pip", "install", str(moved / "forge-hf")]


def test_from_wheels(installed: Installed, tmp_path: Path) -> None:
    wheels = tmp_path / "dist"
    wheels.mkdir()
    (wheels / "forge_hf-2.0.0-py3-none-any.whl").touch()
    installed.add("forge-core", {"url": (wheels / "forge_core-2.0.0.whl").as_uri(), "archive_info": {}})
    assert install_command("forge-hf") == f'pip install --find-links .{os.sep}dist "forge-hf>=2.0,<3"'
    assert install_command("forge-tgi") == 'pip install "forge-tgi>=2.0,<3"', "there is no wheel of it"


def test_from_a_repository(installed: Installed) -> None:
    origin = {
        "url": "https://example.test/forge.git",
        "vcs_info": {"vcs": "git", "commit_id": "abc123"},
        "subdirectory": "packages/forge-core",
    }
    installed.add("forge-core", origin)
    assert shlex.split(install_command("forge-llamacpp[server]"))[2:] == [
        "forge-llamacpp[server] @ git+https://example.test/forge.git@abc123#subdirectory=packages/forge-llamacpp"
    ]


def test_a_clone_that_is_gone(installed: Installed, tmp_path: Path) -> None:
    installed.add("forge-core", folder(tmp_path / "gone" / "forge-core"))
    assert install_command("forge-hf") == 'pip install "forge-hf>=2.0,<3"'


def test_another_editable_installation(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "my project").mkdir()
    (tmp_path / "my project" / "pyproject.toml").touch()
    installed.add("mine", folder(tmp_path / "my project", editable=True))
    assert shlex.split(reinstall_command("mine")) == ["pip", "install", "-e", f".{os.sep}my project"]


def test_whether_an_extra_is_installed(installed: Installed, tmp_path: Path) -> None:
    assert not installing.is_installed("forge-llamacpp")
    installed.add("forge-llamacpp")
    metadata = tmp_path / "site" / "forge_llamacpp-2.0.0.dist-info" / "METADATA"
    needed = "".join(f"Requires-Dist: {each}; extra == 'server'\n" for each in ("forge-openai>=2", "xllamacpp"))
    metadata.write_text(f"{metadata.read_text()}Provides-Extra: server\n{needed}")
    assert installing.is_installed("forge-llamacpp")
    assert not installing.is_installed("forge-llamacpp[server]")
    installed.add("forge-openai")
    assert installing.is_installed("forge-llamacpp[server]"), "its engine may be elsewhere"


def test_how_pip_is_typed_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HATCH_ENV_ACTIVE", raising=False)
    pip = tmp_path / "pip"
    pip.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pip_here() == f"{sys.executable} -m pip", "the PATH leads to another environment's pip"
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert pip_here() is None
    monkeypatch.setenv("HATCH_ENV_ACTIVE", "default")
    assert pip_here() == "hatch run pip"
    monkeypatch.setenv("HATCH_ENV_ACTIVE", "hatch-test.py3.11")
    assert pip_here() == "hatch run hatch-test.py3.11:pip"
