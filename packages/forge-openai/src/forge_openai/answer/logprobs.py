"""Log-probabilities, from the shapes in which servers send them."""

from __future__ import annotations

import math

from llamaforge.results import TokenLogprob

from .characters import mend
from .chunks import LogprobItem, Logprobs


def read_logprobs(sent: Logprobs | None, alternatives: int) -> tuple[TokenLogprob, ...]:
    """Each token with its *alternatives* best ones, best first.

    The older completions send one alternative more where the sampled token isn't among the best; it is left off.
    """
    if sent is None:
        return ()
    if sent.content is not None:
        return tuple(_read_item(item, alternatives) for item in sent.content)
    tokens, values = sent.tokens or [], sent.token_logprobs or []
    tops = sent.top_logprobs or [None] * len(tokens)
    return tuple(
        TokenLogprob(
            mend(token),
            _number(value),
            top=_best([TokenLogprob(mend(t), _number(v)) for t, v in (top or {}).items()], alternatives),
        )
        for token, value, top in zip(tokens, values, tops, strict=False)
    )


def _read_item(item: LogprobItem, alternatives: int) -> TokenLogprob:
    others = [TokenLogprob(mend(other.token), _number(other.logprob), other.id) for other in item.top_logprobs or ()]
    return TokenLogprob(mend(item.token), _number(item.logprob), item.id, _best(others, alternatives))


def _best(tokens: list[TokenLogprob], count: int) -> tuple[TokenLogprob, ...]:
    return tuple(sorted(tokens, key=lambda token: -token.logprob)[:count])


def _number(value: float | None) -> float:
    # A server that isn't strict about JSON sends NaN where a probability of 0 underflowed.
    return -math.inf if value is None or math.isnan(value) else float(value)
