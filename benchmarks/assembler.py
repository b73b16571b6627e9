"""What exact text costs: microseconds per token in ``llamaforge.text``, by length of the answer and by stop strings.

    hatch run bench:assembler

Processor time of this thread, the best of several rounds, because whatever else runs on the machine only adds to it;
lengths and kinds take turns, so that a change of the machine's speed falls on all alike. Making an assembler is timed
apart: it happens once a request. The bar: a token costs the same in the longest answer as in the shortest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time

from llamaforge import __version__
from llamaforge.text import TextAssembler

LENGTHS = (100, 1_000, 10_000, 100_000)
STOPS = (
    *("\n\nUser:", "<|im_end|>", "###", "\nQ:", "</s>", "\nObservation:", "STOP", "```", "\n\n\n", "[DONE]"),
    *("<|eot_id|>", "\nHuman:", "\nAssistant:", "---", "END OF TEXT", "Question:"),
)
COUNTS = (0, 1, 4, 16)
WORDS = b"The| capital| of| France| is| Paris|,| and| the| End|\n|##| of| <|a| Qu|estion|\n|User|: |ST|I|LL".split(b"|")
CHARACTERS = "Größe 漢字かな交じり文 Привет 👩‍👩‍👧‍👦 e\u0301 🇫🇷 \ufffd\n"
TEXTS = {
    "words": WORDS,
    "single bytes": [bytes([byte]) for byte in CHARACTERS.encode()],
}


def microseconds(tokens: list[bytes], stops: tuple[str, ...], repeats: int) -> float:
    """Processor time per token, over *repeats* answers of those tokens."""
    assemblers = [TextAssembler(stops) for _ in range(repeats)]
    start = time.thread_time()
    for assembler in assemblers:
        feed = assembler.feed
        for token in tokens:
            feed(token)
        assembler.finish()
    spent = time.thread_time() - start
    if any(assembler.matched is not None for assembler in assemblers):
        raise ValueError("A stop string is in the text: what came after it was not assembled.")
    return spent / repeats / len(tokens) * 1e6


def microseconds_to_make(stops: tuple[str, ...]) -> float:
    """Processor time of making an assembler."""
    start = time.thread_time()
    for _ in range(200):
        TextAssembler(stops)
    return (time.thread_time() - start) / 200 * 1e6


def main() -> None:
    """Time every kind and print the best rounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()

    kinds = list(itertools.product(TEXTS, COUNTS))
    times: dict[tuple[str, int], dict[int, list[float]]] = {kind: {length: [] for length in LENGTHS} for kind in kinds}
    made: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(options.rounds):
        for length in LENGTHS:
            for text, count in kinds:
                tokens = list(itertools.islice(itertools.cycle(TEXTS[text]), length))
                spent = microseconds(tokens, STOPS[:count], max(1, 10_000 // length))
                times[text, count][length].append(spent)
        for count in COUNTS:
            made[count].append(microseconds_to_make(STOPS[:count]))

    best = {kind: {length: min(each[length]) for length in LENGTHS} for kind, each in times.items()}
    making = {count: min(each) for count, each in made.items()}
    versions = {"forge-core": __version__, "python": platform.python_version()}
    if options.json:
        rows = [
            {"text": text, "stops": count, "microseconds_per_token": each, "microseconds_to_make": making[count]}
            for (text, count), each in best.items()
        ]
        json.dump({"versions": versions, "rounds": options.rounds, "rows": rows}, sys.stdout, indent=2)
        print()
        return
    print(", ".join(f"{name} {each}" for name, each in versions.items()), end="; ")
    print(f"{options.rounds} rounds; microseconds per token, by tokens in the answer")
    head = "".join(f"{length:>10,}" for length in LENGTHS)
    print(f"{'text':<14}{'stops':>6}{head}{'longest/shortest':>19}{'to make':>10}")
    for (text, count), each in best.items():
        cells = "".join(f"{each[length]:>10.2f}" for length in LENGTHS)
        print(f"{text:<14}{count:>6}{cells}{each[LENGTHS[-1]] / each[LENGTHS[0]]:>19.2f}{making[count]:>10.1f}")


if __name__ == "__main__":
    main()
