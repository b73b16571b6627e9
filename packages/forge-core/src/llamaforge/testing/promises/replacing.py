"""Replacing a model and the context's edge, in docs/contract.md."""

from __future__ import annotations

from typing import Final

from .promise import Promise

PROMISES: Final = (
    Promise("C105", "a load is checked before the old model goes", ("test_refused_load_parameters_lose_nothing",)),
    Promise(
        "C106", "llama.cpp and transformers look at the files first", own=("tests/forge-llamacpp/test_lifecycle.py",)
    ),
    Promise(
        "C107",
        "a prompt without room for an answer is refused, with both counts",
        (
            "test_the_context_ends_alike_on_every_path",
            "test_a_prompt_that_fills_the_context_is_refused",
            "test_an_overflow_has_both_counts",
            "test_a_long_prompt_is_read_whole_or_refused",
        ),
    ),
    Promise(
        "C108",
        "prompts are cut only on request, and it is reported",
        (
            "test_all_of_a_long_prompt_counts",
            "test_nothing_is_cut_on_any_path_unasked",
            "test_nothing_is_left_out_unasked",
            "test_a_text_loses_its_beginning_on_request",
        ),
    ),
    Promise(
        "C109",
        "an answer that fills the context ends with length",
        (
            "test_the_context_ends_alike_on_every_path",
            "test_a_context_may_be_full",
        ),
    ),
    Promise("C110", "n_ctx beyond the model's training is refused", own=("tests/forge-llamacpp/test_lifecycle.py",)),
    Promise(
        "C111",
        "truncation leaves room for the answer",
        (
            "test_truncation_is_the_same_on_every_path",
            "test_a_text_loses_its_beginning_on_request",
            "test_a_conversation_loses_its_oldest_turns_on_request",
        ),
    ),
    Promise(
        "C112",
        "system turns and the last turn stay",
        (
            "test_truncation_keeps_what_it_must",
            "test_a_conversation_loses_its_oldest_turns_on_request",
        ),
    ),
    Promise(
        "C113",
        "a text loses its beginning",
        (
            "test_a_text_loses_its_beginning_on_request",
            "test_the_tokens_after_a_cut_spell_the_answer",
        ),
    ),
    Promise(
        "C114",
        "truncated_tokens is the number of tokens cut",
        (
            "test_truncation_is_the_same_on_every_path",
            "test_a_text_loses_its_beginning_on_request",
            "test_a_conversation_loses_its_oldest_turns_on_request",
        ),
    ),
)
