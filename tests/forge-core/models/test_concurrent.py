"""Several processes change one file at the same time, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

from llamaforge.models import ModelEntry, ModelFile

ADDER = """
    import sys
    from pathlib import Path
    from llamaforge.models import ModelEntry, ModelFile
    file = ModelFile(Path(sys.argv[1]))
    sys.stdin.readline()
    for number in range(int(sys.argv[3])):
        file.add(ModelEntry(f"{sys.argv[2]}-{number}", "x.gguf", parameters={"n_ctx": number}))
        if number % 3 == 0:
            file.remove(f"{sys.argv[2]}-{number}")
"""


def test_processes_that_add_and_remove_at_once(tmp_path: Path) -> None:
    path, count = tmp_path / "models.toml", 20
    path.write_text("# mine\n[models.first]\npath = 'x'\n")
    program = [sys.executable, "-c", textwrap.dedent(ADDER)]
    children = [
        subprocess.Popen([*program, str(path), name, str(count)], stdin=subprocess.PIPE, text=True) for name in "abcd"
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")  # all are up: now at once
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=120)
    assert [child.returncode for child in children] == [0] * len(children)
    expected = {f"{name}-{number}" for name in "abcd" for number in range(count) if number % 3}
    entries = ModelFile(path).load()
    assert entries.keys() == expected | {"first"}
    assert all(entries[name].parameters == {"n_ctx": int(name[2:])} for name in expected)
    assert path.read_text().startswith("# mine\n")


def test_threads_that_add_while_others_read(tmp_path: Path) -> None:
    file = ModelFile(tmp_path / "models.toml")
    errors: list[BaseException] = []
    done = threading.Event()

    def add(name: str) -> None:
        for number in range(10):
            file.add(ModelEntry(f"{name}-{number}", "x"))

    def read() -> None:
        seen = 0
        while not done.is_set():
            try:
                found = len(file.load())  # a file that is written in place would now and then be half a file
                assert found >= seen
                seen = found
            except BaseException as error:
                errors.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    adders = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in adders:
        thread.start()
    for thread in adders:
        thread.join()
    done.set()
    reader.join()
    assert errors == []
    assert len(file.load()) == 40
