"""The page in a real Chromium, over real models and scripted ones.

With ``SCREENSHOTS=FOLDER`` in the environment they keep pictures there, from which the documents' come.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from forge_serve import ServeConfig
from forge_serve.keys import Key
from llamaforge import LlamaForge
from llamaforge.backends.registry import register_backend
from llamaforge.models import DEFAULT_MODEL
from llamaforge.testing.fakes import ToyBackend
from support.browser import Visit, browsing, build_page
from support.serving import Running, Scripted, running, until

pytestmark = pytest.mark.engine
Open = Callable[..., Visit]
Picture = Callable[[Visit, str], None]
SIZES = {"narrow": (360, 720), "laptop": (1366, 768), "4k": (3840, 2160)}
MARKDOWN = """# Two ways

1. **Bold**, *italic* and `code`
2. A [link](https://example.org) and [another](javascript:alert(1))

| a | b |
| - | - |
| 1 | 2 |

<script>alert(1)</script> <img src="x" onerror="alert(1)">

```python
def add(a, b):
    return a + b
```
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    build_page()
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory, gguf_model: Path) -> Iterator[LlamaForge]:
    register_backend("scripted", Scripted, replace=True)
    register_backend("toy", ToyBackend, replace=True)
    with LlamaForge(tmp_path_factory.mktemp("page") / "models.toml") as forge:
        generation = {"temperature": 0.0, "max_tokens": 48}
        parameters = {**DEFAULT_MODEL.parameters, "n_ctx": 512}
        forge.add_model("smollm2", str(gguf_model), parameters=parameters, generation=generation)
        generation = {"temperature": 0.9, "seed": 1, "max_tokens": 48}
        forge.add_model("smollm2-warm", str(gguf_model), parameters=parameters, generation=generation)
        forge.add_model("toy", "toy", backend="toy", parameters={"n_ctx": 256}, generation={"max_tokens": 24})
        forge.add_model("echo", "echo", backend="echo")
        for name in ("one", "slow", "broken"):
            forge.add_model(name, name, backend="scripted")
        yield forge


@pytest.fixture(scope="module")
def served(forge: LlamaForge, browser: Browser) -> Iterator[Running]:
    with running(forge, ServeConfig()) as server:
        yield server


@pytest.fixture
def server(served: Running) -> Running:
    """One server for all tests, whose scripted models begin anew."""
    for state in (Scripted.cancelled, Scripted.begun, Scripted.gate):
        state.clear()
    Scripted.asked.clear()
    return served


def unload(server: Running, name: str) -> None:
    """Unload a model that an earlier test may have left loaded, as soon as nothing uses it."""

    def is_unloaded() -> bool:
        server.forge.pool.unload_idle(0, name)
        return not server.forge.is_model_loaded(name)

    until(is_unloaded)


@pytest.fixture
def visit(server: Running, browser: Browser) -> Iterator[Open]:
    """Opens the page in a new profile; at the end it must not have complained."""
    opened: list[Visit] = []

    def open_page(model: str | None = None, url: str | None = None, **settings: Any) -> Visit:
        made = Visit(browser, url or server.url, **settings)
        opened.append(made)
        if model is not None:
            made.choose(model)
        return made

    yield open_page
    for each in opened:
        each.context.close()
        assert each.complaints == []


