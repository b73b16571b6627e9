"""The engine alone: what its sequences hold, whatever was done to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forge_llamacpp import LlamaCppBackend, LlamaCppConfig
from forge_llamacpp.engine import LlamaCppEngine
from llamaforge.engine import BatchEntry, InterruptedStepError, OutOfRoomError
from llamaforge.errors import GenerationError
from llamaforge.requests import read_request
from support.gguf_architectures import WINDOW, make_tiny_gemma2, make_tiny_mamba
from support.gguf_files import VOCABULARY, make_tiny_gguf
from support.llama_engine import GREEDY, choices, logits_after
from support.reference_sampling import token_mask

Opener = Callable[..., LlamaCppEngine]


@pytest.fixture
def opened(exact: dict[str, Any]) -> Iterator[Opener]:
    """Opens engines, and closes them after the test."""
    engines: list[LlamaCppEngine] = []

    def opened(path: Path, **parameters: Any) -> LlamaCppEngine:
        engines.append(LlamaCppEngine(str(path), LlamaCppConfig(**{**exact, **parameters})))
        return engines[-1]

    yield opened
    for engine in engines:
        engine.close()


@pytest.fixture(scope="session")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent model."""
    return make_tiny_mamba(tmp_path_factory.mktemp("mamba") / "mamba.gguf")


