"""Tool calls and reasoning of real model families, taken apart: how many of the cases of a public suite come out right.

    hatch run bench:tool-calls            the cases of llama.cpp's tests, with the chat templates beside them
    hatch run bench:tool-calls --wrong    show those that don't

The tests and 70 templates are in the source distribution of llama-cpp-python, which pip downloads; nothing of it is
built. Left out are cases of text that is cut, that continue a turn, that have a schema (an engine's matter), or that
want reasoning left in the content.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from cpp_fixtures import Case, read_cases

from llamaforge.chat import Answer, AnswerParser, ChatTemplate
from llamaforge.errors import LlamaForgeError
from llamaforge.requests import read_request

SDIST = "llama-cpp-python==0.3.36"
TESTS = "vendor/llama.cpp/tests/test-chat.cpp"
TEMPLATES = "vendor/llama.cpp/models/templates"
FAMILIES = {
    "Hermes, Qwen": ("Qwen-QwQ-32B", "Qwen-Qwen2.5", "Qwen-Qwen3-0.6B", "NousResearch-Hermes"),
    "Qwen3-Coder": ("Qwen3-Coder", "Qwen3.5", "NVIDIA-Nemotron-3", "StepFun3.5"),
    "Llama 3": ("meta-llama",),
    "Mistral": ("mistralai", "Mistral-Small", "unsloth-mistral"),
    "DeepSeek": ("deepseek-ai", "llama-cpp-deepseek"),
    "GLM 4": ("GLM",),
    "Kimi K2": ("Kimi-K2", "moonshotai"),
    "Gemma": ("google-gemma",),
    "gpt-oss": ("openai-gpt-oss",),
}
WHO = [{"role": "user", "content": "Hey there!"}]


def fetch(folder: Path) -> Path:
    """The root of the source distribution, downloaded and unpacked into *folder*."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:"]
    subprocess.run([*command, "-q", "-d", str(folder), SDIST], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        wanted = [each for each in tar.getmembers() if TESTS in each.name or TEMPLATES in each.name]
        tar.extractall(folder, wanted, filter="data")
    return next(folder.glob("llama_cpp_python-*/"))


def is_asked(case: Case) -> bool:
    """Whether the case is about what we promise."""
    settings = case.settings
    if settings.get("is_partial") or "continue_final_message" in settings or "messages" in settings:
        return False
    if settings.get("add_generation_prompt") is False or "json_schema" in settings:
        return False
    wants_reasoning = settings.get("reasoning_format", "COMMON_REASONING_FORMAT_NONE") != "COMMON_REASONING_FORMAT_NONE"
    return wants_reasoning or not any(mark in case.text for mark in ("think", "THINK", "analysis", "thought"))


def parsed(case: Case, template: ChatTemplate, size: int | None = None) -> Answer:
    """The parts of the case's text, fed in pieces of *size* characters; None: at once."""
    parameters: dict[str, Any] = {"tools": case.tools} if case.tools else {}
    thinks = case.settings.get("enable_thinking")
    if thinks is not None:
        parameters["chat_template_kwargs"] = {"enable_thinking": bool(thinks)}
    prompt = template.render(read_request(None, WHO, {**parameters, "on_unsupported": "drop"})).text
    parser = AnswerParser(template=template, tools=case.tools, prompt=prompt, id_seed=1)
    text = case.text
    for begin in range(0, len(text), size or len(text) or 1):
        parser.feed(text[begin : begin + (size or len(text))])
    parser.finish()
    return parser.answer


def arguments(text: str) -> Any:
    """What arguments say."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def is_right(case: Case, answer: Answer) -> bool:
    """Whether the parts are those that the test expects; white space at their edges doesn't count."""
    expected = case.expected
    calls = [(call.function.name, arguments(call.function.arguments)) for call in answer.tool_calls]
    return (
        answer.content.strip() == expected.content.strip()
        and answer.reasoning.strip() == expected.reasoning.strip()
        and calls == [(name, arguments(given)) for name, given in expected.calls]
    )


def family_of(template: str) -> str:
    """The family that a template's file belongs to."""
    return next((name for name, begins in FAMILIES.items() if template.startswith(begins)), "others")


def measure(root: Path, *, wrong: bool) -> None:
    """Run the cases, and print what comes out."""
    cases = read_cases(root / TESTS)
    compiled: dict[str, ChatTemplate] = {}
    right: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    uneven = 0
    for case in filter(is_asked, cases):
        file = root / TEMPLATES / case.template
        if not file.is_file():
            continue
        template = compiled.get(case.template)
        if template is None:
            tokens = {"bos_token": "<s>", "eos_token": "</s>"}
            template = compiled[case.template] = ChatTemplate(file.read_text("utf-8"), special_tokens=tokens)
        family = family_of(case.template)
        tried[family] += 1
        try:
            answer = parsed(case, template)
            uneven += any(parsed(case, template, size) != answer for size in (1, 3, 7))
        except LlamaForgeError as error:
            if wrong:
                print(f"{case.template}: {type(error).__name__}: {error}\n")
            continue
        right[family] += is_right(case, answer)
        if wrong and not is_right(case, answer):
            print(f"{case.template} {template.output_format(with_tools=bool(case.tools)).name}\n  {case.text!r}")
            print(f"  expected {case.expected}\n  found    {answer}\n")
    print(f"{'family':16}{'cases':>7}{'right':>7}")
    for family in [*FAMILIES, "others"]:
        if tried[family]:
            share = right[family] / tried[family]
            print(f"{family:16}{tried[family]:7}{right[family]:7}  {share:4.0%}")
    named = sum(tried[family] for family in FAMILIES)
    found = sum(right[family] for family in FAMILIES)
    print(f"nine families   {named:7}{found:7}  {found / named:4.0%}")
    print(f"all             {tried.total():7}{right.total():7}  {right.total() / tried.total():4.0%}")
    print(f"cut into pieces of 1, 3 and 7 characters, {uneven} of them come out otherwise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdist", type=Path, help="an unpacked source distribution, instead of downloading one")
    parser.add_argument("--wrong", action="store_true", help="show the cases that come out wrong")
    asked = parser.parse_args()
    if asked.sdist is not None:
        measure(asked.sdist, wrong=asked.wrong)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(fetch(Path(folder)), wrong=asked.wrong)


if __name__ == "__main__":
    main()
