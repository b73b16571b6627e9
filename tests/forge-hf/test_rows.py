"""Rows that share forward passes, and rows that don't: each text's logits are those of the text alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from forge_hf import attention
from forge_hf.batched_rows import BatchedRows
from forge_hf.cost_model import AttentionCost
from forge_hf.forward import Forward
from forge_hf.rows import Rows
from forge_hf.self_test import choose_rows
from forge_hf.single_rows import SingleRows
from llamaforge.engine import BatchEntry, InterruptedStepError, OutOfRoomError
from llamaforge.errors import GenerationError
from support.small_models import SETTINGS, VOCABULARY, small_model

pytestmark = pytest.mark.engine

CONTEXT = 120
BATCHED = (
    "llama",
    "qwen2",
    "phi3",
    "mistral",
    "gemma2",
    "gemma3_text",
    "gpt_oss",
    "mixtral",
    "gpt2",
    "gpt_neox",
    "opt",
)
EAGER = {"gemma2", "gpt_oss"}
"""Those that have no ``sdpa``."""
SINGLE = {
    "bloom": "positions",
    "mpt": "positions",
    "falcon": "otherwise than alone",
    "mamba": "LinearAttentionLayer",
    "falcon_mamba": "LinearAttentionLayer",
    "mamba2": "LinearAttentionLayer",
    "jamba": "LinearAttentionLayer",
}
"""Models whose rows don't share passes, and a word of the reason."""


class Texts:
    """Rows of a small model, the texts that they should hold, and what the model says of each text alone."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.rows, _, self.reason = choose_rows(Forward(model), "small", CONTEXT)
        self.held: dict[int, list[int]] = {}

    def alone(self, tokens: list[int], count: int) -> torch.Tensor:
        """The logits after each of the last *count* tokens of a text."""
        logits: torch.Tensor = self.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -count:]
        return logits

    def feed(self, more: dict[int, list[int]], drafts: dict[int, int] | None = None, wanted: bool = True) -> None:
        """Compute *more* tokens of each slot, and compare."""
        drafts = drafts or {}
        entries = [
            BatchEntry(slot, len(self.held.get(slot, [])), tokens, wanted or None, drafts.get(slot, 0))
            for slot, tokens in more.items()
        ]
        found = self.rows.compute(entries)
        for entry, logits in zip(entries, found, strict=True):
            text = self.held[entry.slot] = [*self.held.get(entry.slot, []), *entry.tokens]
            assert (logits is None) == (not wanted)
            if logits is not None:
                assert isinstance(logits, torch.Tensor)
                expected = self.alone(text, 1 + entry.draft)
                assert logits.shape == expected.shape
                torch.testing.assert_close(logits, expected, atol=2e-4, rtol=2e-4)

    def trim(self, slot: int, length: int) -> None:
        held = self.rows.trim(slot, length)
        assert held in (0, length)
        self.held[slot] = self.held.get(slot, [])[:held]

    def copy(self, source: int, target: int, length: int) -> None:
        self.trim(target, 0)
        held = self.rows.copy(source, target, length)
        assert held in (0, length)
        self.held[target] = self.held[source][:held]


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(f"{count} {seed}").choices(range(VOCABULARY), k=count)


@pytest.fixture(scope="module", autouse=True)
def inference() -> Iterator[None]:
    """As the engine has it."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {}


def texts(models: dict[str, Any], kind: str) -> Texts:
    if kind not in models:
        models[kind] = small_model(kind)
    return Texts(models[kind])


@pytest.mark.parametrize("kind", BATCHED)
def test_rows_of_all_lengths_share_passes(models: dict[str, Any], kind: str) -> None:
    held = texts(models, kind)
    assert isinstance(held.rows, BatchedRows)
    assert held.reason is None
    held.feed({0: tokens(17), 1: tokens(3), 2: tokens(30), 3: tokens(1)})
    for step in range(4):
        held.feed({slot: tokens(1, step) for slot in range(4)})
    held.feed({0: tokens(1), 4: tokens(21), 2: tokens(1), 1: tokens(5)}, {1: 3})
    held.trim(1, 6)
    held.copy(2, 5, 28)
    held.feed({slot: tokens(1) for slot in (5, 1, 4, 0)})