@pytest.fixture(scope="session")
def gemma2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a sliding window."""
    return make_tiny_gemma2(tmp_path_factory.mktemp("gemma2") / "gemma2.gguf")


def assert_holds(engine: LlamaCppEngine, slot: int, tokens: list[int], spare: int) -> None:
    """The next token after *tokens* in *slot* is what it is in the empty slot *spare*, where they are computed anew."""
    held = logits_after(engine, [65], slot=slot, start=len(tokens))
    anew = logits_after(engine, [*tokens, 65], slot=spare)
    engine.trim(spare, 0)
    assert np.isfinite(anew).all()
    np.testing.assert_allclose(held, anew, atol=2e-3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["llama", "windows", "short windows", "recurrent"])
def test_sequences_hold_what_they_should(
    opened: Opener, tiny_gguf: Path, gemma2: Path, mamba: Path, kind: str, seed: int
) -> None:
    """Steps for several at once, cuts and copies in any order: nobody's tokens get into another one's text."""
    path = {"llama": tiny_gguf, "recurrent": mamba}.get(kind, gemma2)
    engine = opened(path, n_ctx=512, n_batch=64, n_parallel=4, prefix_cache=1, swa_full=kind != "short windows")
    chance = random.Random(seed)
    held: list[list[int]] = [[], [], [], []]
    resting: set[int] = set()
    for _ in range(30):
        slot, other = chance.sample(range(4), 2)
        action = chance.choice(["step", "step", "cut", "copy", "rest", "wake"])
        if slot in resting and action in ("cut", "step"):
            assert engine.swap_in(slot)
            resting.discard(slot)
        match action:
            case "step" if len(resting) < 4:
                entries = []
                for each in chance.sample([each for each in range(4) if each not in resting], 4 - len(resting)):
                    tokens = [chance.randrange(256) for _ in range(chance.randint(1, 16))]
                    entries.append(BatchEntry(each, len(held[each]), tokens))
                    held[each] = held[each] + tokens
                assert engine.compute(entries) == [[]] * len(entries)
            case "cut" if held[slot]:
                length = chance.randrange(len(held[slot]))
                kept = engine.trim(slot, length)
                assert kept in (0, length)
                held[slot] = held[slot][:kept]
            case "rest" if held[slot] and slot not in resting:
                assert engine.swap_out(slot)
                resting.add(slot)
            case "wake" if slot in resting:
                assert engine.swap_in(slot)
                resting.discard(slot)
            case "copy" if held[slot] and engine.can_copy:
                engine.trim(other, 0)
                resting.discard(other)
                length = chance.randint(1, len(held[slot]))
                kept = engine.copy(slot, other, length)
                assert kept in (0, length)
                held[other] = held[slot][:kept]
        if sum(map(len, held)) > 300:
            engine.trim(slot, 0)
            resting.discard(slot)
            held[slot] = []
    for slot in resting:
        assert engine.swap_in(slot)
    for slot, tokens in enumerate(held):
        assert_holds(engine, slot, tokens, spare=4)


def test_what_a_plain_cache_can_do(opened: Opener, tiny_gguf: Path) -> None:
    engine = opened(tiny_gguf)
    assert (engine.can_trim, engine.can_copy) == (True, True)
    engine.compute([BatchEntry(0, 0, list(range(40)))])
    assert engine.trim(0, 30) == 30
    assert engine.copy(0, 1, 20) == 20
    assert_holds(engine, 1, list(range(20)), spare=2)
    assert_holds(engine, 0, list(range(30)), spare=2)


def test_what_rests_takes_no_room_and_comes_back_where_there_is_some(opened: Opener, tiny_gguf: Path) -> None:
    engine = opened(tiny_gguf, n_ctx=256, n_batch=128)
    text = [chance % 256 for chance in range(200)]
    engine.compute([BatchEntry(0, 0, text[:100])])
    engine.compute([BatchEntry(0, 100, text[100:])])
    assert engine.swap_out(0)
    engine.compute([BatchEntry(1, 0, text[:120])])  # with the other one there would be no room
    assert not engine.swap_in(0)
    engine.compute([BatchEntry(0, 0, text[:50])])  # it is empty
    assert engine.swap_out(0)
    engine.trim(1, 0)
    assert engine.copy(0, 1, 30) == 30
    assert engine.swap_in(0)
    assert_holds(engine, 0, text[:50], spare=2)
    assert_holds(engine, 1, text[:30], spare=2)
    engine.swap_out(1)
    assert engine.trim(1, 0) == 0
    engine.compute([BatchEntry(1, 0, text[:20])])
    assert_holds(engine, 1, text[:20], spare=2)


def test_a_recurrent_state_can_not_be_cut(opened: Opener, mamba: Path) -> None:
    engine = opened(mamba)
    assert (engine.can_trim, engine.can_copy) == (False, False)
    engine.compute([BatchEntry(0, 0, [1, 2, 3, 4])])
    assert engine.trim(0, 2) == 0
    assert_holds(engine, 0, [], spare=1)


def test_a_window_that_has_moved_on_can_not_be_cut_back(opened: Opener, gemma2: Path) -> None:
    """A cache that keeps only the window forgets what lies behind it once others need the cells."""
    engine = opened(gemma2, swa_full=False, n_parallel=2, prefix_cache=0, n_batch=32)
    assert (engine.can_trim, engine.can_copy) == (False, False)
    text = list(range(200))
    for begin in range(0, 200, 20):
        engine.compute([BatchEntry(0, begin, text[begin : begin + 20])])
    for begin in range(0, 200, 20):
        engine.compute([BatchEntry(1, begin, text[begin : begin + 20])])
    assert engine.trim(0, WINDOW * 2) == 0
    engine.trim(1, 0)
    assert_holds(engine, 0, [], spare=1)


def test_a_whole_window_can_be_cut_back(opened: Opener, gemma2: Path) -> None:
    engine = opened(gemma2, n_ctx=512, n_parallel=2, prefix_cache=1)
    assert (engine.can_trim, engine.can_copy) == (True, True)
    text = list(range(100))
    engine.compute([BatchEntry(0, 0, text)])
    assert engine.trim(0, 50) == 50
    assert engine.copy(0, 1, 40) == 40
    assert_holds(engine, 1, text[:40], spare=2)


@pytest.mark.parametrize("parameters", [{"temperature": 0}, {"seed": 7, "repetition_penalty": 1.3}], ids=repr)
def test_guesses_are_chosen_one_after_another(opened: Opener, tiny_gguf: Path, parameters: dict[str, Any]) -> None:
    """As many choices as guesses came true, and one more; each is what it is without guesses."""
    engine = opened(tiny_gguf, prompt_lookup=8)
    request, prompt = read_request("x", None, parameters), [10, 20, 30]

    def answer(count: int) -> list[int]:
        sampling = engine.sampling(request, prompt, count)
        tokens: list[int] = []
        fed = prompt
        for _ in range(count):
            tokens += choices(engine.compute([BatchEntry(0, len(prompt) + len(tokens) - len(fed), fed, sampling)])[0])
            fed = tokens[-1:]
            if len(tokens) == 1:
                fed = tokens
        sampling.close()
        engine.trim(0, 0)
        return tokens

    expected = answer(6)
    wrong = [expected[0], expected[1], (expected[2] + 1) % 256, expected[3]]
    for guesses, right in [(expected[:5], 5), (wrong, 2), ([(expected[0] + 1) % 256], 0)]:
        sampling = engine.sampling(request, prompt, 6)
        other = BatchEntry(1, 0, [1, 2, 3], engine.sampling(GREEDY, (), 1))
        result = engine.compute([other, BatchEntry(0, 0, prompt + guesses, sampling, draft=len(guesses))])[1]
        assert choices(result) == expected[: right + 1]
        sampling.close()
        engine.trim(0, 0)
        engine.trim(1, 0)


def test_no_room_leaves_all_as_it_was(opened: Opener, tiny_gguf: Path) -> None:
    engine = opened(tiny_gguf, n_ctx=256, n_batch=200)
    engine.compute([BatchEntry(0, 0, list(range(200)))])
    with pytest.raises(OutOfRoomError):
        engine.compute([BatchEntry(0, 200, [1]), BatchEntry(1, 0, list(range(100)))])
    engine.compute([BatchEntry(0, 200, [1]), BatchEntry(1, 0, list(range(20)))])
    engine.trim(0, 100)
    assert_holds(engine, 0, list(range(100)), spare=2)
    assert_holds(engine, 1, list(range(20)), spare=2)


def test_an_interrupted_step_is_told_and_the_next_one_works(opened: Opener, tiny_gguf: Path) -> None:
    engine = opened(tiny_gguf)
    engine.interrupt(True)
    with pytest.raises(InterruptedStepError):
        engine.compute([BatchEntry(0, 0, list(range(100)))])
    engine.interrupt(False)
    engine.trim(0, 0)
    engine.compute([BatchEntry(0, 0, [1, 2, 3])])
    assert_holds(engine, 0, [1, 2, 3], spare=1)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A model in which the embedding of token 7 is no number."""
    from gguf import GGUFReader

    path = make_tiny_gguf(tmp_path / "model.gguf")
    tensors = {tensor.name: np.array(tensor.data) for tensor in GGUFReader(path).tensors}
    tensors["output.weight"] = tensors["token_embd.weight"].copy()
    tensors["token_embd.weight"][7] = np.nan
    return make_tiny_gguf(path, tensors=tensors)


