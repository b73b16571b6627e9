"""Small chat templates, one for each family's way of writing tool calls, reasoning and prompts."""

from __future__ import annotations

from typing import Final

_SKELETON: Final = """\
{%- if tools %}<|system|>Tools: {{ tools | tojson }}<|end|>
{% endif %}
{%- for m in messages %}
{%- if m.role == 'assistant' %}<|assistant|>
{% if m.reasoning_content %}THINK_BEGIN{{ m.reasoning_content }}THINK_END{% endif %}{{ m.content or '' }}
{%- if m.tool_calls %}CALLS{% endif %}<|end|>
{% elif m.role == 'tool' %}<|tool|>{{ m.content }}<|end|>
{% else %}<|{{ m.role }}|>{{ m.content }}<|end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>
OPENING{% endif %}"""
_SWITCH: Final = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
_ALWAYS: Final = (
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% else %}<think>\n{% endif %}"
)
_EACH: Final = "{% for c in m.tool_calls %}{% set f = c.function %}"


def template(
    calls: str, think: tuple[str, str] = ("<think>\n", "\n</think>\n\n"), opening: str = "", extra: str = ""
) -> str:
    """A template that writes each family's calls; *extra* stands before everything."""
    return extra + (
        _SKELETON.replace("CALLS", calls)
        .replace("THINK_BEGIN", think[0])
        .replace("THINK_END", think[1])
        .replace("OPENING", opening)
    )


_TAGGED_QWEN: Final = (
    "\n<tool_call>\n<function={{ f.name }}>\n{% for k, v in f.arguments.items() %}<parameter={{ k }}>\n"
    "{{ v if v is string else v | tojson }}\n</parameter>\n{% endfor %}</function>\n</tool_call>{% endfor %}"
)
_TAGGED_GLM: Final = (
    "{% for k, v in f.arguments.items() %}<arg_key>{{ k }}</arg_key>\n"
    "<arg_value>{{ v if v is string else v | tojson }}</arg_value>\n{% endfor %}</tool_call>{% endfor %}"
)
_GEMMA: Final = (
    "{%- macro value(v, q) %}{% if v is string %}{{ q ~ v ~ q }}{% elif v is mapping %}{{ '{' }}"
    "{% for k, x in v.items() %}{{ k }}:{{ value(x, q) }}{{ ',' if not loop.last }}{% endfor %}{{ '}' }}"
    "{% else %}{{ v | tojson }}{% endif %}{% endmacro %}"
)
_PYTHONIC: Final = (
    "[{% for c in m.tool_calls %}{{ c.function.name }}({% for k, v in c.function.arguments.items() %}"
    "{{ k }}={{ v | tojson }}{{ ', ' if not loop.last }}{% endfor %}){{ ', ' if not loop.last }}{% endfor %}]"
)