def test_texts_change_places(models: dict[str, Any]) -> None:
    held = texts(models, "llama")
    held.feed({0: tokens(20), 1: tokens(3), 2: tokens(5)})
    held.feed({slot: tokens(1) for slot in (0, 1, 2)})
    before = [held.rows._cache.row(slot) for slot in (0, 2)]  # type: ignore[attr-defined]
    held.feed({2: tokens(1), 0: tokens(40)})
    assert [held.rows._cache.row(slot) for slot in (0, 2)] != before  # type: ignore[attr-defined]
    held.feed({slot: tokens(1) for slot in (0, 1, 2)})


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_both_attentions_take_the_masks(kind: str, implementation: str) -> None:
    held = Texts(small_model(kind, implementation))
    assert held.reason is None
    held.feed({0: tokens(12), 1: tokens(2)})
    held.feed({0: tokens(1), 1: tokens(1), 2: tokens(2)})


@pytest.mark.parametrize("kind", sorted(set(BATCHED) - EAGER))
def test_attention_in_parts_comes_out_as_in_one(
    models: dict[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    attend = attention.sdpa_attention_forward

    def counted(module: Any, query: torch.Tensor, *more: Any, **options: Any) -> Any:
        calls.append(len(query))
        return attend(module, query, *more, **options)

    monkeypatch.setattr(attention, "sdpa_attention_forward", counted)
    held = texts(models, kind)
    assert isinstance(held.rows, BatchedRows)
    assert held.rows.attention_cost
    held.rows.attention_cost = AttentionCost(call=1.0, heads=1, threads=1)
    held.feed({0: tokens(30), 1: tokens(2), 2: tokens(2), 3: tokens(17)})
    calls.clear()
    held.feed({slot: tokens(1, slot) for slot in range(4)})
    texts_alone = [1] * 4  # what feed() compares with
    assert sorted(calls) == sorted([*[1, 2, 1], *texts_alone] * held.model.config.num_hidden_layers)
    held.feed({0: tokens(4), 1: tokens(1), 3: tokens(3)}, {0: 3, 3: 2})
    held.trim(0, 5)
    held.feed({0: tokens(1), 3: tokens(1), 2: tokens(6)})


def test_a_long_text_shares_its_pass_with_short_ones(models: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    held, widths = texts(models, "llama"), []
    held.feed({0: tokens(100), 1: tokens(2), 2: tokens(3)})
    compute = BatchedRows._compute

    def counted(self: BatchedRows, entries: Any) -> torch.Tensor:
        widths.append(len(entries))
        return compute(self, entries)

    monkeypatch.setattr(BatchedRows, "_compute", counted)
    monkeypatch.setattr(held.rows, "_weights", 1)  # reading the weights again would cost nothing
    held.feed({slot: tokens(1) for slot in range(3)})
    assert widths == [3]


@pytest.mark.parametrize("garbled", [1, 2])
def test_a_model_that_computes_otherwise_in_parts_keeps_its_attention(
    garbled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attend(module: Any, query: torch.Tensor, *more: Any, **options: Any) -> Any:
        attended, _ = attention.attend(module, query, *more, **options)
        return (0 * attended if len(query) == garbled else attended), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, attention.NAME, attend)
    held = Texts(small_model("llama", "sdpa"))
    assert held.reason is None
    assert isinstance(held.rows, BatchedRows)
    assert held.rows.attention_cost is None
    assert held.model.config._attn_implementation == "sdpa"
    held.feed({0: tokens(9), 1: tokens(3)})


def test_a_token_alone_has_a_mask_on_a_processor(models: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    held, masked = texts(models, "llama"), []
    attend = ALL_ATTENTION_FUNCTIONS[attention.NAME]

    def watched(module: Any, query: Any, key: Any, value: Any, mask: Any, **more: Any) -> Any:
        masked.append(mask is not None)
        return attend(module, query, key, value, mask, **more)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, attention.NAME, watched)
    held.feed({0: tokens(9)})
    assert masked
    assert not any(masked)
    masked.clear()
    held.rows.compute([BatchEntry(0, 9, tokens(1))])
    assert masked
    assert all(masked)


@pytest.mark.parametrize("kind", SINGLE)
def test_models_that_can_not_share_run_one_row_at_a_time_and_say_why(
    models: dict[str, Any], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="forge_hf"):
        held = texts(models, kind)
    assert isinstance(held.rows, SingleRows)
    assert SINGLE[kind] in str(held.reason)
    assert f"one at a time: {held.reason}" in caplog.text
    held.feed({0: tokens(9), 1: tokens(3)})
    held.feed({0: tokens(1), 1: tokens(1), 2: tokens(11)})
    # A prompt may come in pieces, though some of these models can't compute it so.
    held.feed({3: tokens(5)}, wanted=False)
    held.feed({3: tokens(6), 0: tokens(1)}, wanted=False)
    held.feed({3: tokens(2), 0: tokens(3)})
    held.copy(3, 4, len(held.held[3]))
    held.feed({4: tokens(4, 1), 3: tokens(1, 2)})
    held.trim(4, 5)
    held.feed({4: tokens(3, 3)})


def test_an_attention_that_may_take_no_masks_is_run_one_row_at_a_time() -> None:
    AttentionInterface.register("strangers", sdpa_attention_forward)
    AttentionMaskInterface.register("strangers", sdpa_mask)
    held = Texts(small_model("llama", "strangers"))
    assert "strangers" in str(held.reason)
    assert held.rows.can_trim
    held.feed({0: tokens(9), 1: tokens(3)})
    held.trim(0, 4)
    held.feed({0: tokens(2, 1), 1: tokens(4)}, {1: 2})


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("entry"), st.dictionaries(st.integers(0, 6), st.integers(1, 24), min_size=1)),
        st.tuples(st.just("draft"), st.dictionaries(st.integers(0, 6), st.integers(1, 6), min_size=1)),
        st.tuples(st.just("trim"), st.integers(0, 6), st.floats(0, 1)),
        st.tuples(st.just("copy"), st.integers(0, 6), st.integers(0, 6), st.floats(0, 1)),
    ),
    max_size=14,
)


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
@settings(max_examples=8, deadline=None)
@given(steps=STEPS)
def test_whatever_comes_and_goes(models: dict[str, Any], kind: str, steps: list[Any]) -> None:
    held = texts(models, kind)
    for number, step in enumerate(steps):
        if step[0] in ("entry", "draft"):
            more = {
                slot: tokens(count, number)
                for slot, count in step[1].items()
                if len(held.held.get(slot, [])) + count <= CONTEXT
            }
            if more:
                held.feed(more, {slot: len(new) - 1 for slot, new in more.items()} if step[0] == "draft" else None)
        elif step[0] == "trim":
            held.trim(step[1], round(step[2] * len(held.held.get(step[1], []))))
        elif step[1] != step[2] and held.held.get(step[1]):
            held.copy(step[1], step[2], max(1, round(step[3] * len(held.held[step[1]]))))