@pytest.mark.parametrize("flash_attn", [False, True])
def test_what_is_no_number_spoils_nobody_who_comes_later(opened: Opener, damaged: Path, flash_attn: bool) -> None:
    """A masked cell still counts as 0 times what it holds, in tiles of 64 tokens with flash attention, too."""
    engine = opened(damaged, flash_attn=flash_attn, n_batch=128)
    engine.compute([BatchEntry(1, 0, [1, 2, 3])])
    assert engine.copy(1, 3, 2) == 2
    result = engine.compute([BatchEntry(0, 0, [1, 7, *range(8, 108)], engine.sampling(GREEDY, (), 1))])[0]
    assert isinstance(result, GenerationError)
    engine.trim(0, 0)
    for slot, tokens in ((1, [1, 2, 3]), (3, [1, 2]), (0, [])):
        assert_holds(engine, slot, tokens, spare=2)
    assert np.isfinite(logits_after(engine, list(range(8, 88)), slot=2)).all()


def test_logits_that_are_no_numbers_fail_one_request_alone(opened: Opener, damaged: Path) -> None:
    """Who has the damaged token in the text gets an error, and nobody else."""
    engine = opened(damaged, flash_attn=True)
    for request in (GREEDY, read_request("x", None, {"seed": 1}), read_request("x", None, {"seed": 1, "top_p": 0.5})):
        results = engine.compute(
            [
                BatchEntry(slot, 0, [1, 2, token], engine.sampling(request, (), 1))
                for slot, token in enumerate([3, 7, 4])
            ]
        )
        assert [type(result) for result in results] == [list, GenerationError, list]
        assert "NaN" in str(results[1])
        for slot in range(3):
            engine.trim(slot, 0)