@pytest.fixture
def picture() -> Picture:
    """Keeps a picture for the documents, if SCREENSHOTS names a folder."""
    folder = os.environ.get("SCREENSHOTS")

    def take(seen: Visit, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            seen.page.evaluate("document.activeElement.blur()")
            seen.page.screenshot(path=str(Path(folder) / f"{name}.png"), animations="disabled")

    return take


def turns(seen: Visit) -> list[tuple[str, str]]:
    """Role and text of what the scripted model was asked last."""
    seen.answered(seen.page.locator("article.answer").count())
    return [(message.role, message.text) for message in Scripted.asked[-1].as_messages()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_real_model_answers(visit: Open, picture: Picture, scheme: str) -> None:
    seen = visit("smollm2", color_scheme=scheme)
    seen.accessible()
    picture(seen, f"welcome-{scheme}")
    seen.page.set_viewport_size({"width": 360, "height": 720})
    seen.fits()
    picture(seen, f"welcome-narrow-{scheme}")
    seen.page.set_viewport_size({"width": 1366, "height": 768})
    seen.say("What is the capital of France?")
    seen.answered()
    answer = seen.page.locator("article.answer")
    expect(answer).to_contain_text("Paris")
    expect(answer.locator(".figures")).to_contain_text(re.compile(r"\d+ tokens read.*\d+ written.*first after"))
    expect(seen.page.get_by_role("meter", name="Context")).to_have_attribute("aria-valuemax", "512")
    expect(seen.page.locator("[role=status]").first).to_be_attached()
    expect(seen.page).to_have_title(re.compile("What is the capital of France"))
    seen.settings()
    expect(seen.page.get_by_label("Temperature", exact=True)).to_have_attribute("placeholder", "0")
    seen.section("Probabilities")
    seen.page.get_by_label(re.compile("Show the probability")).check()
    seen.accessible()
    picture(seen, f"settings-{scheme}")
    seen.say("And of Italy?")
    seen.answered(2)
    tokens = seen.page.locator(".token")
    tokens.first.hover()
    expect(seen.page.get_by_role("tooltip")).to_contain_text("%")
    assert seen.page.get_by_role("tooltip").locator("tr").count() >= 5
    picture(seen, f"probabilities-{scheme}")
    seen.accessible()
    seen.page.get_by_role("group", name="The answer's tokens").focus()
    seen.page.keyboard.press("ArrowRight")
    expect(seen.page.locator(".token.at")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_size(visit: Open, picture: Picture, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    seen = visit(viewport={"width": width, "height": height}, color_scheme=scheme)
    seen.choose("echo")
    seen.fits()
    seen.say(MARKDOWN)
    seen.answered()
    expect(seen.page.locator(".code .hljs-keyword").first).to_have_text("def")
    seen.fits()
    seen.accessible()
    picture(seen, f"{size}-{scheme}")
    seen.page.get_by_role("button", name="Compare two models").click()
    seen.choose("one", 1)
    seen.say("Hello")
    seen.answered(3)
    expect(seen.page.locator("article.answer .actions").last).to_be_in_viewport()
    seen.fits()
    picture(seen, f"compare-{size}-{scheme}")
    seen.settings()
    seen.fits()
    seen.accessible()
    picture(seen, f"panel-{size}-{scheme}")
    seen.page.get_by_role("button", name="Close the settings").click()
    if size == "narrow":
        seen.page.get_by_role("button", name="Conversations").click()
        expect(seen.page.get_by_role("navigation")).to_be_visible()
        picture(seen, f"list-{size}-{scheme}")
    seen.page.get_by_role("button", name="Models", exact=True).click()
    expect(seen.page.get_by_role("dialog")).to_contain_text("smollm2")
    seen.fits()
    seen.accessible()
    picture(seen, f"models-{size}-{scheme}")


def test_answers_are_untrusted(visit: Open) -> None:
    seen = visit("echo")
    seen.say(MARKDOWN)
    seen.answered()
    shown = seen.page.locator(".markdown")
    expect(shown.locator("h1")).to_have_text("Two ways")
    expect(shown.locator("td").first).to_have_text("1")
    expect(shown.locator("script, img")).to_have_count(0)
    expect(shown).to_contain_text("<script>alert(1)</script>")
    links = shown.locator("a")
    expect(links.first).to_have_attribute("rel", re.compile("noopener noreferrer"))
    assert seen.page.evaluate("[...document.querySelectorAll('.markdown a')].map((each) => each.protocol)") == [
        "https:",
        ":",
    ]


MATH = r"""The root is $x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$, and \(a \neq 0\); it costs $5, or $6 in `$HOME$`.

$$
\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}
$$

\[ \sum_{n=1}^\infty \frac{1}{n^2} = \frac{\pi^2}{6} \]

No formula: $\frac{1$, and <math href="javascript:alert(1)"><mtext><script>alert(1)</script></mtext></math>
"""


def test_formulas(visit: Open, picture: Picture) -> None:
    seen = visit("echo")
    seen.say(MATH)
    seen.answered()
    shown = seen.page.locator("article.answer .markdown")
    expect(shown.locator("math")).to_have_count(4)
    expect(shown.locator("math[display=block]")).to_have_count(2)
    expect(shown.locator("mfrac").first).to_be_visible()
    expect(shown.locator("mtd")).to_have_count(4)
    expect(shown).to_contain_text("it costs $5, or $6 in $HOME$.")
    expect(shown.locator("code")).to_have_text(["$HOME$", r"$\frac{1$"])
    expect(shown.locator("script, [href]")).to_have_count(0)
    seen.fits()
    seen.accessible()
    picture(seen, "math")


def two_conversations(visit: Open) -> Visit:
    """A page with two conversations; the second one is shown."""
    seen = visit("echo")
    seen.say("The first")
    seen.answered()
    seen.page.get_by_role("button", name="New chat").first.click()
    seen.say("The second")
    seen.answered()
    return seen


def test_a_conversation_has_an_address(visit: Open) -> None:
    seen = two_conversations(visit)
    questions = seen.page.locator(".bubble")
    expect(questions).to_have_text(["The second"])
    seen.page.reload()
    expect(questions).to_have_text(["The second"])
    seen.page.go_back()
    expect(questions).to_have_text(["The first"])
    seen.page.go_forward()
    expect(questions).to_have_text(["The second"])
    seen.page.goto(f"{seen.page.url.partition('#')[0]}#no-such-conversation")
    expect(questions).to_have_count(0)


BACK_AT_ONCE = """
window.requestAnimationFrame = (work) => setTimeout(() => work(performance.now()), 1000);
new MutationObserver((_, observer) => {
  if (document.querySelector(".bubble")) {
    observer.disconnect();
    history.back();
  }
}).observe(document, { childList: true, subtree: true });
"""


def test_the_back_button_may_be_faster_than_the_page(visit: Open) -> None:
    """Whoever goes back before the page has done all it does after drawing can go forward again."""
    seen = two_conversations(visit)
    seen.page.add_init_script(BACK_AT_ONCE)
    seen.page.reload()
    questions = seen.page.locator(".bubble")
    expect(questions).to_have_text(["The first"])
    seen.page.wait_for_timeout(1500)  # until all of that is done
    seen.page.go_forward()
    expect(questions).to_have_text(["The second"])


def test_what_is_set_is_seen(visit: Open) -> None:
    seen = visit("one")
    expect(seen.page.locator(".system, .dot")).to_have_count(0)
    seen.settings()
    seen.page.get_by_label("System prompt", exact=True).fill("Be brief.")
    expect(seen.page.locator(".dot")).to_be_visible()
    seen.section("Tools")
    seen.page.get_by_role("button", name="Insert an example").click()
    seen.page.get_by_label("Functions, as JSON").fill("")
    expect(seen.page.get_by_label("Functions, as JSON")).to_be_focused()
    seen.page.get_by_role("button", name="Close the settings").click()
    seen.page.locator(".system").click()
    expect(seen.page.get_by_label("System prompt", exact=True)).to_be_focused()
    seen.accessible()


def test_long_questions_are_folded(visit: Open) -> None:
    seen = visit("one")
    seen.say("\n".join(f"Line {number}" for number in range(200)))
    seen.answered()
    bubble = seen.page.locator(".bubble")
    height = bubble.bounding_box()
    assert height is not None
    assert height["height"] < 400
    bubble.get_by_role("button", name="Show all of it").click()
    expect(bubble.get_by_role("button", name="Show less")).to_be_visible()
    unfolded = bubble.bounding_box()
    assert unfolded is not None
    assert unfolded["height"] > 3000


def test_text_files_are_put_into_the_message(visit: Open, tmp_path: Path) -> None:
    code = "def add(a, b):\n    return a + b  # ```"
    (tmp_path / "add.py").write_text(f"{code}\n", "utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\x00\xff")
    seen = visit("echo")
    box = seen.page.get_by_label("Message", exact=True)
    box.fill("What is this?")
    seen.page.locator("#file").set_input_files([tmp_path / "add.py", tmp_path / "picture.png"])
    expect(seen.page.locator(".toast")).to_contain_text("“picture.png” is no text file")
    expect(box).to_have_value(f"What is this?\n\nadd.py\n````py\n{code}\n````\n")
    box.press("Enter")
    seen.answered()
    expect(seen.page.locator("article.answer .code .hljs-keyword").first).to_have_text("def")


def test_a_load_is_followed(visit: Open, server: Running) -> None:
    unload(server, "slow")
    seen = visit("slow")
    seen.say("Hi")
    expect(seen.page.locator(".waiting")).to_contain_text("Loading slow")
    Scripted.gate.set()
    seen.answered()
    seen.say("think")
    until(Scripted.begun.is_set)
    expect(seen.page.locator(".waiting")).to_have_text("Reading…")
    seen.page.keyboard.press("Escape")
    seen.answered(2)


def test_stopping_and_answering_again(visit: Open) -> None:
    seen = visit("one")
    seen.say("wait")
    until(Scripted.begun.is_set)
    expect(seen.page.locator("article.answer")).to_contain_text("begun")
    seen.page.keyboard.press("Escape")
    until(Scripted.cancelled.is_set)
    seen.answered()
    expect(seen.page.locator(".figures")).to_contain_text("stopped")
    Scripted.begun.clear()
    Scripted.cancelled.clear()
    seen.page.get_by_role("button", name="Answer again").click()
    until(Scripted.begun.is_set)
    seen.page.get_by_role("button", name="Stop", exact=True).click()
    until(Scripted.cancelled.is_set)
    seen.answered()
    expect(seen.page.get_by_role("group", name="Answer 2 of 2")).to_be_visible()


def test_editing_makes_a_branch_and_each_keeps_what_followed(visit: Open) -> None:
    seen = visit("echo")
    for place, text in enumerate(("first", "second"), 1):
        seen.say(text)
        seen.answered(place)
    questions = seen.page.locator(".bubble")
    seen.page.locator("article.question").first.hover()
    seen.page.get_by_role("button", name="Edit the question").first.click()
    seen.page.get_by_label("The question", exact=True).fill("other")
    seen.page.get_by_role("button", name="Ask again").click()
    seen.answered()
    expect(questions).to_have_text(["other"])
    seen.page.get_by_role("button", name="Previous version").click()
    expect(questions).to_have_text(["first", "second"])
    # A second answer to the first question has its own continuation, too.
    seen.page.locator("article.answer").first.hover()
    seen.page.get_by_role("button", name="Answer again").first.click()
    expect(questions).to_have_text(["first"])
    seen.answered()
    seen.page.get_by_role("button", name="Previous answer").click()
    expect(questions).to_have_text(["first", "second"])
    seen.page.get_by_role("button", name="Branch off").first.click()
    expect(questions).to_have_text(["first"])
    expect(seen.page.locator(".entry")).to_have_count(2)


def test_the_messages_that_reach_the_model(visit: Open) -> None:
    seen = visit("one")
    seen.settings()
    seen.page.get_by_label("System prompt", exact=True).fill("Be brief.")
    seen.page.get_by_label("Temperature", exact=True).fill("0.5")
    seen.page.get_by_label("Stop", exact=True).fill("END\nSTOP")
    seen.page.get_by_label("Max tokens", exact=True).fill("no number")
    expect(seen.page.locator(".wrong")).to_have_text("It must be a number.")
    seen.page.get_by_label("Max tokens", exact=True).fill("77")
    expect(seen.page.locator(".wrong")).to_have_count(0)
    seen.say("One")
    seen.answered()
    seen.say("fail")
    seen.answered(2)
    expect(seen.page.get_by_role("alert").filter(has_text="The engine has failed")).to_be_visible()
    seen.say("Two")
    seen.answered(3)
    asked = Scripted.asked[-1]
    assert (asked.temperature, asked.stop, asked.max_tokens) == (0.5, ("END", "STOP"), 77)
    assert [(message.role, message.text) for message in asked.as_messages()] == [
        ("system", "Be brief."),
        ("user", "One"),
        ("assistant", "Hello wörld one"),
        ("user", "Two"),
    ]


def test_a_schema_from_fields(visit: Open, picture: Picture) -> None:
    seen = visit("one")
    seen.settings()
    seen.section("Structured answer")
    seen.page.get_by_label("The answer is").select_option("json_schema")
    seen.page.get_by_label("Name of field 1").fill("city")
    seen.page.get_by_role("button", name="Add a field").click()
    seen.page.get_by_label("Type of field_2").select_option("integer[]")
    seen.accessible()
    picture(seen, "schema")
    seen.page.get_by_role("button", name="JSON schema", exact=True).click()
    expect(seen.page.get_by_label("JSON schema", exact=True).last).to_have_value(re.compile('"city"'))
    seen.say("Go")
    seen.answered()
    expect(seen.page.locator("article.answer pre")).to_have_text(re.compile(r'\{\s+"a": 1\s+\}'))
    assert Scripted.asked[-1].response_format == {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "schema": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "field_2": {"type": "array", "items": {"type": "integer"}}},
                "required": ["city", "field_2"],
                "additionalProperties": False,
            },
        },
    }
    seen.page.get_by_label("JSON schema", exact=True).last.fill("{")
    seen.say("Go")
    expect(seen.page.locator(".toast")).to_contain_text("not JSON")
    expect(seen.page.locator("article.answer")).to_have_count(1)


def test_tools_are_shown_as_they_are_called(visit: Open, picture: Picture) -> None:
    seen = visit("one")
    seen.settings()
    seen.section("Tools")
    seen.page.get_by_role("button", name="Insert an example").click()
    seen.say("call")
    seen.answered()
    call = seen.page.get_by_role("region", name="Call of weather")
    expect(call.locator("pre")).to_have_text(re.compile(r'\{\s+"city": "Oslo"\s+\}'))
    call.get_by_label("What does it return?").fill('{"temperature": 4}')
    seen.accessible()
    picture(seen, "tools")
    seen.page.get_by_role("button", name="Send the result").click()
    expect(seen.page.locator("article.answer")).to_contain_text("Hello wörld")
    assert turns(seen)[-1] == ("tool", '{"temperature": 4}')
    assert Scripted.asked[-1].as_messages()[-2].tool_calls[0].function.arguments == '{"city":"Oslo"}'
    seen.page.reload()
    seen.page.locator(".entry .title").click()
    expect(call).to_contain_text("temperature")


def test_reasoning_is_folded(visit: Open) -> None:
    seen = visit("one")
    seen.say("reason")
    seen.answered()
    expect(seen.page.get_by_text("Let me see.")).to_be_hidden()
    seen.page.get_by_text(re.compile(r"Thought for \d")).click()
    expect(seen.page.get_by_text("Let me see.")).to_be_visible()
    seen.say("again")
    seen.answered(2)
    assert ("assistant", "Hello wörld one") in turns(seen)


def test_two_models_answer_one_question(visit: Open) -> None:
    seen = visit("echo")
    seen.page.get_by_role("button", name="Compare two models").click()
    seen.choose("one", 1)
    seen.say("Hi")
    seen.answered(2)
    expect(seen.page.get_by_role("article", name="Answer of echo")).to_contain_text("Hi")
    expect(seen.page.get_by_role("article", name="Answer of one")).to_contain_text("Hello wörld one")
    seen.say("More")
    seen.answered(4)
    assert turns(seen) == [("user", "Hi"), ("assistant", "Hello wörld one"), ("user", "More")]


def test_two_real_models_answer_at_once(visit: Open, picture: Picture) -> None:
    seen = visit("smollm2")
    seen.page.get_by_role("button", name="Compare two models").click()
    seen.choose("smollm2-warm", 1)
    seen.say("Name three fruits, one in each line.")
    seen.answered(2)
    expect(seen.page.locator(".figures")).to_have_count(2)
    expect(seen.page.locator(".problem")).to_have_count(0)
    picture(seen, "two-light")


def test_conversations_stay_are_found_and_travel(visit: Open, tmp_path: Path) -> None:
    seen = visit("echo")
    for text in ("The tortoise wins", "The hare sleeps"):
        seen.page.get_by_role("button", name="New chat").first.click()
        seen.say(text)
        seen.answered()
    seen.page.reload()
    titles = seen.page.locator(".entry .title")
    expect(titles).to_have_text(["The hare sleeps", "The tortoise wins"])
    seen.page.get_by_label("Search conversations").fill("WINS tortoise")
    expect(titles).to_have_text(["The tortoise wins"])
    seen.page.get_by_label("Search conversations").fill("tortoise")
    expect(seen.page.locator(".hit")).to_have_count(0)
    seen.page.get_by_label("Search conversations").fill("")
    seen.page.get_by_role("button", name="Export and import").click()
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name="Export all (2)").click()
    file = tmp_path / "exported.json"
    download.value.save_as(file)
    other = visit()
    other.page.get_by_role("button", name="Export and import").click()
    chooser = other.page.get_by_label("Import a file of this page")
    (tmp_path / "wrong.json").write_text(json.dumps({"conversations": 1}))
    chooser.set_input_files(tmp_path / "wrong.json")
    expect(other.page.get_by_role("alert").filter(has_text="no conversations of LlamaForge")).to_be_visible()
    damaged = json.loads(file.read_text())
    next(iter(damaged["conversations"][1]["turns"].values()))["lanes"] = "none"
    (tmp_path / "damaged.json").write_text(json.dumps(damaged))
    chooser.set_input_files(tmp_path / "damaged.json")
    expect(other.page.get_by_role("alert").filter(has_text="Conversation 2 of this file is damaged")).to_be_visible()
    chooser.set_input_files(file)
    expect(other.page.locator(".entry .title")).to_have_text(["The hare sleeps", "The tortoise wins"])
    other.page.locator(".entry .title").first.click()
    expect(other.page.locator("article.answer")).to_contain_text("The hare sleeps")
    other.page.locator(".entry").first.hover()
    other.page.get_by_role("button", name="Delete “The hare sleeps”").click()
    expect(other.page.locator(".entry")).to_have_count(1)
    other.page.get_by_role("button", name="Undo").click()
    expect(other.page.locator(".entry")).to_have_count(2)


