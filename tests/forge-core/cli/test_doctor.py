"""``llamaforge doctor``: what is broken and why, and the command that mends it, whatever the plugins do."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from llamaforge import __version__
from llamaforge.cli.doctor import distributions
from support.plugins import make_distribution, make_sabotaged, make_sound


def examined(command: Any, *arguments: str, **settings: Any) -> dict[str, Any]:
    done = command("doctor", "--json", *arguments, **settings)
    found = json.loads(done.stdout)
    assert done.returncode == (3 if found["broken"] else 0)
    return {**found, "by_name": {(one["kind"], one["name"]): one for one in found["plugins"]}}


def test_a_sound_installation(quickly: Any) -> None:
    make_sound(quickly.plugins, "sound")
    found = examined(quickly, "sound")
    assert found["python"]["version"] == platform.python_version()
    assert found["core"]["version"] == __version__
    (sound,) = found["plugins"]
    assert (sound["problem"], sound["summary"], sound["api_version"]) == (None, "A sound plugin", 1)
    assert sound["distributions"] == [
        {
            "name": "dist-sound-plugin",
            "version": "1.0",
            "editable": False,
            "location": str(quickly.plugins),
            "source": None,
        }
    ]
    assert found["model_file"] == {
        "path": str(quickly.config),
        "exists": False,
        "models": [],
        "problem": None,
        "note": None,
    }
    assert found["cache"]["path"] == str(quickly.cache)
    assert found["environment"] == {
        "LLAMAFORGE_CACHE": str(quickly.cache),
        "LLAMAFORGE_CONFIG": str(quickly.config),
    }


def test_three_sabotaged_plugins_are_named_and_nothing_else_suffers(llamaforge: Any) -> None:
    make_sabotaged(llamaforge.plugins)
    make_sound(llamaforge.plugins, "sound")
    found = examined(llamaforge)
    by_name = found["by_name"]
    for name, says in (
        ("raises_import_error", "a_library_that_is_not_there"),
        ("exits", "SystemExit: no licence"),
        ("wrong_hook", "llamaforge_bakend"),
    ):
        one = by_name["backend", name]
        distribution = f"dist-{name}".replace("_", "-")
        assert says in one["problem"]
        assert "Traceback" in one["traceback"]
        assert says in one["traceback"]
        assert one["distributions"][0]["name"] == distribution
        assert one["mend"] == f"pip install --upgrade {distribution}"
    assert by_name["backend", "sound"]["problem"] is None

    done = llamaforge("doctor", "-v", "sound", "exits")
    assert done.returncode == 3
    assert "wrong_hook" not in done.stdout
    assert "  sound: ok\n" in done.stdout
    assert "  exits: BROKEN\n" in done.stdout
    assert "repair it with: pip install --upgrade dist-exits" in done.stdout
    assert "Traceback" in done.stdout
    assert "Traceback" not in done.stderr

    assert llamaforge.fine("run", "--backend", "sound", "-m", "x", "hello") == "hello\n"
    for arguments in (["backends"], ["--help"], ["models"]):
        llamaforge.fine(*arguments)
    assert llamaforge.fine("chat", "--backend", "sound", "-m", "x", stdin="hello\n") == "hello\n"


def test_two_distributions_with_one_name(quickly: Any) -> None:
    make_sound(quickly.plugins, "sound")
    make_sound(quickly.plugins, "sound", module="other_plugin")
    one = examined(quickly, "sound")["by_name"]["backend", "sound"]
    assert {each["name"] for each in one["distributions"]} == {"dist-sound-plugin", "dist-other-plugin"}
    assert "dist-sound-plugin 1.0" in one["problem"]
    assert "dist-other-plugin 1.0" in one["problem"]
    assert one["mend"] in ("pip uninstall dist-sound-plugin", "pip uninstall dist-other-plugin")


SPEC = """
    from llamaforge import BackendSpec, hookimpl

    @hookimpl
    def llamaforge_backend(name):
        return BackendSpec(name=name, target="llamaforge.backends.echo:EchoBackend",
                           config="llamaforge.backends.echo:EchoConfig", summary="", {more})

    def probe():
        {probe}
