"""A key is seen nowhere: not in what is printed, not in an error, not in a traceback, wherever it came from."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from support.plugins import make_distribution

CANARY = "canary-3b7f0c9a51"


def make_leaky(folder: Path) -> None:
    """A backend with an api_key that says it in every way that a careless author may."""
    source = """
        import logging, os, sys
        from typing import Annotated
        from msgspec import Meta
        from llamaforge import BackendConfig, BackendSpec, BaseBackend, Secret, TextDelta, hookimpl

        class Config(BackendConfig, frozen=True, kw_only=True):
            api_key: Annotated[Secret, Meta(description="The key.")] | None = None
            headers: Annotated[dict[str, Secret], Meta(description="Headers.")] = {}
            n: Annotated[int, Meta(description="A number.")] = 1

        class Leaky(BaseBackend):
            config_class = Config

            def load(self, model_path, config):
                self.key = (config.api_key or config.headers["X-Auth"]).reveal()
                if model_path == "fail-load":
                    raise ValueError(f"Authorization: Bearer {self.key} was refused")

            def stream(self, request, cancellation):
                yield TextDelta("so far")
                raise RuntimeError(f"GET https://user:{self.key}@host/v1?api_key={self.key}: key {self.key} refused")

        SPEC = Leaky.spec = BackendSpec(
            name="leaky", target="leaky_module:Leaky", config="leaky_module:Config", summary="Leaks",
            probe="leaky_module:probe",
        )

        def probe():
            key = os.environ.get("LEAKY_API_KEY", "none")
            return {"visible": [f"a card reached with {key}"], "advice": [f"Your key is {key}"]}

        @hookimpl
        def llamaforge_backend():
            return SPEC
    """
    make_distribution(
        folder, "dist-leaky", {"llamaforge.backends": {"leaky": "leaky_module"}}, {"leaky_module": source}
    )


def assert_unseen(done: Any) -> None:
    assert CANARY not in done.stdout
    assert CANARY not in done.stderr


def test_a_key_in_the_model_file(quickly: Any) -> None:
    make_leaky(quickly.plugins)
    done = quickly("models", "add", "m", "x", "--backend", "leaky", "-p", f"api_key={CANARY}")
    assert done.returncode == 0
    assert_unseen(done)
    assert "`-p api_key=env:VARIABLE` keeps it out of the file" in done.stderr
    assert CANARY in quickly.config.read_text()
    assert stat.S_IMODE(quickly.config.stat().st_mode) == 0o600
    for arguments in (
        ["models", "show", "m"],
        ["models", "list", "--json"],
        ["doctor", "--json", "leaky"],
        ["models", "add", "m", "y", "--backend", "leaky", "-p", f"api_key={CANARY}x"],
        ["--debug", "run", "-m", "m", "hi"],
        ["--debug", "run", "-m", "m", "-p", "no_such=1", "hi"],
    ):
        assert_unseen(quickly(*arguments))
    shown = json.loads(quickly.fine("models", "show", "m", "--json"))
    assert shown["parameters"] == {"api_key": "***"}


def test_no_note_for_what_is_kept_out_of_the_file(quickly: Any) -> None:
    make_leaky(quickly.plugins)
    done = quickly("models", "add", "m", "x", "--backend", "leaky", "-p", "api_key=env:LEAKY_API_KEY", "-p", "n=3")
    assert done.returncode == 0
    assert "Note" not in done.stderr
    assert json.loads(quickly.fine("models", "show", "m", "--json"))["parameters"] == {
        "api_key": "env:LEAKY_API_KEY",
        "n": 3,
    }


OPTIONS = [
    ["-p", f"api_key={CANARY}"],
    [f"--load=api_key={CANARY}"],
    ["-p", f'headers={{"X-Auth": "{CANARY}"}}'],
    ["-p", "api_key=env:LEAKY_API_KEY"],
    ["-p", "api_key=env:PLAINLY_NAMED"],
]


@pytest.mark.parametrize(
    ("debug", "model", "options"),
    [
        *((True, "fail-stream", options) for options in OPTIONS),
        (False, "fail-stream", OPTIONS[0]),
        (True, "fail-load", OPTIONS[0]),
        (False, "fail-load", OPTIONS[3]),
    ],
)
def test_a_key_in_an_error(llamaforge: Any, debug: bool, model: str, options: list[str]) -> None:
    make_leaky(llamaforge.plugins)
    arguments = ["run", "--backend", "leaky", "-m", model, *options, "hi"]
    if "PLAINLY" in options[-1]:  # then only the model file tells that this variable holds a key
        llamaforge.fine("models", "add", "m", model, "--backend", "leaky", *options)
        arguments = ["run", "-m", "m", "hi"]
    environment = {"LEAKY_API_KEY": CANARY, "PLAINLY_NAMED": CANARY}
    done = llamaforge(*(["--debug"] if debug else []), *arguments, env=environment)
    assert done.returncode == (4 if model == "fail-load" else 5)
    assert "***" in done.stderr
    assert_unseen(done)
    assert ("Traceback" in done.stderr) == debug


def test_a_key_in_the_environment_is_not_in_the_doctors_report(llamaforge: Any) -> None:
    make_leaky(llamaforge.plugins)
    environment = {"LEAKY_API_KEY": CANARY, "LLAMAFORGE_API_KEY": CANARY}
    done = llamaforge("doctor", "--json", "leaky", env=environment)
    assert_unseen(done)
    found = json.loads(done.stdout)
    assert found["environment"]["LLAMAFORGE_API_KEY"] == "***"
    assert found["plugins"][0]["advice"] == ["Your key is ***"]
    assert_unseen(llamaforge("doctor", "leaky", env=environment))


def test_a_key_that_is_no_pair_is_not_repeated(quickly: Any) -> None:
    make_leaky(quickly.plugins)
    for arguments in (["-p", CANARY], ["-p", f"api_key{CANARY}"], ["-e", CANARY]):
        done = quickly("run", "--backend", "leaky", "-m", "x", *arguments, "hi")
        assert done.returncode == 2
        assert_unseen(done)


def test_a_secret_of_the_wrong_type_is_not_repeated(quickly: Any) -> None:
    make_leaky(quickly.plugins)
    done = quickly("run", "--backend", "leaky", "-m", "x", "-p", f'api_key=["{CANARY}"]', "hi")
    assert done.returncode == 2
    assert "api_key must be" in done.stderr
    assert_unseen(done)


def test_a_reference_with_credentials(quickly: Any) -> None:
    for arguments in (
        ["models", "pull", f"https://user:{CANARY}@example.test/x.gguf"],
        ["run", "-m", f"https://user:{CANARY}@example.test/x.gguf", "hi"],
        ["models", "add", "m", f"https://user:{CANARY}@example.test/x.gguf"],
        ["models", "add", "m", f"https://user:{CANARY}@example.test/x.gguf", "--backend", "echo"],
        ["models", "show", "m"],
        ["models", "list"],
        ["run", "-m", "m", "hi"],
    ):
        assert_unseen(quickly(*arguments))


def test_json_of_an_answer_masks_engine_options(quickly: Any) -> None:
    source = """
        from llamaforge import BackendSpec, Capabilities, hookimpl
        from llamaforge.backends.echo import EchoBackend

        class Optioned(EchoBackend):
            pass

        SPEC = Optioned.spec = BackendSpec(
            name="optioned",
            target="optioned_module:Optioned",
            config="llamaforge.backends.echo:EchoConfig",
            summary="",
            capabilities=Capabilities(
                parameters=EchoBackend.spec.capabilities.parameters, engine_options=frozenset({"extra_headers"})
            ),
        )

        @hookimpl
        def llamaforge_backend():
            return SPEC
    """
    make_distribution(
        quickly.plugins, "dist-o", {"llamaforge.backends": {"optioned": "optioned_module"}}, {"optioned_module": source}
    )
    header = f'extra_headers={{"Authorization": "Bearer {CANARY}"}}'
    done = quickly("run", "--backend", "optioned", "-m", "x", "-e", header, "--json", "hi")
    assert json.loads(done.stdout)["parameters"]["engine"] == {"extra_headers": {"Authorization": "***"}}
    assert_unseen(done)
