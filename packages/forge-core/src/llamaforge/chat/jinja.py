"""Chat templates are Jinja texts written for transformers: the environment in which they run, with the same result.

The sandbox, the filter ``tojson``, the functions ``raise_exception`` and ``strftime_now``, ``{% generation %}``, loop
controls and the treatment of line ends are those of transformers' ``apply_chat_template``; so is what templates may not
do, but for one thing: they may change lists and mappings, as llama.cpp's templates do (Kimi K2's in GGUF files keep a
queue of calls). Such a template gets copies of what it is given. https://huggingface.co/docs/transformers/chat_templating

Importing this module imports jinja2, which core does without otherwise.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable
from typing import Any, Final

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as LoopControls  # noqa: N812 - it is a class
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from jinja2.utils import Namespace

BROKEN: Final = (jinja2.TemplateError, RecursionError)
"""What :func:`compile_template` raises for a text that is no template."""


_CHANGES: Final = frozenset(
    {"append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort", "update"}
)
"""Methods of lists and mappings that change them."""


def compile_template(text: str) -> Callable[..., str]:
    """Compile *text*: a function that renders it with variables, and changes nothing of them.

    Raises one of :data:`BROKEN` if the template is broken.
    """
    used = {node.attr for node in _environment().parse(text).find_all(nodes.Getattr)}
    if used.isdisjoint(_CHANGES):
        return _environment().from_string(text).render
    template = _environment(may_change=True).from_string(text)
    return lambda **variables: template.render(**_copied(variables))


def _copied(value: Any) -> Any:
    """*value* with lists and mappings of its own."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def variables(text: str) -> frozenset[str]:
    """The names that the template reads and doesn't set itself. Raises as :func:`compile_template`."""
    return frozenset(meta.find_undeclared_variables(_environment().parse(text)) - _environment().globals.keys())


def describe(error: Exception) -> str:
    """What is wrong, with the line of the template where that is known."""
    line = getattr(error, "lineno", None)
    said = str(error).strip().splitlines() or [type(error).__name__]
    return f"line {line}: {said[0]}" if line else said[0]


class _Generation(Extension):
    """``{% generation %} ... {% endgeneration %}``: marks the model's own words for training; the text stays."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_words"), [], [], body).set_lineno(line)

    def _words(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """The function ``dict`` of templates, without the class behind it."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """``namespace(...)`` of templates; names that begin with an underscore are refused, as transformers does."""

    def __init__(*args: Any, **values: Any) -> None:
        self, *rest = args
        given = dict(*rest, **values)
        for name in given:
            _refuse_private(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace can't hold {name!r}: its name begins with an underscore")


class _ChangingEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates may change plain lists and mappings. They must be their own."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if type(obj) in (list, dict):
            return SandboxedEnvironment.is_safe_attribute(self, obj, attr, value)
        return super().is_safe_attribute(obj, attr, value)


@functools.cache
def _environment(*, may_change: bool = False) -> ImmutableSandboxedEnvironment:
    kind = _ChangingEnvironment if may_change else ImmutableSandboxedEnvironment
    environment = kind(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, LoopControls])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _Namespace
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return dt.datetime.now().strftime(pattern)  # noqa: DTZ005 - local time, as transformers has it
