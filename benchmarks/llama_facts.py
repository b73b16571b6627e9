"""What decisions about llama.cpp rest on: another thread that computes, cells of others, moving a sequence out, steps
with many sequences in a shared cache and in separate ones, a prompt and answers in one call and in two, a prompt in
pieces of several sizes.

    hatch run bench:llama-facts

Everything is measured with the bare library, in turns, with SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import ctypes
import itertools
import statistics
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as lib
from measuring.llama_loops import BareLoop
from measuring.ours import gguf
from measuring.work import Prompt, rate

from forge_llamacpp.threads import usable_cores

ROUNDS = 7
N_BATCH = 128


class Sequences(BareLoop):
    """The same context, step by step."""

    def compute(self, tokens: range, begin: int, sequence: int) -> float:
        """Seconds that *tokens* of *sequence* take, from position *begin*."""
        for index, token in enumerate(tokens):
            self._add(index, token, begin + index, sequence, index == len(tokens) - 1)
        return self._decode(len(tokens))

    def beside(self, others: int) -> tuple[float, float]:
        """Milliseconds for a token of a text of 100 while another sequence holds *others*, and for 128 of a prompt."""
        lib.llama_memory_clear(self._memory, True)
        for begin in range(0, others, N_BATCH):
            self.compute(range(1000, 1000 + N_BATCH), begin, 1)
        self.compute(range(2000, 2100), 0, 0)
        each = statistics.median(self.compute(range(3000 + at, 3001 + at), 100 + at, 0) for at in range(30))
        return each * 1000, self.compute(range(4000, 4000 + N_BATCH), 130, 0) * 1000

    def moved(self, tokens: int) -> tuple[float, float]:
        """Milliseconds to move so many *tokens* out of the context and back."""
        lib.llama_memory_clear(self._memory, True)
        for begin in range(0, tokens, N_BATCH):
            self.compute(range(1000, 1000 + N_BATCH), begin, 0)
        size = lib.llama_state_seq_get_size(self._context, 0)
        buffer = (ctypes.c_uint8 * size)()  # filled with zeros: its memory is there
        start = time.perf_counter()
        lib.llama_state_seq_get_data(self._context, buffer, size, 0)
        lib.llama_memory_seq_rm(self._memory, 0, -1, -1)
        out = time.perf_counter()
        lib.llama_state_seq_set_data(self._context, buffer, size, 0)
        return (out - start) * 1000, (time.perf_counter() - out) * 1000

    def step(self, width: int, held: int) -> float:
        """Milliseconds of a step that gives each of *width* sequences, which hold *held* tokens, one more."""
        lib.llama_memory_clear(self._memory, True)
        self.fill(range(width), held)
        times = []
        for at in range(held, held + 16):
            for sequence in range(width):
                self._add(sequence, 2000 + at, at, sequence, True)
            times.append(self._decode(width))
        return statistics.median(times) * 1000

    def fill(self, sequences: range, held: int) -> None:
        """Give each of *sequences*, which are empty, *held* tokens."""
        for sequence in sequences:
            for begin in range(0, held, N_BATCH):
                self.compute(range(1000, 1000 + min(N_BATCH, held - begin)), begin, sequence)

    def beside_answers(self, answers: int, held: int, *, apart: bool) -> float:
        """Milliseconds for a token of each of *answers* sequences, which hold *held*, and for a prompt of another
        sequence in the rest of the step; in one call, or in two."""
        for sequence in range(answers):
            self._add(sequence, 2000, held, sequence, True)
        seconds = self._decode(answers) if apart else 0.0
        before = 0 if apart else answers
        for index in range(N_BATCH - answers):
            self._add(before + index, 3000 + index, index, answers, index == N_BATCH - answers - 1)
        seconds += self._decode(before + N_BATCH - answers)
        lib.llama_memory_seq_rm(self._memory, answers, -1, -1)
        for sequence in range(answers):
            lib.llama_memory_seq_rm(self._memory, sequence, held, -1)
        return seconds * 1000

    def in_pieces(self, tokens: int, piece: int) -> list[float]:
        """Seconds of each call, for a prompt of *tokens* that is computed *piece* by *piece*."""
        lib.llama_memory_clear(self._memory, True)
        return [
            self.compute(range(1000, 1000 + min(piece, tokens - begin)), begin, 0) for begin in range(0, tokens, piece)
        ]

    def _decode(self, count: int) -> float:
        """Seconds that the first *count* tokens of the batch take."""
        self._batch.n_tokens = count
        start = time.perf_counter()
        if lib.llama_decode(self._context, self._batch) != 0:
            raise RuntimeError("llama_decode failed")
        return time.perf_counter() - start


def steps(path: Path, threads: int) -> None:
    """How a step grows with its sequences, in a shared cache and in separate ones."""
    for width in (1, 2, 4, 8, 16):
        kinds: dict[str, list[float]] = {"shared": [], "separate": []}
        for number in range(ROUNDS):
            for kind in sorted(kinds, reverse=bool(number % 2)):
                with closing(Sequences(path, width, threads, N_BATCH, unified=kind == "shared")) as sequences:
                    kinds[kind].append(sequences.step(width, 256))
        medians = {kind: statistics.median(times) for kind, times in kinds.items()}
        shown = (
            f"{each:.1f} ms ({width / each * 1000:.0f} tokens/s) in a {kind} cache" for kind, each in medians.items()
        )
        print(f"a step of {width:>2} sequences of 256 tokens: {', '.join(shown)}", flush=True)


def calls(path: Path, threads: int) -> None:
    """What a step costs that holds answers of 180 tokens and a prompt: in one call of llama.cpp, and in two."""
    held, filled = 180, 0
    with closing(Sequences(path, 64, threads, N_BATCH, n_ctx=16_384)) as sequences:
        for answers in (1, 3, 7, 15, 31, 63):
            sequences.fill(range(filled, answers), held)
            filled = answers
            times: dict[bool, list[float]] = {False: [], True: []}
            for number in range(ROUNDS):
                for apart in sorted(times, reverse=bool(number % 2)):
                    times[apart].append(sequences.beside_answers(answers, held, apart=apart))
            one, two = (statistics.median(times[apart]) for apart in (False, True))
            print(f"{answers:>2} answers and a prompt: {one:.0f} ms in one call, {two:.0f} ms in two", flush=True)


def pieces(path: Path, threads: int) -> None:
    """What the size of a step does to a prompt, and to whoever waits for each of its steps."""
    tokens, sizes = 1024, (64, 128, 256, 512)
    with closing(Sequences(path, 1, threads, max(sizes))) as sequences:
        times: dict[int, list[list[float]]] = {size: [] for size in sizes}
        for number in range(ROUNDS):
            for size in sizes if number % 2 == 0 else sizes[::-1]:
                times[size].append(sequences.in_pieces(tokens, size))
    for size, found in times.items():
        whole = statistics.median(map(sum, found))
        each = statistics.median(itertools.chain.from_iterable(found)) * 1000
        print(f"a prompt of {tokens:,} tokens, {size} at a time: {whole:.2f} s, {each:.0f} ms each", flush=True)


def main() -> None:
    """Measure and print."""
    path, threads = gguf(), usable_cores()
    prompt = [Prompt(list(range(1000, 1040)), 64)]
    with closing(BareLoop(path, 1, threads, N_BATCH)) as loop, closing(BareLoop(path, 1, threads, N_BATCH)) as other:
        loop.answer(prompt)
        alone, beside = [], []
        for _ in range(ROUNDS):
            alone.append(rate(lambda: loop.answer(prompt)))
            with another_thread(other):
                beside.append(rate(lambda: loop.answer(prompt)))
        print(f"bare loop, 1 sequence: {statistics.median(alone):.1f} tokens/s", end="; ")
        print(f"while another thread rests that has computed once: {statistics.median(beside):.1f}")
    with closing(Sequences(path, 4, threads, N_BATCH)) as sequences:
        amounts = (0, 1024, 4096)
        found = [[sequences.beside(each) for each in amounts] for _ in range(ROUNDS)]
        for at, amount in enumerate(amounts):
            each, step = (statistics.median(one[at][part] for one in found) for part in (0, 1))
            print(f"{amount:>5} cells of others: {each:.2f} ms for a token, {step:.0f} ms for {N_BATCH} of a prompt")
        for tokens in (256, 1024):
            moves = [sequences.moved(tokens) for _ in range(ROUNDS)]
            out, back = (statistics.median(each) for each in zip(*moves, strict=True))
            print(f"{tokens:>5} tokens: {out:.2f} ms out of the context, {back:.2f} ms back")
    pieces(path, threads)
    calls(path, threads)
    steps(path, threads)


class another_thread:  # noqa: N801 - it is used like a function
    """A thread that computes one token and then waits for the end of the block."""

    def __init__(self, loop: Any) -> None:
        self._ready, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(loop,))

    def _run(self, loop: Any) -> None:
        loop.answer([Prompt([1000], 1)])
        self._ready.set()
        self._end.wait()

    def __enter__(self) -> None:
        self._thread.start()
        self._ready.wait()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


if __name__ == "__main__":
    main()
