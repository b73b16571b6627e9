"""``llamaforge models``: the model file from the command line."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llamaforge.chat import ChatTemplate
from llamaforge.models import DEFAULT_EMBEDDING_MODEL, DEFAULT_MODEL
from support.chat_templates import PLAIN, TEMPLATES
from support.gguf_files import make_tiny_gguf
from support.plugins import make_distribution, make_sound


def listed(quickly: Any) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(quickly.fine("models", "list", "--json"))}


def test_the_built_in_models_are_listed_without_a_file_or_a_network(llamaforge: Any) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "https_proxy": "http://127.0.0.1:9"}
    found = json.loads(llamaforge.fine("models", "list", "--json", env=nowhere))
    assert [(one["name"], one["origin"], one["default"], one["size"]) for one in found] == [
        (DEFAULT_MODEL.name, "built-in", True, None),
        (DEFAULT_EMBEDDING_MODEL.name, "built-in", False, None),
    ]
    shown = llamaforge.fine("models")
    assert shown == llamaforge.fine("models", "list")
    assert shown.splitlines()[0].split() == ["NAME", "DEFAULT", "BACKEND", "FROM", "SIZE", "MODEL"]
    assert DEFAULT_MODEL.path in shown
    assert not llamaforge.config.exists()


def test_add_show_run_remove(quickly: Any) -> None:
    done = quickly(
        *("models", "add", "mine", "anything", "--backend", "echo"), *("-p", "n_ctx=64"), *("-g", "max_tokens=2")
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert str(quickly.config) in done.stderr
    assert tomllib.loads(quickly.config.read_text()) == {
        "models": {
            "mine": {
                "path": "anything",
                "backend": "echo",
                "parameters": {"n_ctx": 64},
                "generation": {"max_tokens": 2},
            }
        }
    }
    shown = json.loads(quickly.fine("models", "show", "mine", "--json"))
    assert (shown["parameters"], shown["generation"], shown["origin"]) == ({"n_ctx": 64}, {"max_tokens": 2}, "file")
    assert "  n_ctx: 64\n" in quickly.fine("models", "show", "mine")
    assert quickly.fine("run", "-m", "mine", "one two three") == "one two\n"
    assert quickly.fine("run", "-m", "mine", "--max-tokens", "1", "one two three") == "one\n"
    quickly.fine("models", "remove", "mine")
    assert "mine" not in listed(quickly)


def test_adding_again(quickly: Any) -> None:
    add = ("models", "add", "mine", "anything", "--backend", "echo")
    quickly.fine(*add)
    quickly.fine(*add)
    done = quickly(*add, "-p", "n_ctx=8")
    assert done.returncode == 2
    assert "or pass --replace." in done.stderr
    assert "replace=True" not in done.stderr
    quickly.fine(*add, "-p", "n_ctx=8", "--replace")
    assert listed(quickly)["mine"]["parameters"] == {"n_ctx": 8}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "nothing"], 2, "There is no model 'nothing'"),
        (["show", "smollm2-135m-instuct"], 2, "Did you mean 'smollm2-135m-instruct'"),
        (["remove", "nothing"], 2, "There is no model 'nothing'"),
        (["remove", DEFAULT_MODEL.name], 2, "built in"),
        (["default", "nothing"], 2, "There is no model 'nothing'"),
        (["pull", "nothing"], 2, "There is no model 'nothing'"),
        (["pull", "./nothing.gguf"], 4, "nothing.gguf"),
        (["pull", "pkg:no_such_package/x.gguf"], 4, "no_such_package"),
        (["add", "x", "y", "--backend", "no-such"], 3, "There is no backend 'no-such'"),
        (["add", "x", "y", "--backend", "echo", "-p", "n_cxt=1"], 2, "Did you mean 'n_ctx'"),
        (["add", "x", "y", "--backend", "echo", "-p", "n_ctx=0"], 2, "n_ctx must be"),
        (["add", "x", "./x.gguf", "-p", "n_cxt=1"], 2, "Did you mean 'n_ctx'"),
        (["add", "x", "pypi:a/x.gguf", "-p", "n_ctx=many"], 2, "n_ctx must be"),
        (["add", "x", "y", "-g", "temprature=1"], 2, "Did you mean 'temperature'"),
        (["add", "x", "y", "-g", "temperature=-1"], 2, "temperature must be"),
        (["add", "x", "y", "--sha256", "123"], 2, "64 hexadecimal digits"),
        (["add", "", "y"], 2, "name must be"),
        (["add", "x", ""], 2, "is not valid"),
        (["add", "x", "https://example.test/a.gguf"], 2, "URLs are not fetched"),
        (["add", "x", "pyip:a/b"], 2, "Did you mean pypi:"),
    ],
)
def test_bad_input(quickly: Any, arguments: list[str], code: int, says: str) -> None:
    done = quickly("models", *arguments)
    assert says in done.stderr
    assert (done.returncode, done.stdout) == (code, "")
    assert not quickly.config.exists()


def test_a_damaged_file_is_reported_and_left_alone(quickly: Any) -> None:
    quickly.config.write_text("[models.a]\npath = ")
    for arguments in (["list"], ["add", "b", "x"], ["remove", "a"], ["default", "a"], ["show", "a"]):
        done = quickly("models", *arguments)
        assert done.returncode == 2
        assert "line 2" in done.stderr
    assert quickly.config.read_text() == "[models.a]\npath = "


def test_the_default_model(quickly: Any) -> None:
    assert quickly.fine("models", "default") == f"{DEFAULT_MODEL.name}\n"
    quickly.fine("models", "add", "mine", "anything", "--backend", "echo")
    quickly.fine("models", "default", "mine")
    assert quickly.fine("models", "default") == "mine\n"
    assert quickly.fine("run", "hello") == "hello\n"
    assert [name for name, one in listed(quickly).items() if one["default"]] == ["mine"]
    done = quickly("run", "--backend", "huggingface", "hello")
    assert done.returncode in (2, 3)


def test_a_local_path_is_kept_absolute_and_its_size_is_shown(quickly: Any) -> None:
    (quickly.folder / "models").mkdir()
    (quickly.folder / "models" / "a.gguf").write_bytes(b"x" * 1500)
    quickly.fine("models", "add", "file", "models/a.gguf")
    quickly.fine("models", "add", "folder", "./models")
    assert "nothing is at" in quickly("models", "add", "later", "./later.gguf").stderr
    found = listed(quickly)
    assert found["file"]["path"] == found["file"]["local_path"] == str(quickly.folder / "models" / "a.gguf")
    assert (found["file"]["size"], found["folder"]["size"], found["later"]["size"]) == (1500, 1500, None)
    assert found["later"]["path"] == str(quickly.folder / "later.gguf")
    assert "1.5 kB" in quickly.fine("models", "list")
    quickly.fine("models", "add", "marked", "path:models/a.gguf#sha256=" + "0" * 64)
    quickly.fine("models", "add", "home", "~/somewhere.gguf")
    quickly.fine("models", "add", "hub", "org/repo")
    found = listed(quickly)
    assert found["marked"]["path"] == f"path:{quickly.folder}/models/a.gguf#sha256=" + "0" * 64
    assert found["home"]["path"] == str(Path.home() / "somewhere.gguf")
    assert found["hub"]["path"] == "org/repo"


def test_an_installed_backend_checks_parameters_and_an_absent_one_is_named(quickly: Any) -> None:
    make_sound(quickly.plugins, "sound")
    assert "Did you mean 'n_ctx'" in quickly("models", "add", "a", "x", "--backend", "sound", "-p", "nctx=1").stderr
    make_distribution(quickly.plugins, "dist-b", {"llamaforge.backends": {"broken": "broken_b"}}, {"broken_b": "1 / 0"})
    from llamaforge.plugins import BACKENDS

    BACKENDS.refresh()
    done = quickly("models", "add", "b", "x", "--backend", "broken", "-p", "whatever=1")
    assert done.returncode == 0
    assert "ZeroDivisionError" in done.stderr
    assert "b" in listed(quickly)


def test_another_backend_for_a_saved_model(quickly: Any) -> None:
    make_sound(quickly.plugins, "sound")
    quickly.fine("models", "add", "mine", "anything", "--backend", "sound", "-p", "n_ctx=2", "-g", "max_tokens=1")
    done = quickly("run", "-m", "mine", "--backend", "echo", "one two three")
    assert (done.returncode, done.stdout) == (0, "one\n")
    assert "are for sound and are not used" in done.stderr


def test_pull_prints_the_place(quickly: Any) -> None:
    make_data_package(quickly.plugins)
    place = quickly.plugins / "data_package" / "a.gguf"
    digest = hashlib.sha256(b"content").hexdigest()
    assert quickly.fine("models", "pull", "pkg:data_package/a.gguf", "--sha256", digest) == f"{place}\n"
    quickly.fine("models", "add", "packed", "pkg:data_package/a.gguf", "--sha256", digest)
    assert quickly.fine("models", "pull", "packed") == f"{place}\n"
    assert listed(quickly)["packed"]["size"] == 7
    done = quickly("models", "pull", "pkg:data_package/a.gguf", "--sha256", "0" * 64)
    assert (done.returncode, done.stdout) == (4, "")
    assert "SHA-256" in done.stderr


def test_there_is_nothing_to_pull_of_a_remote_model(quickly: Any) -> None:
    quickly.fine("models", "add", "remote", "some-model", "--backend", "echo")
    done = quickly("models", "pull", "remote")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing to download" in done.stderr


def test_progress_is_one_plain_line_where_nobody_watches(llamaforge: Any) -> None:
    make_slow_source(llamaforge.plugins)
    done = llamaforge("models", "pull", "slow:model.gguf")
    assert done.stdout == f"{llamaforge.plugins / 'model.gguf'}\n"
    assert done.stderr == "downloading model.gguf (2.0 MB)\n"
    done = llamaforge("run", "--backend", "echo", "-m", "slow:model.gguf", "hello")
    assert (done.stdout, done.stderr) == ("hello\n", "downloading model.gguf (2.0 MB)\n")


def test_progress_is_a_bar_at_a_terminal(llamaforge: Any, terminal: Callable[..., Any]) -> None:
    make_slow_source(llamaforge.plugins)
    screen = terminal("run", "--backend", "echo", "-m", "slow:model.gguf", "hello", separate=True, term="xterm")
    assert screen.process.stdout.read() == b"hello\n"
    assert screen.end() == 0
    assert "downloading model.gguf" in screen.seen
    assert "2.0/2.0 MB" in screen.seen
    assert "hello" not in screen.seen
    screen = terminal("models", "pull", "slow:model.gguf", term="dumb")
    assert screen.end() == 0
    assert screen.seen.startswith("downloading model.gguf (2.0 MB)\n")


def test_a_table_at_a_terminal(quickly: Any, terminal: Callable[..., Any]) -> None:
    screen = terminal("models", "list")
    assert screen.end() == 0
    assert "NAME" in screen.seen
    assert DEFAULT_MODEL.name[:10] in screen.seen


def make_data_package(folder: Path) -> None:
    (folder / "data_package").mkdir()
    (folder / "data_package" / "__init__.py").write_text("raise RuntimeError('not to be run')")
    (folder / "data_package" / "a.gguf").write_bytes(b"content")


def make_slow_source(folder: Path) -> None:
    """A source "slow" that reports two megabytes as they come."""
    (folder / "model.gguf").write_bytes(b"content")
    source = f"""
        import time
        from pathlib import Path
        from llamaforge import hookimpl
        from llamaforge.sources import ResolvedModel, SourceSpec

        def fetch(reference, /, *, progress, offline, refresh):
            for done in range(0, 2_000_001, 500_000):
                if progress is not None:
                    progress(done, 2_000_000, "downloading model.gguf")
                time.sleep(0.05)
            path = Path({str(folder / "model.gguf")!r})
            return ResolvedModel(reference.text, str(path), path, None, "slow")

        @hookimpl
        def llamaforge_source():
            return SourceSpec("slow", "slow_source:fetch", "slow")
    """
    make_distribution(folder, "dist-slow", {"llamaforge.sources": {"slow": "slow_source"}}, {"slow_source": source})


def test_a_load_error_names_the_model_and_its_file(quickly: Any) -> None:
    quickly.config.write_text(
        '[models.mine]\npath = "x"\nbackend = "echo"\n[models.mine.parameters]\nn_cxt = 5\n'
        '[models.other]\npath = "x"\nbackend = "echo"\n[models.other.generation]\ntemprature = 1\n'
        '[models.gone]\npath = "./gone.gguf"\n'
        '[models.fine]\npath = "x"\nbackend = "echo"\n'
    )
    mistakes = {"mine": "Did you mean 'n_ctx'", "other": "Did you mean 'temperature'", "gone": "gone.gguf"}
    tables = {"mine": ".parameters", "other": ".generation", "gone": ""}
    for name, says in mistakes.items():
        done = quickly("run", "-m", name, "hello")
        assert f"The model {name!r} ([models.{name}{tables[name]}] in {quickly.config}): " in done.stderr
        assert says in done.stderr
    done = quickly("run", "-m", "fine", "-p", "n_cxt=5", "hello")
    assert str(quickly.config) not in done.stderr, "the mistake is not the file's"


def test_generation_parameters_that_the_backend_lacks_are_not_added(quickly: Any) -> None:
    for more in (["--backend", "echo"], []):
        done = quickly("models", "add", "mine", "./x.gguf", *more, "-g", "logit_bias={}" if more else "logitbias=1")
        assert done.returncode != 0
        assert "logit" in done.stderr
        assert not quickly.config.exists()


def test_a_relative_path_means_where_it_was_added(quickly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, reference in (("here", "./x.gguf"), ("named", "x.gguf"), ("said", "path:odd:name")):
        done = quickly("models", "add", name, reference)
        assert "Note: nothing is at" in done.stderr
    quickly.fine("models", "add", "served", "x.gguf", "--backend", "openai")
    monkeypatch.chdir("/")
    found = {name: one["path"] for name, one in listed(quickly).items()}
    assert found["here"] == found["named"] == str(quickly.folder / "x.gguf")
    assert found["said"] == f"path:{quickly.folder / 'odd:name'}"
    assert found["served"] == "x.gguf", "a server may call its model so"


def test_show_tells_what_the_makers_recommend(quickly: Any) -> None:
    folder = quickly.folder / "model"
    folder.mkdir()
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.6, "top_k": 20}')
    quickly.fine("models", "add", "mine", str(folder))
    shown = json.loads(quickly.fine("models", "show", "mine", "--json"))
    assert shown["recommended_sampling"] == {"temperature": 0.6, "top_k": 20}
    assert "recommended_sampling:\n  temperature: 0.6\n  top_k: 20\n" in quickly.fine("models", "show", "mine")
    quickly.fine("models", "add", "other", "x", "--backend", "echo")
    assert "recommended_sampling: none\n" in quickly.fine("models", "show", "other")


def test_show_tells_what_the_chat_template_can_do(quickly: Any) -> None:
    folder = quickly.folder / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    quickly.fine("models", "add", "mine", str(folder), "--backend", "echo")
    assert json.loads(quickly.fine("models", "show", "mine", "--json"))["chat_template"] == "none"
    listed = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": TEMPLATES["hermes"]}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": listed}))
    found = json.loads(quickly.fine("models", "show", "mine", "--json"))["chat_template"]
    assert found == msgspec.to_builtins(ChatTemplate({"default": PLAIN, "tool_use": TEMPLATES["hermes"]}).capabilities)
    shown = quickly.fine("models", "show", "mine")
    assert "  tools: yes\n" in shown
    assert "  output_format: hermes\n" in shown
    (folder / "chat_template.jinja").write_text(PLAIN)
    assert "  output_format: generic\n" in quickly.fine("models", "show", "mine")
    (folder / "chat_template.jinja").write_text("{% if %}")
    assert "chat_template: broken: line 1" in quickly.fine("models", "show", "mine")


def test_a_gguf_files_chat_template_is_shown_too(quickly: Any) -> None:
    file = quickly.folder / "model.gguf"
    make_tiny_gguf(file, template=TEMPLATES["mistral"])
    quickly.fine("models", "add", "mine", str(file), "--backend", "echo")
    assert "  output_format: mistral\n" in quickly.fine("models", "show", "mine")
