"""Chat templates, for every engine that runs in this process.

A model's template is a Jinja text that was written for transformers. :class:`ChatTemplate` renders it to the same text,
finds out how it wants messages, refuses a conversation of which it would leave something out, and says where a message
spells a control token, so that the tokenizer reads that as plain text.

=============  ==================================================================================
module         contents
=============  ==================================================================================
``template``   :class:`ChatTemplate`: a request becomes a :class:`RenderedPrompt`
``given``      the load parameter ``chat_template``: text or file
``probes``     what a template takes: content as text or as parts, roles, tool calls
``turns``      messages in that shape
``coverage``   whether a template shows everything that a conversation says
``literals``   control tokens that messages spell
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
