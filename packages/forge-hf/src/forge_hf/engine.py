"""The model behind the scheduler: what callers ask of it, and its steps."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from llamaforge import engine
from llamaforge.backends.memory import MemoryUsage
from llamaforge.chat import ChatTemplate
from llamaforge.engine import BatchEntry, Choice, Detokenizer, StepResult
from llamaforge.errors import GenerationError, InvalidParameterError, NoChatTemplateError
from llamaforge.requests import GenerationRequest

from .devices import empty_cache
from .forward import Forward
from .memory import memory_of, trim_heap
from .rows import Found
from .sampling import Sampler, no_numbers
from .self_test import choose_rows
from .tokenizer import Vocabulary
from .weight_prepacking import pack


class Engine(engine.Engine):
    """A loaded model.

    Args:
        name: the model, for messages.
        model: the transformers model.
        vocabulary: its tokenizer.
        template: its chat template; None where it has none.
        n_ctx: context length, in tokens.
        n_batch: tokens that a step may have.
        n_slots: texts that may be held at once.
        generation_defaults: what the model's makers recommend for sampling, by canonical name.

    Attributes:
        vocabulary, template, generation_defaults: as given.
        end_tokens: each of them ends an answer.
        vocab_size: length of the logits.
        one_at_a_time: why requests don't share a forward pass; None where they do.

    Raises ModelLoadError or InvalidModelError where the model can't generate.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        vocabulary: Vocabulary,
        template: ChatTemplate | None,
        *,
        n_ctx: int,
        n_batch: int,
        n_slots: int,
        generation_defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self._name = name
        self.template = template
        self.n_ctx = n_ctx
        self.n_batch = n_batch
        self.n_slots = n_slots
        self.generation_defaults: Mapping[str, Any] = generation_defaults or {}
        self.end_tokens = _end_tokens(model, vocabulary, template)
        self._model = model
        self._forward = Forward(model)
        pack(self._forward)
        self._rows, self.vocab_size, self.one_at_a_time = choose_rows(self._forward, name, n_ctx)
        self.can_trim, self.can_copy = self._rows.can_trim, self._rows.can_copy

    def render(self, request: GenerationRequest) -> str:
        """In the chat template's words, or as it stands."""
        if request.prompt is not None and (request.raw or self.template is None):
            return self.vocabulary.raw_text(request.prompt)
        return self._template_for_messages().render(request).text

    def tokenize(self, request: GenerationRequest) -> list[int]:
        """The tokens of what :meth:`render` shows."""
        if request.prompt is not None and (request.raw or self.template is None):
            return self.vocabulary.encode_raw(request.prompt)
        template = self._template_for_messages()
        prompt = template.render(request)
        if not prompt.literal_spans:
            return self.vocabulary.encode(prompt.text)
        return self.vocabulary.encode_pieces(template.control_tokens.pieces(prompt))

    def _template_for_messages(self) -> ChatTemplate:
        if self.template is None:
            raise NoChatTemplateError(self._name)
        return self.template

    def check(self, request: GenerationRequest) -> None:
        """Raises InvalidParameterError where logit_bias names a token that the model doesn't have."""
        for token in request.logit_bias or ():
            if not 0 <= token < self.vocab_size:
                raise InvalidParameterError(
                    "logit_bias", token, f"a mapping from tokens of this model, 0 to {self.vocab_size - 1}, to numbers"
                )

    def ends(self, token: int) -> bool:
        """By the model's own settings, by the tokenizer, or by the chat template."""
        return token in self.end_tokens

    def detokenizer(self, request: GenerationRequest, prompt: Sequence[int]) -> Detokenizer:
        """Exact text, token by token where the tokenizer allows it."""
        return self.vocabulary.detokenizer(prompt)

    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> Sampler:
        """Raises GenerationError for tokens that the model doesn't know."""
        if max(prompt) >= self._forward.embeddings:
            raise GenerationError(
                f"The tokenizer made the token {max(prompt)}, but the model has only {self._forward.embeddings}: the "
                "two don't belong together."
            )
        return Sampler(request, prompt, self.vocab_size, self.vocabulary.token_text)

    @torch.inference_mode()
    def compute(self, entries: Sequence[BatchEntry]) -> list[StepResult]:
        """As few forward passes as are worth it, then the choices."""
        found = self._rows.compute(entries)
        results = _choose(entries, found)
        for entry, result in zip(entries, results, strict=True):
            if isinstance(result, GenerationError):
                self._rows.wipe(entry.slot)
        return results

    @torch.inference_mode()
    def trim(self, slot: int, length: int) -> int:
        """Anywhere, where requests share forward passes; else where the model's own cache can be cut."""
        return self._rows.trim(slot, length)

    @torch.inference_mode()
    def copy(self, source: int, target: int, length: int) -> int:
        """A copy in memory."""
        return self._rows.copy(source, target, length)

    def interrupt(self, wanted: bool) -> None:
        """The step ends within a layer of the model where requests share forward passes; else within a pass."""
        self._rows.interrupt(wanted)

    def memory(self) -> MemoryUsage:
        """The bytes of the weights and of the keys and values, by where they are."""
        return memory_of([*self._model.parameters(), *self._model.buffers(), *self._rows.tensors()])

    def close(self) -> None:
        """Give model and cache back."""
        del self._model, self._forward, self._rows
        gc.collect()
        empty_cache()
        trim_heap()


