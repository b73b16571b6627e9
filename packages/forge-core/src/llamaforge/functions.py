"""Python functions as tools: a signature and a docstring become a schema, and a model's arguments become a call."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, overload

import msgspec

from .errors import InvalidParameterError

F = TypeVar("F", bound=Callable[..., Any])

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SECTION: Final = re.compile(r"^\s*(args|arguments|parameters|params)\s*:?\s*$", re.IGNORECASE)
_OTHER_SECTION: Final = re.compile(
    r"^\s*(returns?|raises?|yields?|examples?|notes?|see also|warnings?|attributes)\s*:?\s*$", re.IGNORECASE
)
_GOOGLE: Final = re.compile(r"^(\s+)\*{0,2}(\w+)\s*(\([^)]*\))?\s*:\s*(.*)$")
_NUMPY: Final = re.compile(r"^(\s*)\*{0,2}(\w+)\s*:(?:\s+.*)?$")
_SPHINX: Final = re.compile(r"^\s*:param\s+(?:[\w.\[\], |]+\s+)?(\w+)\s*:\s*(.*)$")
_FIELDS: Final[tuple[tuple[str, type, str], ...]] = (
    ("parameters", Mapping, "a JSON schema, a mapping"),
    ("description", str, "a text"),
    ("strict", bool, "true or false"),
)
"""What a function of a tool may say beside its name."""
_MARK: Final = "__llamaforge_tool__"


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """What a function's arguments are read into."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call."""

    name: str
    """Its name, as the model sees it."""
    description: str
    """What it does; empty if nobody said."""
    parameters: Mapping[str, Any]
    """The JSON schema of its arguments."""
    function: Callable[..., Any] = field(repr=False)
    """The function itself. It may be a coroutine function."""
    strict: bool = True
    """Whether engines hold the model to the schema, where they can."""
    _arguments: type[msgspec.Struct] = field(default=_Arguments, repr=False)
    _positional: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_async(self) -> bool:
        """Whether the function must be awaited."""
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(
            getattr(self.function, "__call__", None)  # noqa: B004 - an object with an asynchronous __call__
        )

    def to_dict(self) -> dict[str, Any]:
        """The tool as OpenAI's API has it."""
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        function["parameters"] = dict(self.parameters)
        if not self.strict:
            function["strict"] = False
        return {"type": "function", "function": function}

    def call(self, arguments: str) -> Any:
        """Call the function with *arguments*, a JSON object, converted to the types of the signature.

        Returns what it returns: of a coroutine function, an awaitable. Raises msgspec.ValidationError for arguments
        that don't fit, and whatever the function raises.
        """
        read = msgspec.json.decode(arguments or "{}", type=self._arguments, dec_hook=_decode)
        values = {
            name: value
            for name in self._arguments.__struct_fields__
            if (value := getattr(read, name)) is not msgspec.UNSET
        }
        positional = [values.pop(name) for name in self._positional if name in values]
        return self.function(*positional, **values)


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(*, name: str | None = None, description: str | None = None, strict: bool = True) -> Callable[[F], F]: ...
def tool(
    function: Any = None, /, *, name: str | None = None, description: str | None = None, strict: bool = True
) -> Any:
    """Say more about a function that is given as a tool. The function itself stays as it is.

    ::

        @tool(name="weather", description="The weather in a city.")
        def get_weather(city: str, days: int = 1) -> str: ...

    Args:
        function: the function, where the decorator is used without parentheses.
        name: what the model calls it. Default: the function's name.
        description: what it does. Default: the first paragraph of the docstring.
        strict: whether engines hold the model to the schema, where they can.

    Raises InvalidParameterError for a function that can't be a tool.
    """

    def mark(marked: Any) -> Any:
        made = _make(marked, name, description, strict)
        try:
            setattr(marked, _MARK, made)
        except AttributeError:  # a bound method, or a function written in C
            expected = "a function written in Python: decorate a method in its class, and wrap any other in a function"
            raise InvalidParameterError("function", made.name, expected) from None
        return marked

    return mark if function is None else mark(function)


def as_tool(function: Callable[..., Any] | Tool) -> Tool:
    """*function* as a tool. Raises InvalidParameterError for one that can't be a tool, and says why."""
    if isinstance(function, Tool):
        return function
    marked = getattr(function, _MARK, None)
    if isinstance(marked, Tool):
        bound = inspect.ismethod(function)  # a method that was marked in its class
        return _make(function, marked.name, marked.description, marked.strict) if bound else marked
    return _make(function, None, None, True)


