"""``llamaforge batch``."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.plugins import make_distribution

ROWS = 120
AT_ONCE = 4

COUNTS = """
    import os
    from llamaforge import hookimpl
    from llamaforge.observers import Observer

    class Counts(Observer):
        content = True

        def on_start(self, request):
            with open(os.environ["COUNTED"], "a") as file:
                file.write(request.prompt + "\\n")

    @hookimpl
    def llamaforge_observer():
        return Counts
"""


def batch_file(folder: Path, rows: int = ROWS) -> Path:
    path = folder / "in.jsonl"
    with path.open("w") as file:
        for number in range(rows):
            body = {"prompt": f"prompt {number}", "max_tokens": 50}
            file.write(json.dumps({"custom_id": str(number), "url": "/v1/completions", "body": body}) + "\n")
    return path


def answers(path: Path) -> dict[str, str]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert max(Counter(each["custom_id"] for each in found).values(), default=1) == 1, "a row was answered twice"
    return {each["custom_id"]: each["response"]["body"]["choices"][0]["text"] for each in found}


def test_a_file_is_answered(llamaforge: Any, tmp_path: Path) -> None:
    path = batch_file(tmp_path, 10)
    done = llamaforge("batch", "--backend", "echo", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "10 answered" in done.stderr
    assert answers(tmp_path / "in.results.jsonl") == {str(number): f"prompt {number}" for number in range(10)}
    again = llamaforge("batch", "--backend", "echo", str(path))
    assert again.returncode == 0
    assert "0 answered" in again.stderr
    assert "10 were answered before" in again.stderr


def test_rows_that_fail_are_told_by_the_exit_code(quickly: Any, tmp_path: Path) -> None:
    path = batch_file(tmp_path, 3)
    path.write_text(path.read_text() + "nonsense\n")
    done = quickly("batch", "--backend", "echo", "-o", str(tmp_path / "out.jsonl"), str(path))
    assert done.returncode == 5
    assert len(answers(tmp_path / "out.jsonl")) == 3
    assert json.loads((tmp_path / "out.errors.jsonl").read_text())["error"]["code"] == "invalid_row"


def test_rows_may_name_their_models(quickly: Any, tmp_path: Path) -> None:
    quickly.fine("models", "add", "mine", "some/path", "--backend", "echo")
    path = tmp_path / "in.jsonl"
    rows = [
        {"custom_id": name, "url": "/v1/completions", "body": {"model": name, "prompt": "hi"}}
        for name in ("mine", "nobody-knows-it")
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    done = quickly("batch", str(path))
    assert done.returncode == 5
    (found,) = map(json.loads, (tmp_path / "in.results.jsonl").read_text().splitlines())
    assert (found["custom_id"], found["response"]["body"]["model"]) == ("mine", "mine")
    error = json.loads((tmp_path / "in.results.errors.jsonl").read_text())
    assert error["response"]["status_code"] == 404
    assert error["response"]["body"]["error"]["code"] == "model_not_found"
    assert error["response"]["body"]["error"]["param"] == "model"


def test_vectors_need_no_other_option(quickly: Any, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "hello"}}))
    done = quickly("batch", "--backend", "echo", str(path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "in.results.jsonl").read_text())
    assert len(found["response"]["body"]["data"][0]["embedding"]) == 256


def test_vectors_without_a_model_come_from_the_one_for_vectors(
    quickly: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llamaforge import forge
    from llamaforge.models import ModelEntry

    builtin = ModelEntry(name="vectors", path="vectors", backend="echo", parameters={"task": "embed"})
    monkeypatch.setattr(forge, "DEFAULT_EMBEDDING_MODEL", builtin)
    monkeypatch.setattr(forge, "BUILT_IN", {**forge.BUILT_IN, "vectors": builtin})
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "hello"}}))
    done = quickly("batch", str(path))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "in.results.jsonl").read_text())["response"]["body"]["model"] == "vectors"


@pytest.mark.parametrize("shard", ["0/2", "3/2", "a/b", "2", "1/"])
def test_shards_that_do_not_exist(quickly: Any, tmp_path: Path, shard: str) -> None:
    done = quickly("batch", "--backend", "echo", "--shard", shard, str(batch_file(tmp_path, 1)))
    assert done.returncode == 2
    assert "I/N" in done.stderr


def test_shards_have_files_of_their_own(quickly: Any, tmp_path: Path) -> None:
    path = batch_file(tmp_path, 5)
    for shard in ("1/2", "2/2"):
        assert quickly("batch", "--backend", "echo", "--shard", shard, str(path)).returncode == 0
    first = answers(tmp_path / "in.results.1-of-2.jsonl")
    second = answers(tmp_path / "in.results.2-of-2.jsonl")
    assert (set(first), set(second)) == ({"0", "2", "4"}, {"1", "3"})


def test_a_file_cannot_be_its_own_output(quickly: Any, tmp_path: Path) -> None:
    path = batch_file(tmp_path, 1)
    before = path.read_bytes()
    assert quickly("batch", "--backend", "echo", "-o", str(path), str(path)).returncode == 2
    assert path.read_bytes() == before


def test_a_run_that_was_killed_goes_on(llamaforge: Any, tmp_path: Path) -> None:
    """Killed once some answers are there; nothing is lost, nothing doubled, and only what was under way is repeated."""
    make_distribution(
        llamaforge.plugins, "counts", {"llamaforge.observers": {"counts": "counts_plugin"}}, {"counts_plugin": COUNTS}
    )
    path, output, counted = batch_file(tmp_path), tmp_path / "out.jsonl", tmp_path / "counted"
    llamaforge.environment |= {"COUNTED": str(counted), "LLAMAFORGE_OBSERVERS": "counts"}
    options = ("--backend", "echo", "--load", "delay=0.005", "--concurrency", str(AT_ONCE), "-o", str(output))
    kills = 0
    for until in (1, 30, 60):
        process = llamaforge.start("batch", *options, str(path))
        while (output.read_bytes().count(b"\n") if output.exists() else 0) < until:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
    with output.open("ab") as file:  # as a crash amid a write leaves it
        file.write(b'{"custom_id": "119", "resp')
    process = llamaforge.start("batch", *options, str(path))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert b"torn" in said
    assert answers(output) == {str(number): f"prompt {number}" for number in range(ROWS)}
    repeated = len(counted.read_text().splitlines()) - ROWS
    assert repeated <= kills * AT_ONCE


def test_ctrl_c_keeps_what_is_done(llamaforge: Any, tmp_path: Path) -> None:
    path, output = batch_file(tmp_path), tmp_path / "out.jsonl"
    options = ("batch", "--backend", "echo", "--load", "delay=0.005", "--concurrency", "2", "-o", str(output))
    process = llamaforge.start(*options, str(path))
    while not (output.exists() and output.read_bytes()):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    before = answers(output)
    assert before
    process = llamaforge.start(*options, str(path))
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert {name: text for name, text in answers(output).items() if name in before} == before
    assert len(answers(output)) == ROWS


def test_a_pipe_is_read_once(llamaforge: Any, tmp_path: Path) -> None:
    import os
    import threading

    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = batch_file(tmp_path, 5).read_bytes()
    writer = threading.Thread(target=lambda: path.write_bytes(content))
    writer.start()
    process = llamaforge.start("batch", "--backend", "echo", "-o", str(tmp_path / "out.jsonl"), str(path))
    _, said = process.communicate(timeout=300)
    writer.join()
    assert process.returncode == 0, said
    assert len(answers(tmp_path / "out.jsonl")) == 5
