"""Whether a batch survives what it is meant to survive, and what its files cost.

    hatch run bench:batch kill
    hatch run bench:batch rows --rows 1000000

``kill``: a batch of 2,000 rows is killed (SIGKILL) at 20 points that are spread over its rows, and started again each
time; then its end is torn. Nothing may be lost or doubled, and no more work repeated than was under way.

``rows``: a batch on the echo backend in this process. It shows the memory that the run takes beyond the loaded model,
and the share of the time that files take: reading, digests, looking up and writing, done again by themselves, with as
many rows in a write as the run had on average; and the same of the processor's time, which other work disturbs less.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

from llamaforge import get_backend
from llamaforge.batch_files import BatchRun, Journal, Row, read_rows
from llamaforge.batch_files.index import RowIndex
from llamaforge.batch_files.rows import count_rows, lines_of

AT_ONCE = 8

COUNTS = """
    import os
    from llamaforge import hookimpl
    from llamaforge.observers import Observer

    class Counts(Observer):
        def on_start(self, request):
            with open(os.environ["COUNTED"], "a") as file:
                file.write("1\\n")

    @hookimpl
    def llamaforge_observer():
        return Counts
"""


def write_batch(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number in range(rows):
            body = {"messages": [{"role": "user", "content": f"What is the number {number}?"}], "max_tokens": 16}
            file.write(json.dumps({"custom_id": f"row-{number}", "url": "/v1/chat/completions", "body": body}) + "\n")


def plugin(folder: Path) -> None:
    """An observer that counts requests in a file."""
    info = folder / "counts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[llamaforge.observers]\ncounts = counts_plugin\n")
    (folder / "counts_plugin.py").write_text(textwrap.dedent(COUNTS))


def kill(rows: int, points: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batch, output, counted = folder / "in.jsonl", folder / "out.jsonl", folder / "counted"
        write_batch(batch, rows)
        plugin(folder / "plugins")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder / "plugins"), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "LLAMAFORGE_OBSERVERS": "counts",
            "COUNTED": str(counted),
        }
        command = [sys.executable, "-m", "llamaforge", "batch", "--backend", "echo", "--load", "delay=0.002"]
        command += ["--concurrency", str(AT_ONCE), "--no-progress", "-o", str(output), str(batch)]
        kills = 0
        for point in sorted(random.Random(7).sample(range(1, rows - 50), points)):
            process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
            while process.poll() is None and lines(output) < point:
                time.sleep(0.001)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.communicate()
        with output.open("ab") as file:
            file.write(b'{"custom_id": "row-')
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        found = Counter(json.loads(line)["custom_id"] for line in output.read_text().splitlines())
        return {
            "rows": rows,
            "kills": kills,
            "exit_code": done.returncode,
            "lost": rows - len(found),
            "doubled": sum(count - 1 for count in found.values()),
            "repeated": lines(counted) - rows,
            "most_repeated_allowed": kills * AT_ONCE,
        }


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def in_process(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, contextlib.closing(get_backend("echo")()) as backend:
        folder = Path(name)
        write_batch(folder / "in.jsonl", rows)
        backend.load_model("m")
        list(backend.generate_batch(["warm", "up"]))
        before = memory()
        began, spent = time.perf_counter(), time.process_time()
        with (
            contextlib.closing(Counting(folder / "out.jsonl")) as results,
            contextlib.closing(Journal(folder / "errors.jsonl")) as errors,
        ):
            run = BatchRun(lambda _: (backend, "m"), results, errors, model="m", concurrency=AT_ONCE, expected=rows)
            summary = run.run(read_rows(lines_of(folder / "in.jsonl")))
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
        most = peak()
        together = max(1, round(rows / results.writes))
        files, files_spent = min(file_handling(folder, together, number) for number in range(3))
        return {
            "rows": rows,
            "finished": summary.finished,
            "seconds": seconds,
            "memory_mb": (most - before) / 1e6,
            "rows_in_a_write": together,
            "files_us_a_row": files / rows * 1e6,
            "files_share": files / seconds,
            "files_share_of_processor": files_spent / spent,
        }


class Counting(Journal):
    """Counts how often something is written."""

    writes = 0

    def append(self, lines: bytes) -> None:  # noqa: D102
        self.writes += 1
        super().append(lines)


def file_handling(folder: Path, together: int, number: int) -> tuple[float, float]:
    """Seconds, and those of the processor, for all that is done with files and nothing else: the same rows are read,
    looked up and written, so many together."""
    answer = (folder / "out.jsonl").open("rb").readline()
    written: list[bytes] = []
    with contextlib.closing(Journal(folder / f"again-{number}.jsonl")) as journal:
        began, spent = time.perf_counter(), time.process_time()
        row: Row
        index = RowIndex(count_rows(folder / "in.jsonl"))
        for row in read_rows(lines_of(folder / "in.jsonl")):
            if index.add(row.name, row.key(b"m")) is None:
                written.append(answer)
                if len(written) == together:
                    journal.append(b"".join(written))
                    written.clear()
        journal.append(b"".join(written))
        return time.perf_counter() - began, time.process_time() - spent


def memory() -> int:
    """Bytes that this process has in memory now, of Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The most that it had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kill", "rows"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--points", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.what == "kill":
        found = kill(arguments.rows or 2000, arguments.points)
        fine = not found["lost"] and not found["doubled"] and found["repeated"] <= found["most_repeated_allowed"]
    else:
        found = in_process(arguments.rows or 1_000_000)
        fine = found["memory_mb"] <= 100 and found["files_share"] <= 0.02 and found["finished"] == found["rows"]
    print(json.dumps(found, indent=2))
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
