"""How a step is split into calls of llama.cpp: who is in which, and that nobody's text knows of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_llamacpp import LlamaCppConfig
from forge_llamacpp import engine as module
from forge_llamacpp.engine import LlamaCppEngine
from forge_llamacpp.micro_batches import MicroBatches, _below_a_tile
from llamaforge.engine import BatchEntry, OutOfRoomError
from llamaforge.requests import read_request
from support.gguf_architectures import make_tiny_gemma2, make_tiny_mamba
from support.llama_engine import GREEDY, choices

TILE = 64
IN_TILES: dict[str, Any] = {"n_ctx": 2048, "n_batch": 256, "n_parallel": 80, "type_k": "f32", "type_v": "f32"}
"""32-bit floats: with the small model, which call a token is in changes the sixth digit of its logits only."""

Opener = Callable[..., LlamaCppEngine]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens engines, and closes them after the test."""
    engines: list[LlamaCppEngine] = []

    def opened(path: Path, **parameters: Any) -> LlamaCppEngine:
        engines.append(LlamaCppEngine(str(path), LlamaCppConfig(**{"n_threads": 1, **IN_TILES, **parameters})))
        return engines[-1]

    yield opened
    for engine in engines:
        engine.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of each call of llama.cpp, as they are made."""
    seen: list[int] = []
    decode = module.lib.llama_decode

    def noted(context: Any, batch: Any) -> int:
        seen.append(batch.n_tokens)
        code: int = decode(context, batch)
        return code

    monkeypatch.setattr(module.lib, "llama_decode", noted)
    return seen


def answering(engine: LlamaCppEngine, count: int, held: int, request: Any = GREEDY) -> list[BatchEntry]:
    """*count* slots that hold a text each, and what their answers entry next."""
    entries = []
    for slot in range(count):
        chance = random.Random(slot)
        engine.compute([BatchEntry(slot, 0, [chance.randrange(256) for _ in range(held)])])
        entries.append(BatchEntry(slot, held, [chance.randrange(256)], engine.sampling(request, (), 9)))
    return entries


def prompt(engine: LlamaCppEngine, slot: int, length: int) -> BatchEntry:
    """A prompt that is computed to its end in this step."""
    return BatchEntry(slot, 0, [slot + index % 100 for index in range(length)], engine.sampling(GREEDY, (), 9))


def test_answers_go_before_a_prompt_in_a_call_of_their_own(opened: Opener, tiny_gguf: Path, calls: list[int]) -> None:
    """Their choices are the same as in one call, and come back in the order of the entries."""
    found = []
    for split in (True, False):
        engine = opened(tiny_gguf)
        if not split:
            engine._micro_batches._splittable = False
        entries = answering(engine, 6, 40)
        entries[2:2] = [prompt(engine, 10, 90)]
        entries.append(BatchEntry(11, 0, list(range(50))))
        calls.clear()
        found.append([choices(result) for result in engine.compute(entries)])
        assert calls == ([6, 140] if split else [146])
    assert found[0] == found[1]
    assert [len(each) for each in found[0]] == [1] * 7 + [0]


def test_many_answers_are_no_tile_either(opened: Opener, tiny_gguf: Path, calls: list[int]) -> None:
    engine = opened(tiny_gguf)
    entries = answering(engine, 80, 12)
    calls.clear()
    engine.compute(entries)
    assert calls == [40, 40]


@pytest.mark.parametrize(
    "unlike",
    [{"flash_attn": False}, {"type_k": "bf16", "type_v": "bf16"}, {"type_k": "f16"}, {"n_ubatch": 32}],
    ids=repr,
)
def test_where_there_are_no_tiles_a_step_is_one_call(
    opened: Opener, tiny_gguf: Path, calls: list[int], unlike: dict[str, Any]
) -> None:
    engine = opened(tiny_gguf, **unlike)
    entries = answering(engine, 6, 40)
    calls.clear()
    engine.compute([*entries, prompt(engine, 10, 90)])
    assert calls == [96]


@pytest.mark.parametrize("make", [make_tiny_gemma2, make_tiny_mamba], ids=["windows", "recurrent"])
def test_memories_that_fill_up_otherwise_get_one_call(
    opened: Opener, tmp_path: Path, calls: list[int], make: Callable[[Path], Path]
) -> None:
    engine = opened(make(tmp_path / "model.gguf"), n_parallel=8)
    entries = answering(engine, 6, 40)
    calls.clear()
    engine.compute([*entries, prompt(engine, 7, 90)])
    assert calls == [96]


def test_a_large_model_wants_more_cells(opened: Opener, gguf_model: Path, calls: list[int]) -> None:
    """Another call costs a reading of the weights: with few cells in the way that is more than it saves."""
    engine = opened(gguf_model, n_parallel=8)
    few = answering(engine, 2, 40)
    calls.clear()
    engine.compute([*few, prompt(engine, 7, 90)])
    assert calls == [92]
    for slot in range(8):
        engine.trim(slot, 0)
    many = answering(engine, 4, 200)
    calls.clear()
    engine.compute([*many, prompt(engine, 7, 90)])
    assert calls == [4, 90]


def test_a_step_without_room_has_chosen_nothing(opened: Opener, tiny_gguf: Path) -> None:
    """Or a sampler would draw twice for one token, and its seed mean another text."""
    request = read_request("x", None, {"seed": 5})

    def drawn(*, too_much: bool) -> list[list[int]]:
        engine = opened(tiny_gguf, n_ctx=512)
        entries = answering(engine, 6, 70, request)
        if too_much:
            with pytest.raises(OutOfRoomError):
                engine.compute([*entries, prompt(engine, 10, 120)])
        results = []
        for _ in range(3):
            result = [choices(each)[0] for each in engine.compute(entries)]
            results.append(result)
            entries = [
                BatchEntry(entry.slot, entry.start + 1, [token], entry.sampling)
                for entry, token in zip(entries, result, strict=True)
            ]
        return results

    assert drawn(too_much=True) == drawn(too_much=False)


def test_rows_of_logits_belong_to_their_call(opened: Opener, tiny_gguf: Path) -> None:
    """A guess beside single answers: each choice is made from its own row, in whatever call that is."""
    engine = opened(tiny_gguf, prompt_lookup=8)
    alone = opened(tiny_gguf, prompt_lookup=8)
    alone._micro_batches._splittable = False
    found = []
    for each in (engine, alone):
        entries = answering(each, 5, 40)
        right = choices(each.compute([entries[4]])[0])[0]
        assert each.trim(4, 40) == 40
        entries[4] = BatchEntry(4, 40, [*entries[4].tokens, right, (right + 1) % 256], entries[4].sampling, draft=2)
        found.append([choices(result) for result in each.compute([prompt(each, 10, 90), *entries])])
    assert found[0] == found[1]
    assert [len(each) for each in found[0]] == [1, 1, 1, 1, 1, 2]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=200))
def test_calls_of_answers_are_about_equal_and_no_tiles(lengths: list[int]) -> None:
    entries = [BatchEntry(slot, 100, [0] * length, object(), draft=length - 1) for slot, length in enumerate(lengths)]
    parts = _below_a_tile(entries, list(range(len(entries))))
    assert [index for part in parts for index in part] == list(range(len(entries)))
    sums = [sum(lengths[index] for index in part) for part in parts]
    assert all(total < TILE or len(part) == 1 for total, part in zip(sums, parts, strict=True))
    if max(lengths) == 1:
        assert len(parts) == -(-len(lengths) // (TILE - 1))
        assert max(sums) - min(sums) <= len(parts)


def test_each_feed_is_in_one_call(opened: Opener, tiny_gguf: Path) -> None:
    engine = opened(tiny_gguf)
    passes: MicroBatches = engine._micro_batches
    chance = np.random.default_rng(3)
    for _ in range(200):
        entries = []
        for slot in range(int(chance.integers(1, 70))):
            long = chance.random() < 0.2
            sampling = object() if not long or chance.random() < 0.5 else None
            entries.append(BatchEntry(slot, int(chance.integers(0, 50)), [1] * (20 if long else 1), sampling))
        parts = passes.split(entries)
        assert sorted(index for part in parts for index in part) == list(range(len(entries)))
        if len(parts) > 1:
            kinds = [{len(entries[index].tokens) for index in part} for part in parts]
            assert all(len(kind) == 1 for kind in kinds)