def test_models_are_loaded_and_unloaded(visit: Open, server: Running) -> None:
    unload(server, "slow")
    seen = visit("echo")
    seen.page.get_by_role("button", name="Models", exact=True).click()
    dialog = seen.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Load slow", exact=True).click()
    expect(dialog.get_by_role("progressbar", name="Loading slow")).to_be_visible()
    Scripted.gate.set()
    expect(dialog.get_by_role("button", name="Unload slow", exact=True)).to_be_enabled()
    expect(dialog.locator("li", has_text="slow")).to_contain_text("Loaded")
    pin = dialog.get_by_role("button", name="Keep slow in memory")
    pin.click()
    expect(pin).to_have_attribute("aria-pressed", "true")
    pin.click()
    expect(pin).to_have_attribute("aria-pressed", "false")
    dialog.get_by_role("button", name="Unload slow", exact=True).click()
    expect(dialog.get_by_role("button", name="Load slow", exact=True)).to_be_enabled()
    assert not server.forge.is_model_loaded("slow")
    dialog.get_by_role("button", name="Load broken", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("no such weights")
    seen.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_key_is_asked_for(visit: Open, picture: Picture, forge: LlamaForge, server: Running) -> None:
    with running(forge, ServeConfig(keys=(Key.of("sesame"),))) as locked:
        seen = visit(url=locked.url)
        dialog = seen.page.get_by_role("dialog", name="This server asks for a key")
        dialog.get_by_role("button", name="Close").click()
        seen.page.get_by_role("button", name="Try again").click()
        dialog.get_by_label("API key").fill("wrong")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog.get_by_role("alert")).to_contain_text("doesn't know this key")
        seen.accessible()
        picture(seen, "key")
        dialog.get_by_label("API key").fill("sesame")
        dialog.get_by_role("button", name="Use this key").click()
        seen.choose("echo")
        seen.say("open")
        seen.answered()
        # The key may use models, and not administer them: the list is shown all the same.
        seen.page.get_by_role("button", name="Models", exact=True).click()
        seen.page.get_by_role("button", name="Load toy").click()
        expect(seen.page.get_by_role("dialog").get_by_role("alert")).to_contain_text("lacks the scope 'admin'")