"""


def make_probed(folder: Path, probe: str, more: str = "", name: str = "probed", requires: tuple[str, ...] = ()) -> None:
    source = SPEC.format(more=f'probe="{name}_module:probe", {more}', probe=probe)
    make_distribution(
        folder, f"dist-{name}", {"llamaforge.backends": {name: f"{name}_module"}}, {f"{name}_module": source}
    )
    metadata = next(folder.glob(f"dist_{name}-*")) / "METADATA"
    metadata.write_text(metadata.read_text() + "".join(f"Requires-Dist: {each}\n" for each in requires))


@pytest.mark.parametrize(("version", "mend"), [(0, "pip install --upgrade dist-old"), (2, "forge-core")])
def test_another_contract_version(quickly: Any, version: int, mend: str) -> None:
    make_probed(quickly.plugins, "return {}", f"api_version={version}", name="old")
    one = examined(quickly, "old")["by_name"]["backend", "old"]
    assert f"version {version} of the contract" in one["problem"]
    assert mend in one["mend"]


def test_accelerators(quickly: Any) -> None:
    make_probed(
        quickly.plugins,
        "return {'compiled': ['CUDA 12'], 'visible': ['card A', 'card B'], 'used': ['card A'], 'advice': ['Buy it.']}",
        'engine="click"',
    )
    found = examined(quickly, "probed")
    (one,) = found["plugins"]
    assert (one["compiled"], one["visible"], one["used"]) == (["CUDA 12"], ["card A", "card B"], ["card A"])
    assert (one["advice"], one["engine"], one["problem"]) == (["Buy it."], "click", None)
    assert one["engine_version"]
    shown = quickly("doctor", "probed").stdout
    for line in ("compiled: CUDA 12", "visible: card A, card B", "used: card A", "note: Buy it."):
        assert f"    {line}\n" in shown


@pytest.mark.parametrize(
    ("probe", "says"),
    [
        ("import faulthandler; faulthandler._sigsegv()", "crashed (SIGSEGV) while asking its engine"),
        ("import os; os.abort()", "crashed (SIGABRT) while asking its engine"),
        ("import os; os._exit(7)", "ended with exit code 7 while asking its engine"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import time; time.sleep(600)", "gave no answer within 4 s while asking its engine"),
        ("raise OSError('libcuda.so.1: no such file')", "OSError: libcuda.so.1: no such file"),
        ("return 'not a dict'", "AttributeError"),
    ],
)
def test_an_engine_that_fails_or_crashes_is_reported(quickly: Any, probe: str, says: str) -> None:
    make_probed(quickly.plugins, probe, 'engine="click"')
    one = examined(quickly, "--timeout", "4", "probed")["by_name"]["backend", "probed"]
    assert says in one["problem"]
    assert one["mend"] == "pip install --force-reinstall --no-cache-dir --no-deps click"
    assert one["summary"] == ""


def test_a_crash_shows_where_and_harms_no_other(quickly: Any) -> None:
    make_probed(quickly.plugins, "import faulthandler; faulthandler._sigsegv()")
    make_sound(quickly.plugins, "sound")
    by_name = examined(quickly, "probed", "sound")["by_name"]
    assert by_name["backend", "sound"]["problem"] is None
    one = by_name["backend", "probed"]
    assert "Segmentation fault" in one["traceback"]
    assert "in probe" in one["traceback"]


def test_an_engine_that_tells_its_own_repair(quickly: Any) -> None:
    make_probed(quickly.plugins, "import os; os.abort()", 'engine="click", repair="build it portably"')
    assert examined(quickly, "probed")["by_name"]["backend", "probed"]["mend"] == "build it portably"


def test_an_engine_that_is_not_installed(quickly: Any) -> None:
    make_probed(
        quickly.plugins,
        "return {}",
        'engine="No_Such.Engine"',
        requires=("no-such-engine<3,>=2", "click", "x; extra == 'y'"),
    )
    one = examined(quickly, "probed")["by_name"]["backend", "probed"]
    assert one["engine_version"] is None
    assert one["mend"] == 'pip install "no-such-engine<3,>=2"'
    assert "not installed" in one["problem"]


def test_a_requirement_that_is_not_installed(quickly: Any) -> None:
    make_probed(quickly.plugins, "import absent_library", requires=("absent-library>=1", "click>=8"))
    one = examined(quickly, "probed")["by_name"]["backend", "probed"]
    assert "No module named 'absent_library'" in one["problem"]
    assert one["mend"] == 'pip install "absent-library>=1"'


def test_an_engine_that_only_an_extra_needs(quickly: Any) -> None:
    make_probed(quickly.plugins, "return {}", 'engine="No_Such.Engine"', requires=("no-such-engine; extra == 'y'",))
    one = examined(quickly, "probed")["by_name"]["backend", "probed"]
    assert (one["problem"], one["mend"], one["engine_version"]) == (None, None, None)
    assert "engine: No_Such.Engine (not installed)" in quickly.fine("doctor", "probed")


def test_a_backend_that_is_an_extra_is_not_broken(quickly: Any) -> None:
    source = """
        from llamaforge import BackendSpec, hookimpl

        @hookimpl
        def llamaforge_backend(name):
            return BackendSpec(name=name, target="extra_module:Backend", config="extra_module:Config", summary="")

        def __getattr__(name):
            from llamaforge.errors import BackendNotInstalledError
            raise BackendNotInstalledError("optional", "dist-optional[more]", "pip install dist-optional[more]")
    """
    make_distribution(
        quickly.plugins,
        "dist-optional",
        {"llamaforge.backends": {"optional": "extra_module"}},
        {"extra_module": source},
    )
    found = examined(quickly, "optional")
    assert (found["broken"], found["plugins"]) == (0, [])
    assert found["not_installed"] == {"optional": "pip install dist-optional[more]"}
    shown = quickly.fine("doctor", "optional")
    assert "  optional: not installed. pip install dist-optional[more]\n" in shown
    assert shown.endswith("All is well.\n")


def test_a_plugin_with_a_hole_is_told_from_a_broken_engine(quickly: Any) -> None:
    make_probed(quickly.plugins, "import probed_module.missing", 'engine="click"')
    one = examined(quickly, "probed")["by_name"]["backend", "probed"]
    assert one["mend"] == "pip install --force-reinstall --no-deps dist-probed"


def test_a_plugin_that_crashes_while_it_is_imported(quickly: Any) -> None:
    make_distribution(
        quickly.plugins, "dist-dies", {"llamaforge.backends": {"dies": "dies"}}, {"dies": "import os; os._exit(0)"}
    )
    one = examined(quickly, "dies")["by_name"]["backend", "dies"]
    assert one["problem"] == "The process that checked it ended with exit code 0 while loading the plugin."
    assert one["mend"] == "pip install --upgrade dist-dies"


def test_sources_and_commands_are_looked_at_too(quickly: Any) -> None:
    hooks = """
        import click
        from llamaforge import hookimpl
        from llamaforge.sources import SourceSpec

        @hookimpl
        def llamaforge_source(name):
            return SourceSpec(name, "json:loads", "from nowhere")

        @hookimpl
        def llamaforge_command(name):
            return click.Command(name, help="Do it.")
    """
    make_distribution(
        quickly.plugins,
        "dist-more",
        {
            "llamaforge.sources": {"nowhere": "more", "pypi": "more"},
            "llamaforge.commands": {"do": "more", "run": "more", "gone": "no_such_module"},
            "llamaforge.backends": {"echo": "more"},
        },
        {"more": hooks},
    )
    by_name = examined(quickly, "nowhere", "pypi", "do", "run", "gone", "echo")["by_name"]
    assert (by_name["source", "nowhere"]["problem"], by_name["source", "nowhere"]["summary"]) == (None, "from nowhere")
    assert (by_name["command", "do"]["problem"], by_name["command", "do"]["summary"]) == (None, "Do it.")
    assert "no_such_module" in by_name["command", "gone"]["problem"]
    for kind, name in (("command", "run"), ("source", "pypi"), ("backend", "echo")):
        assert "of its own" in by_name[kind, name]["problem"]
        assert "dist-more 1.0" in by_name[kind, name]["problem"]
        assert by_name[kind, name]["mend"] == "pip uninstall dist-more"


def test_what_is_built_in_is_fine(quickly: Any) -> None:
    for kind, names in {
        "backend": ["echo"],
        "source": ["path", "pkg", "pypi", "hf"],
        "command": ["run", "doctor"],
    }.items():
        for name in names:
            done = quickly("doctor", name, "--json")
            assert done.returncode == 0, done.stderr
            (about,) = json.loads(done.stdout)["plugins"]
            assert (about["kind"], about["name"], about["problem"]) == (kind, name, None)
            assert about["distributions"][0]["name"] == "forge-core"
            assert about["summary"]
    assert "echo: ok" in quickly("doctor", "echo").stdout
    assert "echo" not in quickly("doctor").stdout


def test_a_plugin_that_is_not_there(quickly: Any) -> None:
    make_sound(quickly.plugins, "sound")
    done = quickly("doctor", "sonud")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'sound'" in done.stderr


def test_editable_installations_are_told_apart(quickly: Any, tmp_path: Path) -> None:
    make_sound(quickly.plugins, "sound")
    (info,) = quickly.plugins.glob("*.dist-info")
    for record, expected in (
        ({"url": f"file://{tmp_path}/my%20project", "dir_info": {"editable": True}}, (True, f"{tmp_path}/my project")),
        ({"url": f"file://{tmp_path}/a.whl", "archive_info": {}}, (False, str(quickly.plugins))),
    ):
        (info / "direct_url.json").write_text(json.dumps(record))
        about = distributions.describe("dist-sound-plugin")
        assert (about["editable"], about["location"]) == expected
    url = "https://user:hunter2hunter2@example.test/a.whl"
    (info / "direct_url.json").write_text(json.dumps({"url": url, "archive_info": {}}))
    done = quickly("doctor", "sound")
    assert "hunter2" not in done.stdout
    assert "installed from https://***@example.test/a.whl" in done.stdout


def test_a_damaged_installation_is_shown(quickly: Any) -> None:
    (quickly.plugins / "half-1.0.dist-info").mkdir()
    (quickly.plugins / "half-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff[llamaforge.backends]\nx = y")
    make_sound(quickly.plugins, "sound")
    found = examined(quickly, "sound")
    assert [one["path"] for one in found["damaged"]] == [str(quickly.plugins / "half-1.0.dist-info")]
    assert found["by_name"]["backend", "sound"]["problem"] is None


def test_the_model_file(quickly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaforge.cli.doctor.examine.look_at_plugins", lambda *arguments: [])
    quickly.fine("models", "add", "mine", "x", "--backend", "echo")
    about = examined(quickly)["model_file"]
    assert (about["exists"], about["models"], about["problem"], about["note"]) == (True, ["mine"], None, None)
    quickly.config.chmod(0o644)
    assert f"chmod 600 {quickly.config}" in examined(quickly)["model_file"]["note"]
    quickly.config.write_text("default = 'gone'\n")
    assert "'gone'" in examined(quickly)["model_file"]["problem"]
    quickly.config.write_text("[models")
    about = examined(quickly)["model_file"]
    assert "line 1" in about["problem"]
    assert "BROKEN" in quickly("doctor").stdout
    quickly.config.unlink()
    quickly.config.mkdir()
    assert "can't be read" in examined(quickly)["model_file"]["problem"]


def test_the_cache(quickly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaforge.cli.doctor.examine.look_at_plugins", lambda *arguments: [])
    (quickly.cache / "deep").mkdir(parents=True)
    (quickly.cache / "deep" / "file").write_bytes(b"x" * 1_500_000)
    found = examined(quickly)["cache"]
    assert (found["files"], found["bytes"], found["problem"]) == (1, 1_500_000, None)
    assert "1.5 MB in 1 files" in quickly.fine("doctor")
    monkeypatch.setenv("LLAMAFORGE_CACHE", str(quickly.cache / "deep" / "file"))
    assert "not a folder" in examined(quickly)["cache"]["problem"]


def test_a_module_of_the_working_folder_is_not_taken_for_an_engine(quickly: Any) -> None:
    make_probed(quickly.plugins, "import click; return {'visible': [click.__file__]}")
    (quickly.folder / "click.py").write_text("raise RuntimeError('the wrong one')")
    done = quickly("doctor", "--json", "probed")
    (one,) = json.loads(done.stdout)["plugins"]
    assert one["problem"] is None
    assert os.fspath(quickly.folder / "click.py") not in one["visible"]
