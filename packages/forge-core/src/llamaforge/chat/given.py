"""The load parameter ``chat_template``: a template that replaces the model's own."""

from __future__ import annotations

from ..errors import InvalidParameterError
from ..files import check_regular
from ..formats.local import is_lfs_pointer, lfs_advice, local_path
from .template import BrokenTemplateError, ChatTemplate

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
            expected = f"a Jinja template, or the path of a file that holds one ({error})"
            raise InvalidParameterError("chat_template", given, expected) from error
    text = text.removeprefix("\ufeff")
    try:
        ChatTemplate(text)
    except BrokenTemplateError as error:
        expected = f"a valid Jinja template ({source}{error})"
        raise InvalidParameterError("chat_template", given, expected, show_value=False) from error
    return text
