"""Capabilities, basic backends, plugins, and the manners of all of them: the end of docs/contract.md."""

from __future__ import annotations

from typing import Final

from .promise import Promise

PROMISES: Final = (
    Promise(
        "C115",
        "capabilities can be read before loading",
        (
            "test_capabilities_can_be_read_without_a_model",
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
            "test_vectors_and_scores_print_nothing",
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
        (
            "test_nothing_is_printed_on_any_way",
            "test_loading_again_and_unloading_print_nothing",
            "test_loading_prints_nothing",
            "test_generating_prints_nothing",
            "test_importing_prints_nothing",
            "test_vectors_and_scores_print_nothing",
        ),
    ),
    Promise(
        "C126",
        "secrets are never shown",
        (
            "test_no_way_shows_a_secret",
            "test_a_failed_load_shows_no_secret",
            "test_no_other_program_sees_a_secret",
            "test_the_backend_never_shows_a_secret",
            "test_the_config_never_shows_a_secret",
            "test_errors_about_a_secret_do_not_show_it",
        ),
    ),
    Promise(
        "C127",
        "the process is left as it was",
        (
            "test_loading_leaves_the_process_as_it_was",
            "test_requests_leave_the_process_as_it_was",
            "test_unloading_leaves_the_process_as_it_was",
            "test_vectors_and_scores_change_nothing_of_the_process",
        ),
    ),
    Promise("C128", "each plugin rates a location for itself", ("test_matching_is_a_number_for_any_location",)),
    Promise("C129", "doctor gets an answer", ("test_the_doctor_gets_an_answer",)),
)