def read_tools(tools: Sequence[Any]) -> tuple[list[Any], dict[str, Tool]]:
    """*tools* with functions made mappings, and the functions by name.

    Raises InvalidParameterError for a function that can't be a tool, and for two tools of one name.
    """
    plain: list[Any] = []
    functions: dict[str, Tool] = {}
    names: set[str] = set()
    for index, each in enumerate(tools):
        if isinstance(each, Tool) or callable(each):
            made = as_tool(each)
            functions[made.name] = made
            each = made.to_dict()
        plain.append(each)
        function = each.get("function") if isinstance(each, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if (
            isinstance(each, Mapping)
            and each.get("type", "function") == "function"
            and not (name and isinstance(name, str))
        ):
            expected = "a tool such as {'type': 'function', 'function': {'name': 'get_weather', 'parameters': {...}}}"
            raise InvalidParameterError(f"tools[{index}]", each, expected, show_value=False)
        said: Mapping[str, Any] = function if isinstance(function, Mapping) else {}
        for key, kind, expected in _FIELDS:
            value = said.get(key)
            if value is not None and not isinstance(value, kind):
                raise InvalidParameterError(f"tools[{index}].function.{key}", value, expected)
        if isinstance(name, str):
            if name in names:
                message = f"tools[{index}] has the name of another tool, {name!r}."
                raise InvalidParameterError(f"tools[{index}]", name, "a tool with a name of its own", message=message)
            names.add(name)
    return plain, functions


def check_tool_choice(choice: str | Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidParameterError for a ``tool_choice`` that none of *tools* answers to."""
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise InvalidParameterError("tool_choice", choice, "'auto', 'none', 'required', or one function")
        return
    name = chosen_tool(choice)
    if name is None:
        expected = "'auto', 'none', 'required', or {'type': 'function', 'function': {'name': ...}}"
        raise InvalidParameterError("tool_choice", choice, expected)
    functions = [tool.get("function") for tool in tools]
    names = [str(function["name"]) for function in functions if isinstance(function, Mapping) and "name" in function]
    if name not in names:
        raise InvalidParameterError("tool_choice", name, f"one of the tools: {', '.join(names)}")


def chosen_tool(choice: str | Mapping[str, Any] | None) -> str | None:
    """The name of the one function that a ``tool_choice`` names; None where it names none."""
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def _make(function: Any, name: str | None, description: str | None, strict: bool) -> Tool:
    called = name or getattr(function, "__name__", None) or type(function).__name__
    if not callable(function):
        raise _refused(called, "a function")
    if not _NAME.fullmatch(called):
        raise _refused(
            called,
            'a function whose name has 1 to 64 letters, digits, "_" and "-" (set it with @tool(name=...))',
        )
    try:
        signature = inspect.signature(function)
        hinted = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
        hints = typing.get_type_hints(hinted, include_extras=True)
    except (TypeError, ValueError, NameError) as error:
        raise _refused(called, f"a function whose signature can be read ({error})") from error
    fields: list[Any] = []
    positional: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise _refused(called, f"a function without *args and **kwargs; it has {parameter}")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(parameter.name)
        annotation = hints.get(parameter.name, Any)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, annotation))
        else:
            optional = typing.cast("Any", typing.Union)[annotation, msgspec.UnsetType]
            fields.append((parameter.name, optional, msgspec.UNSET))
    said, about = _read_docstring(inspect.getdoc(function) or "")
    arguments, schema = _describe(called, fields, about)
    return Tool(
        called, description if description is not None else said, schema, function, strict, arguments, tuple(positional)
    )


def _describe(name: str, fields: list[Any], about: Mapping[str, str]) -> tuple[type[msgspec.Struct], dict[str, Any]]:
    """The type that arguments are read into, and its schema."""
    from .type_schemas import type_schema

    try:
        arguments = msgspec.defstruct(name.replace("-", "_"), fields, kw_only=True, forbid_unknown_fields=True)
        whole = type_schema(arguments, brief=True)
    except (TypeError, NameError, ValueError, RuntimeError) as error:
        raise _refused(name, f"a function whose parameters have types that JSON can express ({error})") from error
    definitions: dict[str, Any] = dict(whole.get("$defs", {}))
    own = definitions.pop(whole["$ref"].rpartition("/")[2]) if "$ref" in whole else whole
    properties = {
        key: {**value, "description": about[key]} if key in about and "description" not in value else value
        for key, value in own.get("properties", {}).items()
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": own.get("required", []),
        "additionalProperties": False,
    }
    if definitions:
        schema["$defs"] = definitions
    return arguments, schema


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph of a docstring, and what it says of each parameter (Google's, numpy's or Sphinx's style)."""
    lines = text.splitlines()
    first = " ".join(part.strip() for part in text.partition("\n\n")[0].splitlines())
    if _SPHINX.match(first):
        first = ""
    about: dict[str, str] = {}
    within, current, depth = False, "", 0
    for number, line in enumerate(lines):
        sphinx = _SPHINX.match(line)
        if sphinx:
            within, current, depth = True, sphinx[1], len(line) - len(line.lstrip())
            about[current] = sphinx[2].strip()
            continue
        if _SECTION.match(line):
            within, current = True, ""
            continue
        if not within or not line.strip():
            continue
        if set(line.strip()) == {"-"}:
            continue
        if _OTHER_SECTION.match(line) or line.lstrip().startswith(":"):
            within = False
            continue
        indent = len(line) - len(line.lstrip())
        is_numpy = number > 0 and indent == 0
        match = _NUMPY.match(line) if is_numpy else _GOOGLE.match(line)
        if match and (not current or indent <= depth or is_numpy):
            current, depth = match[2], indent
            about[current] = "" if is_numpy else match[4].strip()
        elif current and indent > depth:
            about[current] = f"{about[current]} {line.strip()}".strip()
        elif indent == 0:
            within = False
    return first, {name: said for name, said in about.items() if said}


def _refused(name: str, expected: str) -> InvalidParameterError:
    return InvalidParameterError("tools", name, expected)


def to_text(result: Any) -> str:
    """What a tool returned, as the text that the model reads: strings as they are, other values as JSON."""
    if isinstance(result, str):
        return str.__str__(result)
    return msgspec.json.encode(result, enc_hook=_encode).decode()


def _decode(kind: Any, value: Any) -> Any:
    """*value* as a pydantic model, or another type that msgspec doesn't know."""
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise NotImplementedError(kind.__name__)
    return validate(value)


def _encode(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None else str(value)
