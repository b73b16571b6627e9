"""Writes tool calls as a model would: to recognise a template's format, and to show a model how calls are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .output_format import CallFormat
from .values import to_json

Call = tuple[str, Mapping[str, Any]]
"""A function's name and its arguments."""


def write_calls(form: CallFormat, calls: Sequence[Call], ids: Sequence[str] = ()) -> str:
    """The text of *calls* in the notation *form*, with those *ids* where it has any."""
    written = [
        write_call(form, name, arguments, number, ids[number] if number < len(ids) else "")
        for number, (name, arguments) in enumerate(calls)
    ]
    return form.section + form.separator.join(written) + form.section_end


def write_call(form: CallFormat, name: str, arguments: Mapping[str, Any], number: int = 0, call_id: str = "") -> str:
    """One call."""
    if form.is_object:
        whole: dict[str, Any] = {form.name_key: name, form.arguments_key: arguments}
        if form.id_key and call_id:
            whole[form.id_key] = call_id
        return f"{form.begin}{to_json(whole)}{form.end}"
    said = f"{name}:{number}" if form.numbered else name
    if form.id_begin and call_id:
        said += form.id_begin + call_id
    return f"{form.begin}{form.name_begin}{said}{form.name_end}{_arguments(form, arguments)}{form.end}"


def _arguments(form: CallFormat, arguments: Mapping[str, Any]) -> str:
    if form.arguments == "json":
        return to_json(arguments)
    if form.arguments == "python":
        return ", ".join(f"{key}={_python(value)}" for key, value in arguments.items())
    if form.arguments == "braces":
        return _braces(arguments, form.quote)
    tags = form.tags
    if tags is None:
        return ""
    text = ""
    for key, value in arguments.items():
        is_text = isinstance(value, str)
        key_end = tags.key_end if is_text or not tags.key_end_json else tags.key_end_json
        shown = value if is_text else to_json(value)
        text += f"{tags.key_begin}{key}{key_end}{tags.value_begin}{shown}{tags.value_end}{tags.after}"
    return text


def _python(value: Any) -> str:
    if isinstance(value, str):
        return to_json(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_python, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{to_json(key)}: {_python(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _braces(value: Any, quote: str) -> str:
    if isinstance(value, str):
        return f"{quote}{value}{quote}"
    if isinstance(value, list):
        return f"[{','.join(_braces(item, quote) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_braces(item, quote)}" for key, item in value.items()) + "}"
    return to_json(value)
