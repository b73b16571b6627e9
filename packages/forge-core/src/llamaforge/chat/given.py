"""The load parameter ``chat_template``: a template that replaces the model's own."""

from __future__ import annotations

from ..errors import InvalidParameterError
from ..files import check_regular
from ..formats.local import is_lfs_pointer, lfs_advice, local_path
from .compiled import BrokenTemplateError
from .template import ChatTemplate

_SIGNS = ("{{", "{%", "{#", "\n")
"""What tells Jinja text from the path of a file."""


def read_template(given: str) -> str:
    """The template that the load parameter ``chat_template`` gives: Jinja text itself, or the path of a file with it.

    A ``~`` stands for the home folder; a byte order mark is not part of the text. Raises InvalidParameterError where
    the value is neither, and where the template is broken, with the file and the line.
    """
    text, source = given, ""
    if not any(sign in given for sign in _SIGNS):
        try:
            path = local_path(given)
            if is_lfs_pointer(path):
                raise OSError(lfs_advice(path.name))
            check_regular(path)
            text, source = path.read_text(encoding="utf-8-sig"), f"{path}, "
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            message = f"chat_template must be a Jinja template or the path of one, and {given!r} can't be read: {said}."
            raise InvalidParameterError(
                "chat_template", given, "a Jinja template or its path", message=message
            ) from error
    text = text.removeprefix("\ufeff")
    try:
        ChatTemplate(text)
    except BrokenTemplateError as error:
        message = f"chat_template is not a valid Jinja template: {source}{error}."
        raise InvalidParameterError("chat_template", given, "valid Jinja", show_value=False, message=message) from error
    return text
