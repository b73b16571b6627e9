"""How long a context may be: one rule for all engines."""

from __future__ import annotations

from typing import Any, Final

from ..errors import InvalidParameterError

USUAL_CONTEXT: Final = 4096
"""Tokens of context of a model that doesn't say for how many it was trained."""


def trained_context(declared: Any, *, scaling: Any = None, factor: Any = None, original: Any = None) -> int | None:
    """The tokens of context that a model was trained for; None where its files don't say.

    Args:
        declared: what they say (``max_position_embeddings``, ``context_length``).
        scaling: how they stretch the rotary embedding. ``"yarn"`` multiplies *original* by *factor* (YaRN, Peng et al.
            2023), and makers leave *declared* as it was.
        factor, original: of that scaling.
    """
    found = declared if type(declared) is int and declared > 0 else None
    if scaling == "yarn" and type(original) is int and isinstance(factor, int | float) and found is not None:
        return max(found, int(original * factor))
    return found


def context_length(asked: int | None, trained: int | None, *, usual: int | None = None, stretched: bool = False) -> int:
    """The tokens of context to load a model with.

    Args:
        asked: the load parameter ``n_ctx``. None leaves it to the engine; 0 is all that the model was trained for.
        trained: what the model was trained for; None where nobody knows.
        usual: the most that the engine takes by itself. None: all that the model was trained for.
        stretched: whether the caller has load parameters that stretch the model's positions. Then they know better.

    Raises InvalidParameterError where *asked* is more than the model was trained for: beyond, a model writes nonsense
    or fails, and nobody would see why.
    """
    if asked:
        if trained is not None and asked > trained and not stretched:
            message = f"n_ctx must be at most {trained}, the context that this model was trained for, not {asked}."
            raise InvalidParameterError("n_ctx", asked, f"at most {trained}", message=message)
        return asked
    whole = trained or usual or USUAL_CONTEXT
    return whole if asked == 0 or usual is None else min(whole, usual)
