"""An engine with a chat template that writes what a test wants it to, as far as it may; where it may not, anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llamaforge.backends.spec import BackendSpec, Capabilities
from llamaforge.chat import ChatTemplate, ControlToken
from llamaforge.chat.families import FAMILIES
from llamaforge.engine import (
    BatchEntry,
    Choice,
    EngineBackend,
    EngineConfig,
    Prompt,
    SamplingParams,
    StepResult,
    TokenTable,
    choose_while_guessed,
)
from llamaforge.requests import GenerationRequest

from .dice_engine import DiceEngine

MARKERS = sorted({marker for form in FAMILIES for marker in form.markers()})
BYTES = [bytes([byte]) for byte in range(256)]


class TalkingEngine(DiceEngine):
    """Bytes, the markers of all formats as special tokens (unless *plain*), and one token that ends an answer.

    *wants* says what it would like to answer to a prompt.
    """

    def __init__(
        self,
        template: str,
        wants: Callable[[str], str],
        *,
        plain: bool = False,
        masks: bool = True,
        context: int = 6000,
    ) -> None:
        super().__init__()
        self.n_ctx, self.n_batch = context, 512
        self.can_mask = masks
        self.markers = [] if plain else MARKERS
        self.end = 256 + len(self.markers)
        self.vocab_size = self.end + 1
        self.end_tokens = frozenset({self.end})
        self.table = TokenTable(
            [*BYTES, *(b"" for _ in self.markers), b""],
            {**{256 + index: marker for index, marker in enumerate(self.markers)}, self.end: "<|endoftext|>"},
        )
        controls = [ControlToken(marker) for marker in self.markers]
        self.chat_template = ChatTemplate(template, control_tokens=controls) if template else None
        self.wants = wants
        self.prompts: list[str] = []

    def render(self, request: GenerationRequest) -> str:
        if self.chat_template is None or request.raw:
            return request.as_messages()[-1].text
        return self.chat_template.render(request).text

    def tokenize(self, request: GenerationRequest) -> Prompt:
        text = self.render(request)
        self.prompts.append(text)
        return Prompt(self.tokens_of(text))

    def tokenize_text(self, text: str) -> list[int]:
        return list(text.encode())

    def tokens_of(self, text: str) -> list[int]:
        tokens: list[int] = []
        at = 0
        while at < len(text):
            found = next((index for index, marker in enumerate(self.markers) if text.startswith(marker, at)), None)
            if found is None:
                tokens += text[at].encode()
                at += 1
            else:
                tokens.append(256 + found)
                at += len(self.markers[found])
        return tokens

    def token_table(self) -> TokenTable:
        return self.table

    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> Any:
        wanted = [*self.tokens_of(self.wants(self.prompts[-1])), self.end]
        return Talk(SamplingParams.of(request), wanted, len(prompt))

    def _compute(self, entry: BatchEntry[Any]) -> StepResult:
        slot = self.slots[entry.slot]
        assert len(slot) == entry.start
        slot.extend(entry.tokens)
        if entry.sampling is None:
            return []
        end = len(slot) - entry.draft

        def choose(row: int) -> Choice:
            allowed = list(range(self.vocab_size))
            if entry.masks is not None:
                mask = entry.masks[row]
                allowed = [token for token in allowed if mask[token >> 3] >> (token & 7) & 1]
                assert allowed, "a mask allows no token"
            talk: Talk = entry.sampling
            return talk.next(slot[talk.begin : end + row], allowed)

        return choose_while_guessed(entry, choose)


class Talk:
    """The next wanted token while the answer is what was wanted; otherwise any that is allowed, letters first."""

    def __init__(self, params: SamplingParams, wanted: list[int], begin: int) -> None:
        from .dice_engine import Dice

        self.begin, self._wanted, self._dice = begin, wanted, Dice(params)

    def next(self, answer: list[int], allowed: list[int]) -> Choice:
        if len(answer) < len(self._wanted) and answer == self._wanted[: len(answer)]:
            wanted = self._wanted[len(answer)]
            if wanted in allowed:
                return self._dice.choose(0, [wanted], wanted)
        good = [token for token in allowed if token > 255 or 32 <= token < 127]
        return self._dice.choose(len(answer), good or allowed, allowed[0] if len(allowed) == 1 else None)

    def close(self) -> None:
        pass


class TalkingBackend(EngineBackend):
    """*wants* is what it would like to answer, or says it for each prompt."""

    spec = BackendSpec(
        name="talking",
        target="",
        config="",
        summary="",
        capabilities=Capabilities(
            parameters=frozenset(
                {"max_tokens", "temperature", "seed", "stop", "logprobs", "top_logprobs", "response_format", "grammar"}
                | {"tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "max_reasoning_tokens"}
                | {"chat_template_kwargs", "parse_special"}
            )
        ),
    )
    config_class = EngineConfig

    def __init__(self, template: str, wants: str | Callable[[str], str] = "", **more: Any) -> None:
        super().__init__()
        say = wants if callable(wants) else lambda prompt: wants
        self._make = lambda: TalkingEngine(template, say, **more)
        self.load_model("talking", {"n_parallel": 2})

    def open_engine(self, model_path: str, config: EngineConfig) -> TalkingEngine:
        self.engine = self._make()
        return self.engine