TEMPLATES: Final = {
    "hermes": template(
        _EACH
        + '\n<tool_call>\n{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}}\n</tool_call>{% endfor %}',
        opening=_SWITCH,
    ),
    "qwen3-coder": template(_EACH + _TAGGED_QWEN, opening=_ALWAYS),
    "llama3-json": template(
        "{% if m.tool_calls | length > 1 %}{{ raise_exception('one call only') }}{% endif %}"
        "{% set f = m.tool_calls[0].function %}"
        '{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}'
    ).replace("{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}", ""),
    "pythonic": template(_PYTHONIC).replace(
        "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}", ""
    ),
    "mistral": template(
        _EACH + "[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}{% endfor %}", ("[THINK]", "[/THINK]")
    ),
    "mistral-list": template(
        "[TOOL_CALLS]["
        + _EACH
        + '{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}, "id": "{{ c.id }}"}'
        "{{ ', ' if not loop.last }}{% endfor %}]",
        ("[THINK]", "[/THINK]"),
    ),
    "deepseek-v3": template(
        "<｜tool▁calls▁begin｜>"
        + _EACH
        + "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ f.name }}\n```json\n{{ f.arguments | tojson }}\n```"
        "<｜tool▁call▁end｜>{{ '\n' if not loop.last }}{% endfor %}<｜tool▁calls▁end｜>",
        opening="<think>\n",
    ),
    "deepseek-v3.1": template(
        "<｜tool▁calls▁begin｜>"
        + _EACH
        + "<｜tool▁call▁begin｜>{{ f.name }}<｜tool▁sep｜>{{ f.arguments | tojson }}<｜tool▁call▁end｜>{% endfor %}"
        "<｜tool▁calls▁end｜>",
        ("<think>", "</think>"),
        opening="{% if thinking %}<think>{% else %}</think>{% endif %}",
    ),
    "deepseek-v3.2": template(
        "\n\n<｜DSML｜function_calls>\n"
        + _EACH
        + '<｜DSML｜invoke name="{{ f.name }}">\n{% for k, v in f.arguments.items() %}'
        "<｜DSML｜parameter name=\"{{ k }}\" string=\"{{ 'true' if v is string else 'false' }}\">"
        "{{ v if v is string else v | tojson }}</｜DSML｜parameter>\n"
        "{% endfor %}</｜DSML｜invoke>\n{% endfor %}</｜DSML｜function_calls>"
    ),
    "glm-4": template(_EACH + "\n<tool_call>{{ f.name }}\n" + _TAGGED_GLM, ("<think>", "</think>\n")),
    "glm-4.7": template(
        _EACH + "<tool_call>{{ f.name }}" + _TAGGED_GLM.replace("\n", ""), ("<think>", "</think>"), opening="<think>"
    ),
    "kimi-k2": template(
        "<|tool_calls_section_begin|>"
        + _EACH
        + "<|tool_call_begin|>functions.{{ f.name }}:{{ loop.index0 }}<|tool_call_argument_begin|>"
        "{{ f.arguments | tojson }}<|tool_call_end|>{% endfor %}<|tool_calls_section_end|>",
        ("<think>", "</think>"),
    ),
    "gemma-4": template(
        _EACH + "<|tool_call>call:{{ f.name }}{{ value(f.arguments, '<|\"|>') }}<tool_call|>{% endfor %}",
        ("<|channel>thought\n", "\n<channel|>"),
        extra=_GEMMA,
    ),
    "function-gemma": template(
        _EACH
        + "<start_function_call>call:{{ f.name }}{{ value(f.arguments, '<escape>') }}<end_function_call>{% endfor %}",
        extra=_GEMMA,
    ),
    "lfm2": template("<|tool_call_start|>" + _PYTHONIC + "<|tool_call_end|>"),
    "function-tags": template(_EACH + "<function={{ f.name }}>{{ f.arguments | tojson }}</function>{% endfor %}"),
    "harmony": (
        "{%- if reasoning_effort is not defined %}{% set reasoning_effort = 'medium' %}{% endif %}"
        "<|start|>system<|message|>Reasoning: {{ reasoning_effort }}<|end|>"
        "{%- if tools %}<|start|>developer<|message|>{{ tools | tojson }}<|end|>{% endif %}"
        "{%- for m in messages %}{% if m.role == 'assistant' and m.tool_calls %}"
        "{%- if m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
        "{%- for c in m.tool_calls %}<|start|>assistant to=functions.{{ c.function.name }}<|channel|>commentary json"
        "<|message|>{{ c.function.arguments | tojson }}<|call|>{% endfor %}"
        "{%- elif m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>"
        "{%- elif m.role == 'tool' %}<|start|>functions.f to=assistant<|channel|>commentary<|message|>"
        "{{ m.content }}<|end|>"
        "{%- else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
        "{%- if add_generation_prompt %}<|start|>assistant{% endif %}"
    ),
}
"""Templates by the name of their format."""

PLAIN: Final = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A template that knows neither tools nor reasoning."""
