"""Chat templates, for all in-process engines.

A model's template is a Jinja text written for transformers. :class:`ChatTemplate` renders it to the same text. It
detects how the template expects messages, refuses a conversation if the template would leave out a part of it, and
marks control tokens that messages spell, so that the tokenizer reads them as plain text. It also finds out how the
model writes reasoning and tool calls: :class:`AnswerParser` takes an answer apart.

====================  ================================================================================
module                contents
====================  ================================================================================
``template``          :class:`ChatTemplate`: from a request to a :class:`RenderedPrompt`
``compiled``          one compiled template, and what was found out about it
``given``             the load parameter ``chat_template``: text or file
``probes``            what a template supports: content as text or as parts, roles, tool calls
``turns``             messages in the form that the template expects
``coverage``          whether a template renders the whole conversation
``literals``          control tokens spelled in messages
``jinja``             the environment in which templates run; imports jinja2 (``forge-core[chat]``)
``output_format``     :class:`OutputFormat`: how a family of models writes reasoning and calls
``families``          the formats of known families
``recognition``       which format a template has
``response_template`` what a tokenizer says of it;  ``plugin_formats``: formats of plugins
``capabilities``      what a template can do
``answer_parser``     :class:`AnswerParser` and :func:`parse_answer`
``answer_reader``     the parser of one format
``call_parser``       tool calls;  ``harmony``: gpt-oss's messages
``reader``            text that arrives in pieces;  ``values``: values in other notations than JSON
``tagged_arguments``  arguments between tags
``described_tools``   tools as ordinary turns, for templates that can't show them
``answer_grammar``    one grammar for a whole answer;  ``argument_grammar``, ``lark_parts``: its parts
``writing``           tool calls as a model writes them
====================  ================================================================================
"""

from __future__ import annotations

from .answer_parser import AnswerParser, parse_answer
from .answer_reader import Answer
from .capabilities import TemplateCapabilities
from .compiled import BrokenTemplateError
from .given import read_template
from .literals import ControlToken, ControlTokens, Piece, RenderedPrompt
from .output_format import CallFormat, OutputFormat, ReasoningFormat, Tags
from .template import ChatTemplate, Templates

__all__ = [
    "Answer",
    "AnswerParser",
    "BrokenTemplateError",
    "CallFormat",
    "ChatTemplate",
    "ControlToken",
    "ControlTokens",
    "OutputFormat",
    "Piece",
    "ReasoningFormat",
    "RenderedPrompt",
    "Tags",
    "TemplateCapabilities",
    "Templates",
    "parse_answer",
    "read_template",
]
