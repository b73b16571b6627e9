"""Who gets how many tokens of a step. Pure: numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence


def split_budget(pending: Sequence[int], budget: int) -> list[int]:
    """How many of each request's pending tokens the next step computes.

    Answers under way (one token pending) go first, so that a prompt never stalls them. Of what is left the oldest
    prompt gets half, or all that it needs if that is less: whatever arrives, it gets on. The rest goes to the shortest
    prompts first, so that a short one doesn't wait for a long one.

    Args:
        pending: tokens that each request still has to have computed, at least 1 each, oldest request first.
        budget: tokens that the step may have, at least 1.
    """
    shares = [0] * len(pending)
    prompts = []
    for index, tokens in enumerate(pending):
        if tokens > 1:
            prompts.append(index)
        elif budget:
            shares[index] = 1
            budget -= 1
    if not prompts or not budget:
        return shares
    oldest = prompts[0]
    shares[oldest] = min(pending[oldest], (budget + 1) // 2)
    budget -= shares[oldest]
    for index in sorted(prompts, key=lambda index: (pending[index], index)):
        more = min(pending[index] - shares[index], budget)
        shares[index] += more
        budget -= more
    return shares
