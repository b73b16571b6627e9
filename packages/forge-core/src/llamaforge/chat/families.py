"""The formats of known families, each written once. Which of them a template has is found out by rendering with it.

Sources: the models' own chat templates and model cards; for gpt-oss, https://cookbook.openai.com/articles/openai-harmony.
"""

from __future__ import annotations

import dataclasses
from typing import Final, cast

from .output_format import CallFormat, OutputFormat, ReasoningFormat, Tags

THINK: Final = ReasoningFormat("<think>", "</think>")

REASONING: Final = (
    THINK,
    ReasoningFormat("[THINK]", "[/THINK]"),
    ReasoningFormat("<|channel>thought\n", "<channel|>"),
    ReasoningFormat("<|START_THINKING|>", "<|END_THINKING|>"),
    ReasoningFormat("<seed:think>", "</seed:think>"),
    ReasoningFormat("<mm:think>", "</mm:think>"),
    ReasoningFormat("<|inner_prefix|>", "<|inner_suffix|>"),
    ReasoningFormat("<think:opensource>", "</think:opensource>"),
    ReasoningFormat("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
)
"""Pairs of markers that are looked for in templates which show no reasoning of earlier turns."""

HERMES: Final = OutputFormat(
    "hermes", CallFormat("<tool_call>\n", "\n</tool_call>", separator="\n", is_object=True), THINK
)
QWEN_CODER: Final = OutputFormat(
    "qwen3-coder",
    CallFormat(
        "<tool_call>\n",
        "</function>\n</tool_call>",
        separator="\n",
        name_begin="<function=",
        name_end=">\n",
        arguments="tags",
        tags=Tags("<parameter=", ">\n", "", "\n</parameter>", "\n"),
        triggers=("<function=",),
    ),
    THINK,
)
LLAMA3: Final = OutputFormat(
    "llama3-json",
    CallFormat(is_object=True, arguments_key="parameters", separator="; ", triggers=("<|python_tag|>",)),
)
FUNCTION_TAGS: Final = OutputFormat(
    "function-tags", CallFormat("<function=", "</function>", name_end=">", arguments="json")
)
LLAMA4: Final = OutputFormat(
    "pythonic",
    CallFormat(
        section="[",
        section_end="]",
        separator=", ",
        name_end="(",
        end=")",
        arguments="python",
        triggers=("<|python_start|>", "<|python_tag|>"),
        closers=("<|python_end|>",),
    ),
)
LFM2: Final = OutputFormat(
    "lfm2",
    CallFormat(
        section="<|tool_call_start|>[",
        section_end="]<|tool_call_end|>",
        separator=", ",
        name_end="(",
        end=")",
        arguments="python",
    ),
    THINK,
)
MISTRAL: Final = OutputFormat(
    "mistral",
    CallFormat("[TOOL_CALLS]", name_end="[ARGS]", id_begin="[CALL_ID]", arguments="json", id_length=9),
    ReasoningFormat("[THINK]", "[/THINK]"),
)
MISTRAL_LIST: Final = OutputFormat(
    "mistral-list",
    CallFormat(
        section="[TOOL_CALLS][",
        section_end="]",
        separator=", ",
        is_object=True,
        is_list=True,
        id_key="id",
        id_length=9,
    ),
    ReasoningFormat("[THINK]", "[/THINK]"),
)
DEEPSEEK_V3: Final = OutputFormat(
    "deepseek-v3",
    CallFormat(
        "<｜tool▁call▁begin｜>",
        "\n```<｜tool▁call▁end｜>",
        section="<｜tool▁calls▁begin｜>",
        section_end="<｜tool▁calls▁end｜>",
        separator="\n",
        name_begin="function<｜tool▁sep｜>",
        name_end="\n```json\n",
        arguments="json",
    ),
    THINK,
)
DEEPSEEK_V31: Final = OutputFormat(
    "deepseek-v3.1",
    CallFormat(
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>",
        section="<｜tool▁calls▁begin｜>",
        section_end="<｜tool▁calls▁end｜>",
        name_end="<｜tool▁sep｜>",
        arguments="json",
    ),
    THINK,
)
DEEPSEEK_V32: Final = OutputFormat(
    "deepseek-v3.2",
    CallFormat(
        '<｜DSML｜invoke name="',
        "</｜DSML｜invoke>\n",
        section="<｜DSML｜function_calls>\n",
        section_end="</｜DSML｜function_calls>",
        name_end='">\n',
        arguments="tags",
        tags=Tags(
            '<｜DSML｜parameter name="',
            '" string="true">',
            "",
            "</｜DSML｜parameter>",
            "\n",
            key_end_json='" string="false">',
        ),
    ),
    THINK,
)
DEEPSEEK_V4: Final = dataclasses.replace(
    DEEPSEEK_V32,
    name="deepseek-v4",
    calls=dataclasses.replace(
        cast("CallFormat", DEEPSEEK_V32.calls), section="<｜DSML｜tool_calls>\n", section_end="</｜DSML｜tool_calls>"
    ),
)
GLM: Final = OutputFormat(
    "glm-4",
    CallFormat(
        "<tool_call>",
        "</tool_call>",
        separator="\n",
        name_end="\n",
        arguments="tags",
        tags=Tags("<arg_key>", "</arg_key>", "\n<arg_value>", "</arg_value>", "\n"),
    ),
    THINK,
)
GLM_DENSE: Final = OutputFormat(
    "glm-4.7",
    CallFormat(
        "<tool_call>",
        "</tool_call>",
        arguments="tags",
        tags=Tags("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    ),
    THINK,
)
KIMI_K2: Final = OutputFormat(
    "kimi-k2",
    CallFormat(
        "<|tool_call_begin|>",
        "<|tool_call_end|>",
        section="<|tool_calls_section_begin|>",
        section_end="<|tool_calls_section_end|>",
        name_begin="functions.",
        name_end="<|tool_call_argument_begin|>",
        numbered=True,
        arguments="json",
    ),
    THINK,
)
GEMMA4: Final = OutputFormat(
    "gemma-4",
    CallFormat("<|tool_call>call:", "<tool_call|>", arguments="braces", quote='<|"|>'),
    ReasoningFormat("<|channel>thought\n", "<channel|>"),
)
FUNCTION_GEMMA: Final = OutputFormat(
    "function-gemma",
    CallFormat("<start_function_call>call:", "<end_function_call>", arguments="braces", quote="<escape>"),
)
HARMONY_MARKERS: Final = ("<|channel|>", "<|message|>")
HARMONY: Final = OutputFormat("harmony", is_harmony=True)
GENERIC: Final = OutputFormat("generic", HERMES.calls, is_generic=True)

FAMILIES: Final = (
    HARMONY,
    HERMES,
    QWEN_CODER,
    GLM,
    GLM_DENSE,
    DEEPSEEK_V3,
    DEEPSEEK_V31,
    DEEPSEEK_V32,
    DEEPSEEK_V4,
    KIMI_K2,
    MISTRAL,
    MISTRAL_LIST,
    GEMMA4,
    FUNCTION_GEMMA,
    LFM2,
    FUNCTION_TAGS,
    LLAMA4,
    LLAMA3,
)
"""In the order in which they are tried: those whose markers can't be mistaken come first."""
