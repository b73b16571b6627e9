"""``llamaforge bench`` as it is typed. No test says whether this machine is starved: exit codes 0 and 11 both do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forge_bench import Results
from forge_bench.calibration.server import Delays, running
from forge_bench.cli import command
from forge_bench.metrics import summarize
from forge_bench.records import Record, Trial
from forge_bench.results import Level
from llamaforge.cli.app import run as llamaforge


def bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running(Delays(ttft=0.01, tpot=0.001, tokens=4, slots=2)) as url:
        yield url


def saved(path: Path, speed: float, *, trials: int = 5, failures: int = 0, reasons: tuple[str, ...] = ()) -> Path:
    """Results of a run that took *speed* times as long as others, with a little noise."""
    measured = []
    for number in range(trials):
        length = speed * (1 + 0.001 * ((number * 7) % 5))
        records = [
            Record(
                index=index,
                sent=float(index),
                intended=float(index),
                chunk_times=[index + 0.1 * length, index + length],
                end=index + length,
                completion_tokens=10,
                error="broken" if index < failures else None,
            )
            for index in range(20)
        ]
        measured.append(Trial(records=records, duration=20 * length))
    level = Level(concurrency=1, metrics=summarize(measured), trials=measured, reasons=list(reasons))
    Results(target="t", mode="latency", levels=[level]).save(path)
    return path


def test_run_saves_what_was_measured(server: str, tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("r.json", "r.csv", "r.requests.csv", "r.html")]
    options = [part for name in names for part in ("-o", name)]
    result = bench("run", server, "-n", "3", "--trials", "2", "--prompt", "Hello", "--max-tokens", "4", *options)
    assert result.exit_code in (0, 11), result.output
    assert "TTFT" in result.output
    assert all(name.stat().st_size for name in names)
    results = Results.load_file(names[0])
    assert [len(trial.records) for trial in results.levels[0].trials] == [3, 3]
    assert results.settings["sampling"] == {"max_tokens": 4}


def test_run_prints_json(server: str) -> None:
    result = bench("run", server, "-n", "2", "--trials", "1", "--prompt", "Hello", "--json", "--slo", "e2e=60")
    assert result.exit_code in (0, 11), result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["levels"][0]["metrics"]["goodput"]["unit"] == "1/s"
    assert "trials" not in found["levels"][0]


def test_several_targets_are_compared(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.toml").write_text('[models.mine]\npath = "x"\nbackend = "echo"\n')
    monkeypatch.setenv("LLAMAFORGE_CONFIG", str(tmp_path / "models.toml"))
    common = ["-n", "2", "--trials", "2", "--prompt", "a b", "--prompt", "c d", "--max-tokens", "2", "--json"]
    result = bench("run", "mine", "serve:mine", "-o", tmp_path / "r.json", *common)
    assert result.exit_code in (0, 11), result.output
    found = json.loads(result.stdout)
    here, served = found["results"]
    assert (here["engine"]["backend"], served["engine"]["kind"], served["engine"]["model"]) == (
        "echo",
        "server",
        "mine",
    )
    assert found["comparisons"][0]["verdict"] in ("too few trials", "invalid")
    assert [Results.load_file(tmp_path / f"r.{number}.json").target for number in (1, 2)] == [
        here["target"],
        served["target"],
    ]
    result = bench("run", "mine", "--vary", "n_batch=8,16", *common)
    settings = [each["engine"]["parameters"]["n_batch"] for each in json.loads(result.stdout)["results"]]
    assert settings == [8, 16]
    result = bench("run", server, server, "--interleave", *common)
    assert len(json.loads(result.stdout)["results"]) == 2


def test_sweep_ends(server: str) -> None:
    result = bench(
        "sweep",
        server,
        "-n",
        "4",
        "--trials",
        "1",
        "-c",
        "1",
        "--most",
        "8",
        "--prompt-tokens",
        "8",
        "--output-tokens",
        "4",
        "--json",
    )
    assert result.exit_code in (0, 11), result.output
    levels = json.loads(result.stdout)["levels"]
    assert [level["concurrency"] for level in levels] == [1, 2, 4, 8][: len(levels)]


@pytest.mark.parametrize(
    ("speed", "settings", "verdict", "code"),
    [
        (1.0, {}, "no difference", 0),
        (1.05, {}, "slower", 10),
        (0.95, {}, "faster", 0),
        (1.0, {"failures": 2}, "failures", 10),
        (1.0, {"trials": 3}, "too few trials", 11),
        (1.05, {"reasons": ("the client was starved",)}, "invalid", 11),
    ],
)
def test_compare(speed: float, settings: dict[str, Any], verdict: str, code: int, tmp_path: Path) -> None:
    before = saved(tmp_path / "before.json", 1.0, trials=settings.get("trials", 5))
    after = saved(tmp_path / "after.json", speed, **settings)
    result = bench("compare", before, after)
    assert (result.exit_code, f"Verdict: {verdict}" in result.output) == (code, True), result.output
    said = bench("compare", before, after, "--json")
    assert (said.exit_code, json.loads(said.stdout)["verdict"]) == (code, verdict)


def test_report_shows_and_converts(tmp_path: Path) -> None:
    source = saved(tmp_path / "r.json", 1.0)
    assert "TTFT" in bench("report", source).output
    assert bench("report", source, "-o", tmp_path / "r.html").exit_code == 0
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "TARGET"),
        (["run", "http://127.0.0.1:9", "-c", "many"], "is not a number"),
        (["run", "http://127.0.0.1:9", "--mode", "serve"], "--mode serve needs --rate"),
        (["sweep", "http://127.0.0.1:9", "--mode", "serve"], "--mode serve needs --rate"),
        (["run", "http://127.0.0.1:9", "--rate", "3"], "Add --mode serve"),
        (["run", "http://127.0.0.1:9", "--prompt", "a", "--dataset", "b.txt"], "--prompt and --dataset contradict"),
        (["run", "http://127.0.0.1:9", "--dataset", "b.txt", "--turns", "2"], "--dataset and --turns contradict"),
        (["run", "http://127.0.0.1:9", "-o", "results.txt"], "a name that ends in .json"),
        (["run", "http://127.0.0.1:9", "-o", "nowhere/results.json"], "there is no folder 'nowhere'"),
        (["run", "http://127.0.0.1:9", "--prompt-tokens", "long"], "prompt_tokens must be"),
        (["run", "http://127.0.0.1:9", "--dataset", "nowhere.txt"], "can't be read"),
        (["run", "http://127.0.0.1:9", "--vary", "n_batch"], "NAME=VALUE,VALUE"),
        (["run", "serve:x", "-p", "n_ctx=5"], "don't reach a server"),
        (["report", "nowhere.json"], "can't be read"),
        (["compare", "nowhere.json", "nowhere.json"], "can't be read"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert llamaforge(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert llamaforge(["bench", "run", "http://127.0.0.1:9", "--prompt", "Hello"]) == 5
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_a_sweep_that_never_saturates_names_no_knee() -> None:
    sizes = ("--prompt-tokens", "8", "--output-tokens", "8", "-n", "4", "--trials", "1")
    result = bench("sweep", "m", "--backend", "echo", "-c", "1", "--most", "1", *sizes)
    assert result.exit_code in (0, 11), result.output
    assert "No knee: the engine was not saturated at the highest load." in result.output
    assert "Knee:" not in result.output
    assert "(knee)" not in result.output