def test_memory_follows_what_is_held(models: dict[str, Any]) -> None:
    held = texts(models, "llama")
    cache: Any = held.rows
    cache = cache._cache
    for slot in range(10):
        held.feed({slot: tokens(20)})
    assert cache.rows < 4, "texts that nobody works on keep no row"
    assert len(cache._parked) >= 7
    held.feed({slot: tokens(1) for slot in range(10)})
    assert cache.rows >= 10
    assert not cache._parked
    for slot in range(1, 10):
        held.trim(slot, 0)
    held.feed({0: tokens(1)})
    assert cache.rows <= 2
    assert cache.held == {0}


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_a_step_that_is_broken_off_leaves_the_others_as_they_were(models: dict[str, Any], kind: str) -> None:
    held = texts(models, kind)
    held.feed({0: tokens(9), 1: tokens(4)})
    held.rows.interrupt(True)
    with pytest.raises(InterruptedStepError):
        held.feed({1: tokens(1), 2: tokens(8)})
    held.rows.interrupt(False)
    for slot in (1, 2):
        held.trim(slot, 0)
    held.feed({0: tokens(1), 1: tokens(5), 2: tokens(3)})


@pytest.fixture
def short_of_memory() -> Iterator[Callable[[Any, int], None]]:
    """Let the model find no memory in a pass after so many more."""
    hooks = []

    def shorten(model: Any, passes: int) -> None:
        left = [passes]

        def full(module: Any, arguments: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise torch.OutOfMemoryError("out of memory")

        while hooks:
            hooks.pop().remove()
        hooks.append(model.get_output_embeddings().register_forward_pre_hook(full))

    yield shorten
    for hook in hooks:
        hook.remove()


def test_no_memory_for_several_rows_asks_for_room_and_for_one_row_is_an_error(
    models: dict[str, Any], short_of_memory: Any
) -> None:
    held = texts(models, "llama")
    held.feed({0: tokens(9), 1: tokens(4)})
    short_of_memory(held.model, 1)  # the first pass of the step goes through, the second one finds none
    with pytest.raises(OutOfRoomError):
        held.feed({0: tokens(1), 1: tokens(40)})
    short_of_memory(held.model, 99)
    held.feed({0: tokens(1), 1: tokens(40)})  # the same step, tried again
    held.trim(1, 0)
    short_of_memory(held.model, 0)
    (error,) = held.rows.compute([BatchEntry(0, 10, tokens(1), True)])
    assert isinstance(error, GenerationError)
    assert "too little memory" in str(error)
    assert isinstance(error.__cause__, torch.OutOfMemoryError)
    short_of_memory(held.model, 99)
    held.feed({0: tokens(1, 3), 1: tokens(2)})


def test_a_single_row_without_memory_fails_alone(models: dict[str, Any], short_of_memory: Any) -> None:
    held = texts(models, "bloom")
    held.feed({0: tokens(9), 1: tokens(4)})
    short_of_memory(held.model, 1)
    first, second = held.rows.compute([BatchEntry(0, 9, tokens(1), True), BatchEntry(1, 4, tokens(1), True)])
    assert isinstance(first, torch.Tensor)
    assert isinstance(second, GenerationError)
    short_of_memory(held.model, 99)
    held.held[0] += tokens(1)
    held.trim(1, 0)
    held.feed({0: tokens(1, 2), 1: tokens(7)})


def test_numbers_that_are_none_spoil_nobody_elses(models: dict[str, Any]) -> None:
    held = texts(models, "llama")
    held.feed({0: tokens(9), 1: tokens(4)})
    spoilt = held.model.get_input_embeddings().weight
    before = spoilt.data[5].clone()
    spoilt.data[5] = float("nan")
    (logits,) = held.rows.compute([BatchEntry(1, 4, [5] * 30, True)])
    assert isinstance(logits, torch.Tensor)
    assert logits.isnan().all()
    spoilt.data[5] = before
    held.rows.wipe(1)
    held.trim(1, 0)
    held.feed({0: tokens(1), 1: tokens(2)})
    held.feed({0: tokens(1), 1: tokens(1)})


def test_the_lists_name_every_small_model() -> None:
    assert {*BATCHED, *SINGLE} == set(SETTINGS)


def test_rows_are_rows(models: dict[str, Any]) -> None:
    rows: list[Rows] = [texts(models, "llama").rows, texts(models, "mamba").rows]
    assert [each.can_copy for each in rows] == [True, True]
    assert [each.can_trim for each in rows] == [True, False]
