"""The model behind the scheduler: what callers ask of it, and its steps."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from llamaforge import engine
from llamaforge.backends.memory import MemoryUsage
from llamaforge.chat import ChatTemplate
from llamaforge.engine import (
    BatchEntry,
    Choice,
    Detokenizer,
    Prompt,
    SamplingParams,
    StepResult,
    TokenTable,
    choose_while_guessed,
)
from llamaforge.errors import GenerationError, NoChatTemplateError
from llamaforge.requests import GenerationRequest

from .devices import empty_cache
from .forward import Forward
from .memory import memory_of, trim_heap
from .rows import Found
from .sampling import Sampler, no_numbers
from .self_test import choose_rows
from .tokenizer import Vocabulary
from .weight_prepacking import pack


class Engine(engine.Engine[Sampler]):
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

    can_mask = True

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
        self.chat_template = template
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
        if request.prompt is not None and (request.raw or self.chat_template is None):
            return self.vocabulary.raw_text(request.prompt)
        return self._template_for_messages().render(request).text

    def tokenize(self, request: GenerationRequest) -> Prompt:
        """The tokens of what :meth:`render` shows."""
        return Prompt(self._token_ids(request))

    def token_table(self) -> TokenTable | None:
        """None where a token's text depends on its neighbours."""
        return self.vocabulary.token_table(self.vocab_size)

    def special_tokens(self) -> Mapping[int, str]:
        """Those of the tokenizer, whichever kind it is."""
        return self.vocabulary.special_texts

    def tokenize_text(self, text: str) -> list[int] | None:
        """By a copy of the tokenizer: a step must not wait until another thread is done with a long text."""
        return self.vocabulary.encode_plain(text)

    def _token_ids(self, request: GenerationRequest) -> list[int]:
        if request.prompt is not None and (request.raw or self.chat_template is None):
            return self.vocabulary.encode_raw(request.prompt)
        template = self._template_for_messages()
        prompt = template.render(request)
        if not prompt.literal_spans:
            return self.vocabulary.encode(prompt.text)
        return self.vocabulary.encode_pieces(template.control_tokens.pieces(prompt))

    def _template_for_messages(self) -> ChatTemplate:
        if self.chat_template is None:
            raise NoChatTemplateError(self._name)
        return self.chat_template

    def detokenizer(self, request: GenerationRequest, prompt: Sequence[int]) -> Detokenizer:
        """Exact text, token by token where the tokenizer allows it."""
        return self.vocabulary.detokenizer(prompt)

    def sampling(self, request: GenerationRequest, prompt: Sequence[int], max_new_tokens: int) -> Sampler:
        """Raises GenerationError for tokens that the model doesn't know."""
        if max(prompt) >= self._forward.embeddings:
            raise GenerationError(
                f"The tokenizer produced the token {max(prompt)}, but the model has only {self._forward.embeddings}: "
                "the "
                "two don't belong together."
            )
        return Sampler(SamplingParams.of(request), prompt, self.vocab_size, self.vocabulary.token_text)

    @torch.inference_mode()
    def compute(self, entries: Sequence[BatchEntry[Sampler]]) -> list[StepResult]:
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


def _choose(entries: Sequence[BatchEntry[Sampler]], found: Sequence[Found]) -> list[StepResult]:
    """The choices of all entries; what comes from the device comes in one piece for all."""
    results: list[StepResult] = [each if isinstance(each, Exception) else [] for each in found]
    logits = {index: each for index, each in enumerate(found) if isinstance(each, Tensor)}
    plain = [index for index in logits if _is_plain(entries[index])]
    others = [index for index in logits if not _is_plain(entries[index])]
    for index, best in zip(plain, _best([logits[index] for index in plain]), strict=True):
        results[index] = _accept(entries[index], best)
    for index, own in zip(others, _on_host([logits[index] for index in others]), strict=True):
        sampler = entries[index].sampling
        if sampler is not None:
            results[index] = _sample(entries[index], sampler, own)
    return results


def _is_plain(entry: BatchEntry[Sampler]) -> bool:
    return entry.masks is None and entry.sampling is not None and entry.sampling.is_plain


def _accept(entry: BatchEntry[Sampler], best: Sequence[int]) -> StepResult:
    """The best token after the last certain one, and after each guess that was right."""

    def choose(row: int) -> Choice:
        if best[row] < 0:
            raise no_numbers()
        return Choice(best[row])

    return _chosen(entry, choose)


def _sample(entry: BatchEntry[Sampler], sampler: Sampler, logits: Tensor) -> StepResult:
    """The same, as the request's parameters and masks have it."""
    masks = entry.masks
    return _chosen(entry, lambda row: sampler.choose(logits[row], None if masks is None else masks[row]))


def _chosen(entry: BatchEntry[Sampler], choose: Callable[[int], Choice]) -> StepResult:
    try:
        return choose_while_guessed(entry, choose)
    except GenerationError as error:
        return error


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
