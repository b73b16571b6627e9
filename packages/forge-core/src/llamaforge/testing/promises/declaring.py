"""Contexts, capabilities, basic backends and discovery: the end of docs/contract.md."""

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
    Promise(
        "C115",
        "capabilities can be read before loading",
        (
            "test_declared_parameters_are_canonical",
            "test_the_spec_describes_the_class",
            "test_the_registry_agrees_with_the_class",
            "test_listing_imports_none_of_it",
        ),
    ),
    Promise("C116", "a loaded model may change its capabilities", ("test_declared_parameters_are_canonical",)),
    Promise("C117", "a basic backend works, and has what the four methods give", ("test_the_levels_are_not_mixed",)),
    Promise(
        "C118",
        "a basic backend's answers have the reason unknown and no usage",
        (
            "test_the_finish_reason_is_a_known_one",
            "test_usage_is_told",
        ),
    ),
    Promise("C119", "a basic backend refuses chat and render", ("test_a_conversation_is_answered",)),
    Promise("C120", "listing imports nothing", ("test_listing_imports_none_of_it",)),
    Promise(
        "C121",
        "importing a plugin is light, and prints nothing",
        (
            "test_importing_is_light",
            "test_importing_prints_nothing",
            "test_it_can_be_imported_elsewhere",
        ),
    ),
    Promise("C122", "a broken plugin affects only itself", own=("tests/forge-core/test_plugins.py",)),
    Promise("C123", "a plugin with another contract version is refused", ("test_the_spec_describes_the_class",)),
    Promise(
        "C124",
        "the kit tests a backend against its declarations, and no check is left out silently",
        ("test_no_check_was_removed",),
    ),
    Promise(
        "C125",
        "nothing is printed",
        ("test_loading_prints_nothing", "test_generating_prints_nothing", "test_importing_prints_nothing"),
    ),
    Promise(
        "C126",
        "secrets are never shown",
        (
            "test_the_backend_never_shows_a_secret",
            "test_the_config_never_shows_a_secret",
            "test_errors_about_a_secret_do_not_show_it",
        ),
    ),
    Promise("C127", "the process is left as it was", ("test_the_process_is_left_as_it_was",)),
    Promise("C128", "each plugin rates a location for itself", ("test_matching_is_a_number_for_any_location",)),
    Promise("C129", "doctor gets an answer", ("test_the_doctor_gets_an_answer",)),
)
