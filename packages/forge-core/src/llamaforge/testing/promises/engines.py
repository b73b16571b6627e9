"""docs/engines.md."""

from __future__ import annotations

from typing import Final

from .promise import Promise

PROMISES: Final = (
    Promise("E1", "continuous batching", own=("tests/forge-core/engine/test_scheduler.py",)),
    Promise("E2", "chunked prefill", ("test_a_prompt_read_in_steps_has_the_same_answer",)),
    Promise("E3", "fairness", ("test_a_short_request_is_not_starved",)),
    Promise(
        "E4",
        "backpressure",
        ("test_more_than_the_queue_holds_is_refused",),
        own=("tests/forge-core/engine/test_scheduler.py",),
    ),
    Promise(
        "E5", "prefix reuse", ("test_a_warm_prompt_has_the_same_answer", "test_a_beginning_that_comes_again_is_reused")
    ),
    Promise(
        "E6",
        "cancellation and deadlines",
        (
            "test_leaving_the_queue_is_at_once",
            "test_a_deadline_holds_in_the_queue",
            "test_a_deadline_ends_the_work",
            "test_nothing_goes_on_after_leaving",
        ),
    ),
    Promise("E7", "prompt-lookup decoding changes no text", ("test_guesses_change_no_text",)),
    Promise(
        "E8",
        "an error affects only its request",
        (
            "test_every_parameter_holds_whatever_came_before",
            "test_one_failure_spoils_nobody_elses_answer",
            "test_failures_stay_in_their_thread",
        ),
    ),
    Promise("E9", "logit_bias is checked against the vocabulary", ("test_a_token_that_there_is_not_is_refused",)),
    Promise("E10", "a seed is drawn where there is none", ("test_the_reported_seed_repeats_the_answer",)),
    Promise(
        "E11",
        "the scheduler handles max_tokens, stop and truncation",
        (
            "test_max_tokens_is_exact",
            "test_a_stop_string_ends_the_answer",
            "test_a_text_loses_its_beginning_on_request",
        ),
    ),
)
