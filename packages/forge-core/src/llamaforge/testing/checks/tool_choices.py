"""Which tool is called, and that the model is told of its tools."""

from __future__ import annotations

from typing import Any, Final

from ...errors import LlamaForgeError, RequestError
from ..expect import NotAsExpected, expect
from ..kit import Kit
from ..refusing import expect_a_refusal
from ..subject import Subject

TOOLS: Final[list[dict[str, Any]]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Call it to {name} something.",
            "parameters": {
                "type": "object",
                "properties": {"quickly": {"type": "boolean"}},
                "required": ["quickly"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("varnish", "whittle")
]


class ToolChoiceChecks(Kit):
    """Two tools, and whose turn it is."""

    def test_the_named_tool_is_called_and_none_is_none(self, subject: Subject) -> None:
        """A tool named by tool_choice is the one that is called, the second as well as the first; with "none", none is
        called. A model that can't refuses with a typed error.

        Why: a program that names a tool doesn't look at what else might come. Look at: the first tool taken for the
        named one.
        """
        if not subject.declares("tools", "tool_choice"):
            subject.refuses(tools=TOOLS, tool_choice="none")
            return
        given = {**subject.greedy, **subject.limit(128), "tools": TOOLS}
        named = [{"type": "function", "function": {"name": tool["function"]["name"]}} for tool in TOOLS]
        for choice in (*named, "none"):
            try:
                answer = subject.generate("Make it nice.", {**given, "tool_choice": choice})
            except LlamaForgeError as error:
                expect_a_refusal(error, f"a call with tool_choice={choice!r}")
                continue
            except Exception as error:
                raise NotAsExpected(f"a call, or a typed error, with tool_choice={choice!r}", error) from error
            wanted = set() if choice == "none" else {choice["function"]["name"]}  # type: ignore[index]
            called = {call.function.name for call in answer.tool_calls}
            expect(called <= wanted, f"no call but of {wanted or 'nothing'} with tool_choice={choice!r}", called)

    def test_tools_are_rendered(self, subject: Subject) -> None:
        """``render`` with tools shows the name of each; or the request is refused.

        Why: a model that isn't told of its tools invents some. Look at: the template's variable ``tools``.
        """
        if not subject.declares("tools"):
            subject.refuses(tools=TOOLS)
            return
        if not subject.has_template:
            return
        turns = [{"role": "user", "content": "Make it nice."}]
        try:
            rendered = subject.backend.render(messages=turns, parameters={"tools": TOOLS})
        except RequestError:
            return  # it can't show it, or has no tools in its template
        except Exception as error:
            raise NotAsExpected("a rendering, or a RequestError", error) from error
        for tool in TOOLS:
            name = tool["function"]["name"]
            expect(name in rendered, f"the tool's name, {name!r}, in what render() shows", rendered)
