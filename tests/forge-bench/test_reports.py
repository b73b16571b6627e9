"""Files and tables."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from forge_bench import SLO, Level, Results
from forge_bench.metrics import STATISTICS, summarize
from forge_bench.records import Record, Trial
from forge_bench.reports.table import show
from llamaforge.errors import InvalidParameterError


@pytest.fixture
def results() -> Results:
    levels = []
    for rate in (1.0, 2.0):
        trials = []
        for number in range(3):
            records = [
                Record(
                    index=index,
                    intended=index / rate,
                    sent=index / rate,
                    end=index / rate + 0.5,
                    prompt_tokens=3,
                    chunk_times=[index / rate + 0.1 + number / 100, index / rate + 0.5],
                    completion_tokens=8,
                    finish_reason="length",
                    error="<broken> & gone" if index == 3 else None,
                )
                for index in range(6)
            ]
            trials.append(Trial(records=records, duration=6 / rate, offered=rate))
        metrics = summarize(trials, slo=SLO(ttft=1))
        levels.append(Level(arrival_rate=rate, metrics=metrics, trials=trials, reasons=["starved"] * (rate == 2)))
    return Results(
        target="<server> & co",
        mode="serve",
        levels=levels,
        arrival_pattern="poisson",
        knee=0,
        saturated=True,
        slo=SLO(ttft=1),
        settings={"trials": 3, "runs": 6},
        notes=["a <note>"],
    )


def test_what_is_saved_can_be_loaded(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "r.json")
    again = Results.load_file(tmp_path / "r.json")
    assert again == results
    assert not again.valid


def test_each_metric_is_an_object(results: Results) -> None:
    found = json.loads(results.to_json())
    for level in found["levels"]:
        assert len(level["trials"][0]["records"]) == 6
        for metric in level["metrics"].values():
            assert {"unit", "count", *STATISTICS} <= metric.keys()
        assert level["metrics"]["ttft"]["intervals"].keys() == set(STATISTICS)
    assert "trials" not in json.loads(results.to_json(requests=False))["levels"][0]


def test_rows(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "r.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text("utf-8"))))
    assert {row["level"] for row in rows} == {"1/s", "2/s"}
    (ttft,) = [row for row in rows if row["metric"] == "ttft" and row["level"] == "1/s"]
    assert float(ttft["mean_low"]) <= float(ttft["mean"]) <= float(ttft["mean_high"])
    results.save(tmp_path / "r.requests.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.requests.csv").read_text("utf-8"))))
    assert len(rows) == 2 * 3 * 6
    assert {row["error"] for row in rows} == {"", "<broken> & gone"}
    assert float(rows[0]["ttft"]) == pytest.approx(0.1)


def test_a_page_needs_nothing_from_outside(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert not re.search(r"(?:src|href)=|url\(|@import|<script|<link", page)
    assert page.count("<svg") == 5  # three plots, a timeline for each level
    assert "&lt;server&gt; &amp; co" in page
    assert "<server>" not in page
    assert "Not valid (2/s): starved" in page


def test_a_table_says_what_to_know(results: Results) -> None:
    out = io.StringIO()
    show(results, Console(file=out, width=100))
    text = out.getvalue()
    assert "INVALID (2/s): starved" in text
    assert "Knee: 1/s" in text
    assert "Note: a <note>" in text
    assert "goodput" in text
    assert "\x1b" not in text


def test_a_picture(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["r", "r.xlsx"])
def test_another_ending(results: Results, name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="ends in"):
        results.save(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "holds no results"), ('{"format": 99, "target": "", "mode": "", "levels": []}', "format is 99")],
)
def test_another_file(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(InvalidParameterError, match=message):
        Results.load_file(path)