@pytest.mark.parametrize("kind", ["mamba", "gemma2"])
def test_other_memories_serve_many_callers_too(
    request: pytest.FixtureRequest, exact: dict[str, Any], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same texts alone, in a crowd, and after a chat turn that is still there."""
    only_letters = {token: -100 for token in range(VOCABULARY) if not chr(token).isascii() or not chr(token).isalpha()}
    small = {"n_parallel": 4, "prefix_cache": 1}  # or the window's cache would be as large as the other one
    asked = [{"prompt": f"{n}" * 20, "max_tokens": 30, "temperature": 0, "raw": True} for n in range(8)]
    with LlamaCppBackend() as backend:
        backend.load_model(request.getfixturevalue(kind), {**exact, **small, "swa_full": False, "prompt_lookup": 4})
        assert "prompt_lookup" in caplog.text
        alone = [backend.generate(**each) for each in asked]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda each: backend.generate(**each), asked)) == alone
        first = backend.generate("Tell me. ", raw=True, seed=3, max_tokens=9, logit_bias=only_letters)
        more = backend.generate(f"Tell me. {first} And?", raw=True, temperature=0, max_tokens=5)
        assert more.usage is not None
        assert more.usage.cached_tokens == len("Tell me. ") + 8  # the last one was never computed


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0},
        {"seed": 3},
        {"seed": 3, "temperature": 0.3, "top_k": 5},
        {"temperature": 0, "min_p": 0.1},
        {"temperature": 0, "logit_bias": {9: 100.0}},
        {"seed": 5, "repetition_penalty": 1.5, "logprobs": True},
    ],
    ids=repr,
)
def test_only_tokens_of_the_mask_are_chosen(opened: Opener, tiny_gguf: Path, parameters: dict[str, Any]) -> None:
    """Masks come before bias and penalties; each choice has its own; log-probabilities are the model's."""
    engine = opened(tiny_gguf, prompt_lookup=4)
    request, prompt = read_request("x", None, parameters), [10, 20, 30]
    free = logits_after(engine, prompt, slot=1)
    sampling = engine.sampling(request, prompt, 6)
    entry = BatchEntry(
        0,
        0,
        [*prompt, 65, 66],
        sampling,
        draft=2,
        masks=[token_mask(65, size=VOCABULARY), token_mask(66, size=VOCABULARY), token_mask(70, 71, size=VOCABULARY)],
    )
    result = engine.compute([entry])[0]
    first, second, third = choices(result)
    assert (first, second) == (65, 66)
    assert third in {70, 71}
    if request.logprobs:
        assert isinstance(result, list)
        assert result[0].logprob is not None
        assert result[0].logprob.logprob == pytest.approx(float(free[65] - np.logaddexp.reduce(free)), abs=1e-3)
    sampling.close()


def test_a_mask_that_allows_nothing_fails_its_request_alone(opened: Opener, tiny_gguf: Path) -> None:
    engine = opened(tiny_gguf)
    asked = [
        BatchEntry(slot, 0, [1, 2, 3], engine.sampling(GREEDY, (), 1), masks=masks)
        for slot, masks in enumerate([[token_mask(size=VOCABULARY)], None, [token_mask(7, size=VOCABULARY)]])
    ]
    results = engine.compute(asked)
    assert isinstance(results[0], GenerationError)
    assert "allows no token" in str(results[0])
    assert choices(results[2]) == [7]
    assert len(choices(results[1])) == 1


def test_the_table_has_the_bytes_and_ends_of_every_token(engine: LlamaCppEngine) -> None:
    """The real model's."""
    table = engine.token_table()
    assert len(table.token_bytes) == engine.vocab_size
    text = "Grüße, 你好! 👩‍👩‍👧\n\tdef f(x):  return x"
    tokens = engine.tokenize(read_request(text, None, {"raw": True})).token_ids
    assert b"".join(table.token_bytes[token] for token in tokens).decode() == text
    assert engine.end_tokens
    for token in engine.end_tokens:
        assert table.token_bytes[token] == b""
    spelled = {table.special[token] for token in engine.end_tokens}
    assert "<|im_end|>" in spelled