def _choose(entries: Sequence[BatchEntry], found: Sequence[Found]) -> list[StepResult]:
    """The choices of all entries; what comes from the device comes in one piece for all."""
    results: list[StepResult] = [each if isinstance(each, Exception) else [] for each in found]
    logits = {index: each for index, each in enumerate(found) if isinstance(each, Tensor)}
    plain = [index for index in logits if entries[index].sampling.is_plain]
    others = [index for index in logits if not entries[index].sampling.is_plain]
    for index, best in zip(plain, _best([logits[index] for index in plain]), strict=True):
        results[index] = _accept(entries[index], best)
    for index, own in zip(others, _on_host([logits[index] for index in others]), strict=True):
        results[index] = _sample(entries[index], own)
    return results


def _accept(entry: BatchEntry, best: Sequence[int]) -> StepResult:
    """The best token after the last certain one, and after each guess that was right."""
    choices: list[Choice] = []
    for token, guess in zip(best, [*entry.tokens[entry.certain :], None], strict=True):
        if token < 0:
            return no_numbers()
        choices.append(Choice(token))
        if token != guess:
            break
    return choices


def _sample(entry: BatchEntry, logits: Tensor) -> StepResult:
    """The same, as the request's parameters have it."""
    choices: list[Choice] = []
    try:
        for row, guess in zip(logits, [*entry.tokens[entry.certain :], None], strict=True):
            choices.append(entry.sampling.choose(row))
            if choices[-1].token != guess:
                break
    except GenerationError as error:
        return error
    return choices


def _best(found: Sequence[Tensor]) -> list[list[int]]:
    """The best token after each row of each tensor; -1 where the logits are no numbers."""
    if not found:
        return []
    best, tokens = _joined(found).max(dim=-1)
    chosen: Iterator[int] = iter(torch.where(best.isnan(), -1, tokens).tolist())
    return [[next(chosen) for _ in range(len(logits))] for logits in found]


def _on_host(found: Sequence[Tensor]) -> list[Tensor]:
    if not found:
        return []
    return list(torch.split(_joined(found).float().cpu(), [len(logits) for logits in found]))


def _joined(found: Sequence[Tensor]) -> Tensor:
    return found[0] if len(found) == 1 else torch.cat(list(found))


def _end_tokens(model: Any, vocabulary: Vocabulary, template: ChatTemplate | None) -> frozenset[int]:
    """What ends an answer: by the model's own settings, by the tokenizer, and by the chat template."""
    after = "" if template is None else template.after_answer()
    tokens: set[int] = {token for token in vocabulary.encode(after)[:1] if token in vocabulary.added}
    for owner in (getattr(model, "generation_config", None), model.config.get_text_config(), vocabulary.tokenizer):
        declared = getattr(owner, "eos_token_id", None)
        tokens.update(declared if isinstance(declared, list | tuple) else [] if declared is None else [declared])
    return frozenset(tokens)
