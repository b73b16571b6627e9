r"""The ARPA format of n-gram models, read and written.

A text file: ``\data\`` and a count for each order; then for each order ``\N-grams:`` and a line for each n-gram, with
the decimal logarithm of its probability, its words, and the decimal logarithm of its back-off weight where it has one;
at the end ``\end\``. See ngram-format(5) of SRILM, http://www.speech.sri.com/projects/srilm/manpages/ngram-format.5.html
"""

from __future__ import annotations

import gzip
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO, cast

from .model import NgramModel

_LN_10 = math.log(10)
_WHITE = " \t\r\n"
"""What parts fields. Words of other tools' models may hold other white space."""
_IMPOSSIBLE = -99.0
"""The format's logarithm of 0. The beginning of a sentence has it: nothing is ever followed by that."""


class ArpaError(ValueError):
    """The file is damaged, or is none of this format. Attribute: ``line``, counted from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


def open_text(path: Path, mode: str = "r") -> TextIO:
    """Open a text file; one whose name ends in ``.gz`` is compressed."""
    if path.suffix.lower() == ".gz":
        return cast("TextIO", gzip.open(path, f"{mode}t", encoding="utf-8"))
    return cast("TextIO", path.open(mode, encoding="utf-8"))


def check(path: Path) -> None:
    """See whether the file begins as one of this format does: cheap, however large it is. Raises what reading does."""
    with open_text(path) as file:
        _Lines(file).expect("\\data\\")


def read(path: Path, order: int | None = None) -> NgramModel:
    """The model in the file *path*; n-grams of more than *order* words are passed over.

    Raises ArpaError for the content; OSError, EOFError, zlib.error and UnicodeDecodeError for the file.
    """
    with open_text(path) as file:
        lines = _Lines(file)
        lines.expect("\\data\\")
        counts = _read_counts(lines)
        vocabulary: dict[str, int] = {}
        logprobs: defaultdict[tuple[int, ...], dict[int, float]] = defaultdict(dict)
        backoffs: dict[tuple[int, ...], float] = {}
        used = min(order or len(counts), len(counts))
        for size, count in enumerate(counts, start=1):
            lines.expect(f"\\{size}-grams:")
            for _ in range(count):
                logprob, words, backoff = _read_ngram(lines, size)
                if size == 1:
                    vocabulary.setdefault(words[0], len(vocabulary))
                if size <= used:
                    *context, word = [_known(lines, vocabulary, each) for each in words]
                    logprobs[tuple(context)][word] = logprob
                    backoffs[*context, word] = backoff
        lines.expect("\\end\\")
        for _ in file:  # a compressed file is known to be whole only once it was read to its end
            pass
    return NgramModel(list(vocabulary), dict(logprobs), {key: value for key, value in backoffs.items() if value}, used)


def write(model: NgramModel, file: TextIO) -> None:
    """Write *model* to an open text file."""
    by_size: defaultdict[int, dict[tuple[int, ...], float]] = defaultdict(dict)
    for context, followers in model.logprobs.items():
        for word, logprob in followers.items():
            by_size[len(context) + 1][*context, word] = logprob
    file.write("\\data\\\n")
    file.writelines(f"ngram {size}={len(by_size[size])}\n" for size in range(1, model.order + 1))
    for size in range(1, model.order + 1):
        file.write(f"\n\\{size}-grams:\n")
        for ids, logprob in sorted(by_size[size].items()):
            words = " ".join(model.vocabulary[each] for each in ids)
            backoff = model.backoffs.get(ids)
            tail = f"\t{backoff / _LN_10:.7f}" if backoff else ""
            file.write(f"{max(logprob / _LN_10, _IMPOSSIBLE):.7f}\t{words}{tail}\n")
    file.write("\n\\end\\\n")


class _Lines:
    """The lines that are not empty, and where we are, for errors."""

    def __init__(self, file: Iterable[str]) -> None:
        self._lines = enumerate(file, start=1)
        self._at = 0
        self._ahead: str | None = None

    def take(self) -> str:
        """The next line."""
        line = self.look()
        self._ahead = None
        return line

    def look(self) -> str:
        """The next line, which stays there to be taken."""
        while self._ahead is None:
            self._at, line = next(self._lines, (self._at + 1, None))
            if line is None:
                raise self.error("the file ends too early")
            self._ahead = line.strip(_WHITE) or None
        return self._ahead

    def expect(self, wanted: str) -> None:
        """Take the next line, which must be *wanted*."""
        found = self.take()
        if found != wanted:
            raise self.error(f"{wanted} was expected, not {found[:40]!r}")

    def error(self, reason: str) -> ArpaError:
        """The error for what was looked at last."""
        return ArpaError(self._at, reason)


def _read_counts(lines: _Lines) -> list[int]:
    """How many n-grams there are of each order."""
    counts: list[int] = []
    while lines.look().startswith("ngram"):
        size, _, count = lines.take().removeprefix("ngram").partition("=")
        if size.strip() != str(len(counts) + 1) or not count.strip().isdecimal():
            raise lines.error(f"'ngram {len(counts) + 1}=COUNT' was expected")
        counts.append(int(count))
    if not counts or not counts[0]:
        raise lines.error("there are no 1-grams")
    return counts


def _read_ngram(lines: _Lines, size: int) -> tuple[float, list[str], float]:
    """Logarithm of the probability, words, logarithm of the back-off weight."""
    fields = re.split(f"[{_WHITE}]+", lines.take())
    if not size + 1 <= len(fields) <= size + 2:
        raise lines.error(f"a {size}-gram was expected: a number, {size} words, and perhaps another number")
    try:
        decimal, backoff = float(fields[0]), float(fields[size + 1]) if len(fields) > size + 1 else 0.0
    except ValueError:
        raise lines.error("a logarithm is no number") from None
    if not (decimal <= 0 and math.isfinite(decimal) and math.isfinite(backoff)):
        raise lines.error(f"{decimal} can't be the logarithm of a probability, or {backoff} of a weight")
    return (-math.inf if decimal <= _IMPOSSIBLE else decimal * _LN_10), fields[1 : size + 1], backoff * _LN_10


def _known(lines: _Lines, vocabulary: dict[str, int], word: str) -> int:
    try:
        return vocabulary[word]
    except KeyError:
        raise lines.error(f"the word {word!r} is not among the 1-grams") from None
