"""Makes one request from the values of the caller, the named model, the model itself and core."""

from __future__ import annotations

import functools
import secrets as random_bits
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import ConflictingParametersError, UnsupportedError
from ..messages import Message
from ..parameters import DEFAULTS, UNIVERSAL, canonical
from .generation import GenerationRequest, build_request


class ResolvedRequest(NamedTuple):
    """A request as a backend gets it, and the parameters that were dropped."""

    request: GenerationRequest
    """Checked; core's defaults are filled in, unless a server chooses them."""
    dropped: tuple[str, ...]
    """Parameters that the backend doesn't support and that were dropped because of ``on_unsupported="drop"``."""


def resolve_request(
    prompt: str | None,
    messages: Iterable[Message | Mapping[str, object]] | None,
    parameters: Mapping[str, object] | None,
    *,
    backend: str,
    supported: frozenset[str],
    server_defaults: bool = False,
    named: Mapping[str, object] | None = None,
    model: Mapping[str, object] | None = None,
) -> ResolvedRequest:
    """Make one request from all sources of parameters.

    For each parameter, the first of these that sets it wins: the caller, the named model, the model's own
    recommendation, core's default.

    Args:
        prompt: the prompt, or None where *messages* are given.
        messages: the conversation, or None.
        parameters: the caller's parameters, under canonical names or aliases.
        backend: its name, for errors.
        supported: canonical parameters that the backend honours.
        server_defaults: whether a server chooses unset parameters, so that core's defaults don't apply.
        named: canonical parameters of the named model.
        model: canonical parameters that the model recommends.

    If core's defaults apply, a sampled request without a seed gets a random one, which the result can report.

    Raises a RequestError: UnsupportedError for a parameter that the caller or the named model sets and the backend
    doesn't support, unless ``on_unsupported`` is ``"drop"``.
    """
    given = canonical(parameters)
    if named:
        given = {**named, **given}
    dropped: tuple[str, ...] = ()
    if not (supported >= given.keys()):
        unable = [name for name in given if name not in supported and name not in UNIVERSAL]
        if unable:
            build_request(prompt, messages, given)  # a wrong value is named first, and even if it would be dropped
            if given.get("on_unsupported") != "drop":
                raise UnsupportedError(
                    f"the parameter{'s' if len(unable) > 1 else ''} {', '.join(unable)}",
                    backend,
                    'Leave it out, or pass on_unsupported="drop" to ignore it.',
                )
            dropped = tuple(unable)
            for name in unable:
                del given[name]
    values = {**model, **given} if model else given
    if not server_defaults:
        values = {**_core_defaults(supported), **values}
        if "seed" not in values and values.get("temperature") != 0 and "seed" in supported:
            values["seed"] = random_bits.randbits(32)
    return ResolvedRequest(build_request(prompt, messages, values), dropped)


@functools.lru_cache(maxsize=256)
def _core_defaults(supported: frozenset[str]) -> Mapping[str, object]:
    return {name: value for name, value in DEFAULTS.items() if name in supported}


def merge_parameters(
    parameters: Mapping[str, object] | None, more: Mapping[str, object]
) -> Mapping[str, object] | None:
    """Parameters given as a mapping and by name, together.

    Raises ConflictingParametersError if they have different values for one name.
    """
    if not more:
        return parameters
    if not parameters:
        return more
    merged = dict(parameters)
    for name, value in more.items():
        if name in merged and merged[name] != value:
            raise ConflictingParametersError(
                [f"parameters[{name!r}]", name],
                f"{name} is passed twice, as parameters[{name!r}] and as a keyword, with different values.",
            )
        merged[name] = value
    return merged
