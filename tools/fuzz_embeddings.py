"""Texts of any kind, length and number for a model of vectors or scores: no crash, and no errors but typed ones.

    hatch run bench:embeddings-fuzz --engine llama.cpp --model encoder.gguf --minutes 10

Texts have 0 to 100,000 characters, and calls have 1 to 10,000 texts or lists of token ids, from 1 to 8 threads. The
model is loaded with other widths and lengths every few calls. Each round runs in a process of its own, so that one that
dies is found, too: its seed is printed, and ``--seed`` with ``--rounds 1`` repeats it. Ends with exit code 1 then.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_CALLS = 12
"""Calls of a round."""
_MOST_CHARACTERS = 300_000
"""Of a call, so that it ends in time."""
_SECONDS = 20.0
"""For a call; more end with a typed error."""
_LETTERS: dict[str, Callable[[random.Random], str]] = {
    "words": lambda dice: dice.choice("etaoin shrdlu  \n"),
    "one letter": lambda _: "x",
    "spaces": lambda dice: dice.choice(" \t\n\u3000"),
    "any character": lambda dice: chr(dice.choice([dice.randrange(0xD800), dice.randrange(0xE000, 0x110000)])),
    "anything": lambda dice: chr(dice.randrange(0x110000)),  # halves of surrogate pairs as well
    "marks": lambda dice: dice.choice("[]<>|/_#CLSEPMASK"),
}


def text(dice: random.Random, most: int) -> str:
    """A text of 0 to *most* characters; short ones are as frequent as long ones."""
    length = min(most, int(10 ** dice.uniform(0, 5)) - 1 if dice.random() > 0.05 else 0)
    letter = _LETTERS[dice.choice(list(_LETTERS))]
    piece = "".join(letter(dice) for _ in range(min(length, 997)))
    return (piece * (length // max(1, len(piece)) + 1))[:length]


def inputs(dice: random.Random) -> list[Any]:
    """1 to 10,000 texts or lists of token ids."""
    count = int(10 ** dice.uniform(0, 4))
    most = max(1, min(100_000, _MOST_CHARACTERS // count))
    made: list[Any] = []
    for _ in range(count):
        if dice.random() < 0.1:
            made.append([dice.choice([0, 1, 2, 100, 2**31 - 1, -1]) for _ in range(min(most, dice.randrange(600)))])
        else:
            made.append(text(dice, most))
    if dice.random() < 0.7:  # else most calls end at their first bad text
        made = [each for each in made if each if isinstance(each, str) and each.strip() and each.isprintable()] or ["x"]
    return made


def options(dice: random.Random) -> dict[str, Any]:
    """Options of a call, in and out of bounds."""
    every = {
        "dimensions": dice.choice([1, 7, 32, 10**6]),
        "normalize": dice.choice([True, False]),
        "prompt_name": dice.choice(["query", "document"]),
        "truncation": dice.choice(["auto", "auto", "disabled"]),
    }
    chosen = {name: value for name, value in every.items() if dice.random() < (0.7 if name == "truncation" else 0.1)}
    return {"timeout": _SECONDS, "on_unsupported": dice.choice(["drop", "drop", "error"]), **chosen}


def load_parameters(engine: str, dice: random.Random) -> dict[str, Any]:
    """Widths and lengths."""
    if engine not in ("llama.cpp", "huggingface"):
        return {"task": "embed"}
    found: dict[str, Any] = {}
    if dice.random() < 0.6:
        found["n_batch"] = int(10 ** dice.uniform(0, 3.5))
    if dice.random() < 0.4:
        found["n_ctx"] = dice.randrange(2, 250)
    if engine == "llama.cpp" and dice.random() < 0.5:
        found["flash_attn"] = dice.choice([True, False])
    return found


def play(engine: str, model: str, seed: int) -> None:
    """One round. Raises what is no typed error."""
    from llamaforge import get_backend
    from llamaforge.errors import LlamaForgeError

    dice = random.Random(seed)  # noqa: S311 - it guards nothing
    parameters = load_parameters(engine, dice)
    print(parameters, flush=True)
    with get_backend(engine)() as backend:
        try:
            backend.load_model(model, parameters)
        except LlamaForgeError as error:
            print("not loaded:", error, flush=True)
            return
        ranks = "rerank" in backend.capabilities.tasks
        wrong: list[BaseException] = []
        done: dict[str, int] = {}

        def call(own: random.Random) -> None:
            try:
                given = inputs(own)
                if ranks:
                    texts = [each for each in given if isinstance(each, str)]
                    backend.rerank(text(own, 300), texts, truncation="auto", timeout=_SECONDS)
                else:
                    vectors = backend.embed(given, **options(own))
                    if len(vectors) != len(given):
                        raise AssertionError(f"{len(vectors)} vectors for {len(given)} texts")
                kind = "answered"
            except LlamaForgeError as error:
                kind = type(error).__name__
            except BaseException as error:  # noqa: BLE001 - it is what is looked for
                wrong.append(error)
                return
            done[kind] = done.get(kind, 0) + 1

        while sum(done.values()) < _CALLS and not wrong:
            callers = [
                threading.Thread(target=call, args=(random.Random(dice.random()),))  # noqa: S311
                for _ in range(dice.choice([1, 1, 2, 8]))
            ]
            for each in callers:
                each.start()
            for each in callers:
                each.join()
        print(done, flush=True)
        if wrong:
            raise wrong[0]


def main() -> int:
    """Play rounds until the time is over, or one goes wrong."""
    parser = argparse.ArgumentParser(description="Texts of any kind for a model of vectors or scores.")
    parser.add_argument("--engine", default="llama.cpp", help="the backend")
    parser.add_argument("--model", required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, help="at most so many")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        play(given.engine, given.model, given.seed)
        return 0
    until, played = time.monotonic() + 60 * given.minutes, 0
    while time.monotonic() < until and (given.rounds is None or played < given.rounds):
        seed = given.seed + played
        child = [sys.executable, __file__, "--child", "--engine", given.engine, "--model", given.model]
        ended = subprocess.run([*child, "--seed", str(seed)], capture_output=True, text=True, errors="replace")
        print(f"seed {seed}: {' '.join(ended.stdout.split(chr(10)))}", flush=True)
        if ended.returncode != 0:
            print(f"Round {seed} ended with exit code {ended.returncode}:\n{ended.stderr[-3000:]}", flush=True)
            return 1
        played += 1
    print(f"{played} rounds, nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