def test_the_keyboard_is_enough(visit: Open) -> None:
    seen = visit("echo")
    page = seen.page
    page.keyboard.press("Escape")
    page.get_by_label("Message", exact=True).focus()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    seen.answered()
    expect(page.locator(".bubble")).to_have_text("one\ntwo")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("The question", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Models", exact=True).focus()
    page.keyboard.press("/")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.press("Control+k")
    expect(page.get_by_label("Search conversations")).to_be_focused()
    page.keyboard.press("Control+Shift+o")
    expect(page.locator("article.answer")).to_have_count(0)
    page.keyboard.press("Control+Comma")
    expect(page.get_by_role("complementary", name="Settings")).to_be_visible()
    page.keyboard.press("Control+Shift+m")
    expect(page.get_by_role("dialog", name="Models")).to_be_visible()


def test_colours_can_be_chosen(visit: Open) -> None:
    seen = visit("echo")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = seen.page.evaluate(colour)
    seen.page.get_by_role("button", name="Dark").click()
    assert seen.page.evaluate(colour) != light
    seen.page.reload()
    expect(seen.page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    assert seen.page.evaluate(colour) != light


def test_the_first_load_is_small_and_comes_from_here_alone(visit: Open, server: Running) -> None:
    seen = visit("echo")
    loaded = seen.page.evaluate(
        "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
        ".map((each) => [each.name, each.encodedBodySize])"
    )
    assert all(name.startswith(server.url) for name, _ in loaded)
    assert not any("highlight" in name for name, _ in loaded)
    size = sum(size for _, size in loaded)
    assert 10_000 < size < 250_000
