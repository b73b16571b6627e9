"""Makes one request from the values of the caller, the named model, the model itself and core."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ..errors import ConflictingParametersError, RequestError, UnsupportedError
from ..errors.request import named_parameters
from ..messages import Message
from ..parameters import DEFAULTS, UNIVERSAL, canonical, read_parameters
from ..validation import check_mapping, plain_value
from .generation import GenerationRequest, build_request

_DROP: Final = 'Leave it out, or pass on_unsupported="drop" to ignore it.'

_seeds: Final = random.Random()  # noqa: S311 - of samplers; our own, so that the host's global one stays as it is
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_seeds.seed)  # or all children would draw the same


class Defaults(NamedTuple):
    """Generation parameters that apply where the caller sets none."""

    values: Mapping[str, object]
    """By canonical name."""
    place: str
    """Where they are set, for errors: the subject of a sentence."""
    samples: bool = False
    """Whether they say ``do_sample=True``."""

    @classmethod
    def read(cls, parameters: Mapping[str, object], place: str) -> Defaults:
        """Check *parameters*. Raises the errors of :func:`~llamaforge.parameters.read_parameters`; with *place*."""
        try:
            check_mapping(parameters)
            read_parameters(parameters)
        except RequestError as error:
            error.add_place(place)
            raise
        return cls(canonical(parameters), place, _is_true((parameters or {}).get("do_sample")))

    def say_where(self, own: Mapping[str, object], error: RequestError) -> None:
        """Say in *error* that the wrong value is one of these, unless it is one of the caller's *own*."""
        about = named_parameters(error) & self.values.keys()
        if about and not about & own.keys():
            error.add_place(self.place)


class ResolvedRequest(NamedTuple):
    """A request as a backend gets it, and the parameters that were dropped."""

    request: GenerationRequest
    """Checked; core's defaults are filled in, unless a server chooses them."""
    dropped: tuple[str, ...]
    """Parameters that the backend doesn't support and that were dropped because of ``on_unsupported="drop"``."""
    own: Mapping[str, object]
    """The parameters that the caller set, by canonical name."""


def resolve_request(
    prompt: str | None,
    messages: Iterable[Message | Mapping[str, object]] | None,
    parameters: Mapping[str, object] | None,
    *,
    backend: str,
    supported: frozenset[str],
    server_defaults: bool = False,
    named: Defaults | None = None,
    model: Mapping[str, object] | None = None,
) -> ResolvedRequest:
    """Make one request from all sources of parameters.

    For each parameter, the first of these that sets it wins: the caller, the named model, the model's own
    recommendation, core's default. A default that contradicts what a source before it sets (``response_format`` and
    ``grammar``, say) is left out, and so is ``raw`` where there are messages.

    Args:
        prompt: the prompt, or None where *messages* are given.
        messages: the conversation, or None.
        parameters: the caller's parameters, under canonical names or aliases.
        backend: its name, for errors.
        supported: canonical parameters that the backend honours.
        server_defaults: whether a server chooses unset parameters, so that core's defaults don't apply.
        named: the named model's parameters.
        model: canonical parameters that the model recommends.

    If core's defaults apply, a sampled request without a seed gets a random one, which the result can report.

    Raises a RequestError: UnsupportedError for a parameter that the caller or the named model sets and the backend
    doesn't support, unless ``on_unsupported`` is ``"drop"``. An error about the named model's parameters says so.
    """
    if messages is not None and type(messages) is not list and isinstance(messages, Iterator):
        messages = list(messages)  # they may be read twice
    own: Mapping[str, object] = canonical(parameters)
    given = own
    samples = parameters is not None and "do_sample" in parameters and _is_true(parameters["do_sample"])
    if named is not None:
        given = {**named.values, **own}
        if samples:
            given = _sampled(given, own)
        samples = samples or named.samples
    dropped: tuple[str, ...] = ()
    if not (supported >= given.keys()):
        unable = [name for name in given if name not in supported and name not in UNIVERSAL]
        if unable:
            _build(prompt, messages, given, own, given)  # a wrong value is named first, even if it would be dropped
            if given.get("on_unsupported") != "drop":
                callers = [name for name in unable if name in own]
                place = named.place if named is not None and not callers else None
                raise unsupported_parameters(callers or unable, backend, _DROP, place)
            dropped = tuple(unable)
            given = {name: value for name, value in given.items() if name not in unable}
    values = given
    if model:
        values = {**model, **given}
        if samples:
            values = _sampled(values, given)
    if not server_defaults:
        values = {**_core_defaults(supported), **values}
        if "seed" not in values and values.get("temperature") != 0 and "seed" in supported:
            values["seed"] = _seeds.getrandbits(32)
    try:
        request = build_request(prompt, messages, values)
    except ConflictingParametersError:
        request = _build(prompt, messages, values, own, given)
    return ResolvedRequest(request, dropped, own)


def _build(
    prompt: str | None,
    messages: Iterable[Message | Mapping[str, object]] | None,
    values: Mapping[str, object],
    own: Mapping[str, object],
    given: Mapping[str, object],
) -> GenerationRequest:
    """Build the request; of parameters that contradict each other, those of the last source are left out.

    *own* are the caller's parameters, *given* also the named model's, *values* all.
    """
    while True:
        try:
            return build_request(prompt, messages, values)
        except ConflictingParametersError as error:
            rivals = [name for name in error.names if name in values and name not in own]
            last = {name for name in rivals if name not in given} or set(rivals)
            if not last:
                raise
            values = {name: value for name, value in values.items() if name not in last}


def _is_true(value: object) -> bool:
    return plain_value(value) is True


def _sampled(values: Mapping[str, object], above: Mapping[str, object]) -> Mapping[str, object]:
    """*values* without a temperature of 0, unless a source *above* sets it: somebody says ``do_sample=True``."""
    if "temperature" in above or values.get("temperature") != 0:
        return values
    return {name: value for name, value in values.items() if name != "temperature"}


def unsupported_parameters(
    names: Sequence[str], backend: str, advice: str, place: str | None = None
) -> UnsupportedError:
    """The error for parameters that *backend* doesn't support; *place* says where they are set."""
    what = f"the parameter{'s' if len(names) > 1 else ''} {', '.join(names)}"
    error = UnsupportedError(what, backend, advice)
    if place is not None:
        error.add_place(place)
    return error


@functools.lru_cache(maxsize=256)
def _core_defaults(supported: frozenset[str]) -> Mapping[str, object]:
    return {name: value for name, value in DEFAULTS.items() if name in supported}


def merge_parameters(
    parameters: Mapping[str, object] | None, more: Mapping[str, object]
) -> Mapping[str, object] | None:
    """Parameters given as a mapping and by name, together.

    Raises ConflictingParametersError if they have different values for one name, and InvalidParameterError if
    *parameters* is not a mapping.
    """
    if not more:
        return parameters  # it is checked where it is read
    check_mapping(parameters)
    if not parameters:
        return more
    merged = dict(parameters)
    for name, value in more.items():
        if name in merged and not _same(merged[name], value):
            raise ConflictingParametersError(
                [f"parameters[{name!r}]", name],
                f"{name} is passed twice, as parameters[{name!r}] and as a keyword, with different values.",
            )
        merged[name] = value
    return merged


def _same(one: object, other: object) -> bool:
    return bool(plain_value(one) == plain_value(other))  # arrays compare item by item
