"""docs/parameters.md."""

from __future__ import annotations

from typing import Final

from .promise import Promise

PROMISES: Final = (
    Promise(
        "P1",
        "each name means the same, on every path",
        (
            "test_a_stream_takes_every_parameter",
            "test_chat_takes_every_parameter",
            "test_asynchronous_calls_take_every_parameter",
            "test_asynchronous_chat_takes_every_parameter",
            "test_a_batch_takes_every_parameter",
            "test_a_raw_prompt_takes_every_parameter",
            "test_a_prompt_never_read_before_means_the_same",
            "test_a_crowd_on_all_paths_means_the_same",
            "test_the_first_request_means_the_same",
            "test_neutral_values_change_nothing",
        ),
    ),
    Promise(
        "P2",
        "unknown names and values out of range are refused",
        (
            "test_an_unknown_parameter_is_refused",
            "test_a_value_out_of_range_is_refused",
            "test_a_value_of_the_wrong_type_is_refused",
        ),
    ),
    Promise("P3", "None is the same as leaving it out", ("test_none_is_as_good_as_not_given",)),
    Promise(
        "P4",
        "max_tokens",
        (
            "test_max_tokens_is_exact",
            "test_an_answer_never_exceeds_max_tokens",
        ),
        capability="max_tokens",
    ),
    Promise(
        "P5",
        "temperature",
        (
            "test_temperature_zero_is_greedy",
            "test_temperature_gives_variety",
            "test_tokens_are_drawn_as_often_as_they_should_be",
        ),
        capability="temperature",
    ),
    Promise(
        "P6",
        "top_p",
        (
            "test_a_tiny_top_p_is_greedy",
            "test_sampled_tokens_are_allowed_ones",
            "test_tokens_are_drawn_as_often_as_they_should_be",
        ),
        capability="top_p",
    ),
    Promise(
        "P7",
        "top_k",
        (
            "test_top_k_of_one_is_greedy",
            "test_a_filter_wider_than_the_vocabulary_is_none",
            "test_sampled_tokens_are_allowed_ones",
        ),
        capability="top_k",
    ),
    Promise(
        "P8",
        "min_p",
        (
            "test_min_p_of_one_is_greedy",
            "test_sampled_tokens_are_allowed_ones",
        ),
        capability="min_p",
    ),
    Promise(
        "P9",
        "stop",
        (
            "test_a_stop_string_ends_the_answer",
            "test_a_string_is_as_good_as_a_list",
        ),
        capability="stop",
    ),
    Promise(
        "P10",
        "seed",
        (
            "test_a_seed_repeats_the_answer",
            "test_seeds_differ",
        ),
        capability="seed",
    ),
    Promise(
        "P11",
        "presence_penalty",
        (
            "test_presence_penalty_is_honoured",
            "test_penalties_end_a_repetition_when_they_should",
        ),
        capability="presence_penalty",
    ),
    Promise(
        "P12",
        "frequency_penalty",
        (
            "test_frequency_penalty_is_honoured",
            "test_penalties_end_a_repetition_when_they_should",
        ),
        capability="frequency_penalty",
    ),
    Promise("P13", "repetition_penalty", ("test_repetition_penalty_is_honoured",), capability="repetition_penalty"),
    Promise(
        "P14",
        "logit_bias",
        (
            "test_logit_bias_can_force_a_token",
            "test_logit_bias_can_ban_a_token",
            "test_a_token_that_there_is_not_is_refused",
            "test_greedy_answers_follow_the_arithmetic",
        ),
        capability="logit_bias",
    ),
    Promise(
        "P15",
        "logprobs",
        (
            "test_there_is_one_logprob_a_token",
            "test_there_are_no_logprobs_unasked",
        ),
        capability="logprobs",
    ),
    Promise(
        "P16",
        "top_logprobs",
        (
            "test_alternatives_are_sorted_and_no_more_than_asked_for",
            "test_sampled_tokens_have_their_own_logprob",
        ),
        capability="top_logprobs",
    ),
    Promise("P17", "response_format", ("test_response_format_is_followed",), capability="response_format"),
    Promise("P18", "grammar", ("test_a_grammar_is_followed",), capability="grammar"),
    Promise(
        "P19",
        "tools",
        (
            "test_a_required_tool_is_called",
            "test_tool_turns_need_tools",
        ),
        capability="tools",
    ),
    Promise("P20", "tool_choice", ("test_a_required_tool_is_called",), capability="tool_choice"),
    Promise(
        "P21",
        "truncation",
        (
            "test_a_text_loses_its_beginning_on_request",
            "test_a_conversation_loses_its_oldest_turns_on_request",
            "test_nothing_is_left_out_unasked",
        ),
        capability="truncation",
    ),
    Promise(
        "P22",
        "chat_template_kwargs",
        ("test_template_variables_reach_the_template",),
        capability="chat_template_kwargs",
    ),
    Promise("P23", "parse_special", ("test_spelled_control_tokens_are_text",), capability="parse_special"),
    Promise(
        "P24",
        "raw",
        (
            "test_a_raw_prompt_is_sent_as_it_stands",
            "test_a_raw_prompt_takes_every_parameter",
        ),
        capability="raw",
    ),
    Promise(
        "P25",
        "timeout",
        (
            "test_a_deadline_that_has_passed_is_an_error",
            "test_time_enough_is_no_timeout",
        ),
        capability="timeout",
    ),
    Promise("P26", "engine", ("test_engine_options_are_checked",), capability="engine"),
    Promise("P27", "on_unsupported", ("test_what_is_not_declared_is_dropped_on_request",), capability="on_unsupported"),
    Promise("P28", "aliases mean the same", ("test_aliases_mean_the_same",)),
    Promise("P29", "contradictions are refused", ("test_contradictions_are_refused",)),
    Promise(
        "P30",
        "defaults apply where nothing else is set",
        (
            "test_defaults_are_reported",
            "test_unset_parameters_filter_nothing",
        ),
    ),
    Promise("P31", "which backend honours what", own=("tests/integration/test_parameter_matrix.py",)),
    Promise(
        "P32",
        "load parameters are described, checked, and keep secrets",
        (
            "test_load_parameters_are_described",
            "test_load_parameters_are_checked",
            "test_what_sounds_secret_is_a_secret",
            "test_the_config_never_shows_a_secret",
            "test_errors_about_a_secret_do_not_show_it",
            "test_the_backend_never_shows_a_secret",
        ),
    ),
)
