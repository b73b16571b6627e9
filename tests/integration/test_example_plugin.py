"""The example of a third party's plugin: built, installed beside core alone, and held to its own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.environments import ROOT, CleanEnvironment, build_wheel
from support.skips import unexplained_skips

pytestmark = [pytest.mark.engine, pytest.mark.wheel, pytest.mark.timeout(900)]

EXAMPLE = ROOT / "examples" / "forge-ngram"


def test_it_works_from_its_wheel(wheels: dict[str, Path], tmp_path: Path) -> None:
    wheel = build_wheel(EXAMPLE, tmp_path / "built")
    environment = CleanEnvironment(tmp_path / "env", wheels["forge-core"].parent)
    environment.install(f"{wheel}[test]")

    listed = [line.split() for line in environment.llamaforge("backends").splitlines()]
    assert ["ngram", "installed", "forge-ngram", "0.1.0"] in listed
    assert "ngram: ok" in environment.llamaforge("doctor")

    sentences, model = EXAMPLE / "tests" / "sentences.txt", tmp_path / "model.arpa"
    environment.llamaforge("train-ngram", sentences, "-o", model)
    assert environment.llamaforge("run", "-m", model, "--temperature", "0", "the old").startswith(" keeper")

    said = environment.run("-m", "pytest", "-rs", "-p", "no:cacheprovider", cwd=EXAMPLE)
    assert " passed" in said
    [exempted] = unexplained_skips(said)  # the one check that can't hold for this engine, by name and with a reason
    assert "the tokens are whole words" in exempted
    environment.lint(EXAMPLE)
