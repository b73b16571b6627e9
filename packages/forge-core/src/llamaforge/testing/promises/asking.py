"""Requests, results and their text: the first half of docs/contract.md."""

from __future__ import annotations

from typing import Final

from .promise import Promise

PROMISES: Final = (
    Promise(
        "C1",
        "LlamaForge and backends have the same calls with the same meaning",
        ("test_it_works_through_the_front_door",),
    ),
    Promise(
        "C2", "LlamaForge's calls go to the current model, or to model=...", own=("tests/forge-core/test_forge.py",)
    ),
    Promise(
        "C3",
        "parameters come as a mapping, by keyword, or both; two values for one name are refused",
        (
            "test_parameters_may_be_given_by_name",
            "test_the_callers_parameters_are_left_alone",
        ),
    ),
    Promise("C4", "keywords are typed", own=("tests/forge-core/test_typing.py",)),
    Promise(
        "C5",
        "a prompt is text, and not empty",
        (
            "test_an_empty_prompt_is_refused",
            "test_a_prompt_that_is_no_text_is_refused",
            "test_odd_texts_are_answered_or_refused",
        ),
    ),
    Promise(
        "C6",
        "a request is checked when the call is made",
        (
            "test_an_unknown_parameter_is_refused_by_every_call",
            "test_asynchronous_calls_raise_the_same_errors",
        ),
    ),
    Promise(
        "C7",
        "sampling has one order, and draws from the distribution that results",
        (
            "test_every_answer_follows_the_arithmetic",
            "test_a_form_comes_before_the_filters",
            "test_penalties_hold_when_sampled",
            "test_sampled_tokens_are_allowed_ones",
            "test_tokens_are_drawn_as_often_as_they_should_be",
            "test_greedy_answers_follow_the_arithmetic",
        ),
    ),
    Promise(
        "C8",
        "what each penalty counts",
        (
            "test_a_penalty_reads_the_whole_of_a_long_prompt",
            "test_a_penalty_counts_the_whole_of_a_long_answer",
            "test_repetition_penalty_counts_prompt_and_answer",
            "test_penalties_hold_when_sampled",
            "test_penalties_end_a_repetition_when_they_should",
            "test_greedy_answers_follow_the_arithmetic",
        ),
    ),
    Promise(
        "C9",
        "temperature 0 is greedy",
        (
            "test_every_answer_comes_again",
            "test_temperature_zero_is_greedy",
            "test_temperature_zero_wins_over_filters",
            "test_the_same_request_has_the_same_answer",
        ),
    ),
    Promise(
        "C10",
        "a sampled request without a seed gets a random one, which is reported",
        (
            "test_unset_seeds_differ",
            "test_the_reported_seed_repeats_the_answer",
            "test_unset_parameters_filter_nothing",
        ),
    ),
    Promise(
        "C11",
        "the same seed gives the same answer",
        (
            "test_every_answer_comes_again",
            "test_a_seed_repeats_the_answer",
            "test_seeds_hold_in_threads",
            "test_seeds_differ",
        ),
    ),
    Promise(
        "C12",
        "without max_tokens the model or the context ends the answer",
        (
            "test_a_long_text_is_not_cut",
            "test_answers_have_no_limit_of_their_own",
            "test_a_context_may_be_full",
        ),
    ),
    Promise(
        "C13",
        "the caller wins over the named model, which wins over the model and core",
        ("test_defaults_belong_to_one_instance",),
        own=(
            "tests/forge-core/test_forge.py",
            "tests/integration/test_recommended_sampling.py",
        ),
    ),
    Promise(
        "C130",
        "a default that contradicts an earlier source is left out; errors name the place where a value is set",
        own=("tests/forge-core/test_named_defaults.py",),
    ),
    Promise(
        "C14",
        "a model's recommendations apply unless they are turned off",
        own=("tests/integration/test_recommended_sampling.py",),
    ),
    Promise(
        "C15",
        "core's defaults apply, or a server's where it chooses",
        (
            "test_what_is_off_filters_nothing",
            "test_what_is_not_set_is_neutral_on_every_path",
            "test_defaults_are_reported",
            "test_unset_parameters_filter_nothing",
        ),
        capability="server_defaults",
    ),
    Promise(
        "C16",
        "results report the parameters in effect",
        (
            "test_every_answer_keeps_to_its_request",
            "test_effective_parameters_are_reported",
        ),
    ),
    Promise("C17", "what a backend can't do is refused", ("test_what_is_not_declared_is_refused",)),
    Promise(
        "C18",
        "dropped on request, and reported",
        (
            "test_what_is_not_declared_is_dropped_on_request",
            "test_nothing_is_dropped_unasked",
        ),
    ),
    Promise(
        "C19",
        "images and tool calls are refused where they aren't declared",
        (
            "test_images_are_seen_or_refused",
            "test_tool_turns_need_tools",
        ),
        capability="images",
    ),
    Promise("C20", "engine options are checked", ("test_engine_options_are_checked",), capability="engine_options"),
    Promise(
        "C21",
        "contradictions are refused",
        (
            "test_contradictions_are_refused",
            "test_malformed_messages_are_refused",
        ),
    ),
    Promise(
        "C22",
        "results are text that knows how it came about",
        (
            "test_the_result_knows_how_it_came_about",
            "test_the_model_answers",
            "test_results_show_no_load_parameters",
        ),
    ),
    Promise(
        "C23",
        "finish_reason says why the answer ended",
        (
            "test_every_answer_is_told_truthfully",
            "test_a_stop_string_at_the_limit_is_the_reason",
            "test_the_finish_reason_is_a_known_one",
            "test_an_answer_that_ends_by_itself_says_stop",
            "test_max_tokens_is_exact",
        ),
    ),
    Promise(
        "C24",
        "result.stop is the stop string that was met",
        (
            "test_an_unmet_stop_string_is_not_named",
            "test_the_stop_string_is_named",
        ),
    ),
    Promise("C25", "results have usage", ("test_usage_is_told",)),
    Promise("C26", "results have timings", ("test_timings_make_sense",)),
    Promise(
        "C27",
        "log-probabilities are natural logarithms, one a token, with their alternatives",
        (
            "test_every_answer_follows_the_arithmetic",
            "test_log_probabilities_are_the_same_on_every_path",
            "test_numbers_do_not_depend_on_what_is_asked",
            "test_sampled_answers_tell_the_same_numbers",
            "test_each_entry_is_one_token",
            "test_there_is_one_logprob_a_token",
            "test_logprobs_are_logarithms_of_probabilities",
            "test_alternatives_are_sorted_and_no_more_than_asked_for",
            "test_the_greedy_token_is_the_best_alternative",
            "test_logprobs_spell_the_answer",
            "test_sampled_tokens_have_their_own_logprob",
            "test_there_are_no_logprobs_unasked",
            "test_logprobs_do_not_change_the_answer",
            "test_ids_are_told_for_every_token_or_for_none",
        ),
    ),
    Promise(
        "C28",
        "tool calls and reasoning stand apart from the text",
        (
            "test_calls_are_the_same_on_every_path",
            "test_a_required_tool_is_called",
            "test_reasoning_is_apart_on_every_path",
            "test_reasoning_streams_before_the_text",
            "test_a_format_holds_after_the_reasoning",
            "test_thoughts_of_earlier_turns_are_taken",
        ),
    ),
    Promise("C29", "to_dict() has everything as plain values", ("test_the_result_knows_how_it_came_about",)),
    Promise(
        "C30",
        "usage counts tokens and not pieces",
        (
            "test_every_answer_is_told_truthfully",
            "test_tokens_are_counted_and_not_pieces",
            "test_the_stream_has_the_same_usage",
        ),
    ),
    Promise(
        "C31",
        "prompt_tokens are those of the rendered prompt",
        (
            "test_every_answer_is_told_truthfully",
            "test_the_template_is_counted",
            "test_a_form_is_no_part_of_the_prompt",
            "test_a_longer_prompt_has_more_tokens",
            "test_prompt_tokens_depend_on_the_prompt_alone",
        ),
    ),
    Promise(
        "C32",
        "cached_tokens are those of the prompt that were reused",
        (
            "test_nothing_is_cached_of_a_new_prompt",
            "test_a_warm_prompt_has_the_same_answer",
        ),
    ),
    Promise(
        "C33",
        "completion_tokens were generated, without the token that ended the answer",
        (
            "test_a_stopped_answer_is_not_generated_further",
            "test_max_tokens_is_exact",
            "test_an_answer_never_exceeds_max_tokens",
            "test_a_stopped_answer_counts_what_was_generated",
            "test_a_text_comes_out_as_it_is",
        ),
    ),
    Promise(
        "C34",
        "reasoning_tokens are part of completion_tokens",
        (
            "test_counts_are_not_made_up",
            "test_usage_is_told",
        ),
    ),
    Promise(
        "C35",
        "truncated_tokens were cut at the caller's request",
        (
            "test_counts_are_not_made_up",
            "test_nothing_is_left_out_unasked",
            "test_a_text_loses_its_beginning_on_request",
        ),
    ),
    Promise("C36", "estimates are marked", own=("tests/forge-openai/test_answers.py",)),
    Promise(
        "C37",
        "timings start with the call",
        (
            "test_the_first_token_has_its_time",
            "test_timings_make_sense",
        ),
    ),
    Promise(
        "C38",
        "queued is how long the request waited",
        (
            "test_a_lone_request_does_not_queue",
            "test_timings_make_sense",
        ),
    ),
    Promise(
        "C39",
        "a stream is text, then exactly one Finished",
        (
            "test_a_long_answer_begins_early",
            "test_a_known_text_comes_in_pieces",
            "test_a_stream_has_exactly_one_end",
            "test_the_answer_comes_in_pieces",
            "test_an_asynchronous_answer_comes_in_pieces",
        ),
    ),
    Promise(
        "C40",
        "ToolCallDelta is a piece of a tool call; the pieces make the call of the result",
        ("test_calls_are_the_same_on_every_path", "test_a_required_tool_is_called"),
        own=("tests/forge-openai/test_answers.py",),
    ),
    Promise("C41", "a broken order of events raises ContractError", own=("tests/forge-core/test_event_validation.py",)),
    Promise(
        "C42", "a stream that was cut off never looks finished", own=("tests/forge-core/test_event_validation.py",)
    ),
    Promise(
        "C43",
        "a stream, joined, is what generate returns",
        (
            "test_a_text_comes_out_as_it_is",
            "test_a_nul_does_not_end_a_text",
            "test_the_stream_joined_is_the_whole",
            "test_stream_and_generate_agree_on_every_field",
            "test_a_shorter_answer_is_the_beginning_of_the_longer_one",
            "test_every_token_brings_its_text",
        ),
    ),
    Promise(
        "C44",
        "UTF-8 is decoded as if at once",
        (
            "test_a_text_comes_out_as_it_is",
            "test_utf8_is_never_split",
        ),
    ),
    Promise(
        "C45",
        "no part of a stop string comes out",
        (
            "test_every_answer_keeps_to_its_request",
            "test_stop_strings_of_every_shape",
            "test_stop_strings_on_every_path",
            "test_a_stop_string_may_hold_any_character",
            "test_no_part_of_a_stop_string_is_streamed",
            "test_a_stop_string_over_several_tokens_is_found",
            "test_a_stop_string_at_the_very_beginning_leaves_nothing",
        ),
    ),
    Promise(
        "C46",
        "text is held back only while it may begin a stop string",
        (
            "test_no_path_collects_an_answer",
            "test_a_known_text_comes_in_pieces",
            "test_log_probabilities_come_with_their_text",
            "test_a_stop_string_never_met_holds_nothing_back",
            "test_what_was_held_back_comes_out",
        ),
    ),
    Promise(
        "C47",
        "the first complete stop string ends the answer; of two that end together, the longer one",
        (
            "test_of_two_that_end_together_the_longer_counts",
            "test_stop_strings_of_every_shape",
            "test_a_stop_string_ends_the_answer",
            "test_the_first_stop_string_wins",
        ),
    ),
    Promise("C48", "a stop string may be a special token", own=("tests/integration/test_stop_tokens.py",)),
    Promise(
        "C49",
        "a stop string of a special token and other text is refused",
        own=("tests/integration/test_stop_tokens.py",),
    ),
    Promise(
        "C50",
        "what was held back comes out at the end",
        (
            "test_what_was_held_back_comes_out",
            "test_the_end_of_an_answer_is_not_lost",
        ),
    ),
)
