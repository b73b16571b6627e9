"""Chat templates, for all in-process engines.

A model's template is a Jinja text written for transformers. :class:`ChatTemplate` renders it to the same text. It
detects how the template expects messages, refuses a conversation if the template would leave out a part of it, and
marks control tokens that messages spell, so that the tokenizer reads them as plain text.

=============  ==================================================================================
module         contents
=============  ==================================================================================
``template``   :class:`ChatTemplate`: from a request to a :class:`RenderedPrompt`
``given``      the load parameter ``chat_template``: text or file
``probes``     what a template supports: content as text or as parts, roles, tool calls
``turns``      messages in the form that the template expects
``coverage``   whether a template renders the whole conversation
``literals``   control tokens spelled in messages
``jinja``      the environment in which templates run; imports jinja2 (``forge-core[chat]``)
=============  ==================================================================================
"""

from __future__ import annotations

from .given import read_template
from .literals import ControlToken, ControlTokens, Piece, RenderedPrompt
from .template import BrokenTemplateError, ChatTemplate, Templates

__all__ = [
    "BrokenTemplateError",
    "ChatTemplate",
    "ControlToken",
    "ControlTokens",
    "Piece",
    "RenderedPrompt",
    "Templates",
    "read_template",
]
