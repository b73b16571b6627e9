"""Streams, many callers, loading, conversations: the middle of docs/contract.md."""

from __future__ import annotations

from typing import Final

from .promise import Promise

PROMISES: Final = (
    Promise(
        "C51",
        "a stream starts when it is read",
        (
            "test_a_stream_starts_when_it_is_read",
            "test_an_asynchronous_stream_starts_when_it_is_read",
        ),
        own=("tests/forge-core/test_base.py",),
    ),
    Promise(
        "C52",
        "leaving, closing or dropping a stream stops it",
        (
            "test_leaving_a_stream_frees_the_backend",
            "test_a_stream_that_was_left_says_cancelled",
            "test_closing_again_is_harmless",
            "test_a_stream_that_is_dropped_is_left",
            "test_an_error_of_the_reader_leaves_the_stream",
            "test_the_next_answer_is_not_held_up",
            "test_nothing_goes_on_after_leaving",
            "test_leaving_many_streams_changes_nothing",
        ),
    ),
    Promise(
        "C53",
        "text is the answer so far, result the finished one",
        (
            "test_the_stream_joined_is_the_whole",
            "test_a_stream_that_was_left_says_cancelled",
        ),
    ),
    Promise(
        "C54",
        "one thread at a time reads a stream, any closes it",
        (
            "test_a_stream_may_be_read_by_another_thread",
            "test_a_stream_may_be_closed_by_another_thread",
        ),
    ),
    Promise(
        "C55",
        "timeout is one deadline for the whole call",
        (
            "test_a_deadline_holds_while_a_prompt_is_read",
            "test_a_deadline_that_has_passed_is_an_error",
            "test_a_deadline_ends_the_work",
            "test_a_deadline_holds_in_the_queue",
            "test_a_deadline_holds_in_an_event_loop",
            "test_time_enough_is_no_timeout",
        ),
    ),
    Promise("C56", "the error of a deadline has the text so far", ("test_a_deadline_that_has_passed_is_an_error",)),
    Promise(
        "C57", "a CancellationToken tells engines that a request has ended", own=("tests/forge-core/test_base.py",)
    ),
    Promise("C58", "llama.cpp and transformers stop within a step", own=("tests/forge-llamacpp/test_many_callers.py",)),
    Promise("C59", "leaving a request closes the connection to its server", own=("tests/forge-openai/test_time.py",)),
    Promise("C60", "a waiting request leaves the queue at once", ("test_leaving_the_queue_is_at_once",)),
    Promise(
        "C61", "a request to a server is retried only before the first byte", own=("tests/forge-openai/test_faults.py",)
    ),
    Promise(
        "C62",
        "asynchronous calls take the same parameters and give the same results",
        (
            "test_every_parameter_holds_on_every_path",
            "test_no_path_collects_an_answer",
            "test_the_asynchronous_twins_agree",
            "test_asynchronous_calls_take_every_parameter",
            "test_asynchronous_chat_takes_every_parameter",
            "test_a_second_event_loop_works",
            "test_loops_in_two_threads_work",
            "test_synchronous_calls_work_inside_a_loop",
        ),
    ),
    Promise(
        "C63",
        "asynchronous calls never block the event loop",
        (
            "test_the_event_loop_goes_on",
            "test_a_long_prompt_does_not_block_the_loop",
            "test_asynchronous_calls_leave_no_threads",
            "test_nothing_is_left_in_the_loop",
        ),
    ),
    Promise(
        "C64",
        "cancelling the task stops the engine",
        (
            "test_a_cancelled_task_frees_the_backend",
            "test_leaving_an_asynchronous_stream_ends_it",
        ),
    ),
    Promise("C65", "a cancelled aload_model unloads the model", own=("tests/forge-core/test_async.py",)),
    Promise("C66", "context variables reach the backend's code", own=("tests/forge-core/test_async.py",)),
    Promise(
        "C67",
        "any number of threads and event loops may use a backend",
        (
            "test_sixteen_threads_get_their_own_text",
            "test_failures_stay_in_their_thread",
            "test_two_streams_can_be_read_in_turn",
        ),
    ),
    Promise(
        "C68",
        "requests wait in order of arrival",
        (
            "test_a_crowd_is_served",
            "test_requests_are_computed_side_by_side",
            "test_a_short_request_is_not_starved",
        ),
    ),
    Promise(
        "C69",
        "more than max_queue is refused",
        ("test_more_than_the_queue_holds_is_refused",),
        own=("tests/forge-core/engine/test_scheduler.py",),
    ),
    Promise(
        "C70",
        "each request gets the answer that it would get alone",
        (
            "test_every_parameter_holds_beside_open_streams",
            "test_threads_keep_their_own_text",
            "test_streams_in_threads_keep_their_own_text",
            "test_many_at_once_keep_their_own_text",
            "test_one_failure_spoils_nobody_elses_answer",
            "test_a_request_leaves_no_trace_in_the_next",
            "test_after_an_error_the_next_request_works",
        ),
    ),
    Promise(
        "C71",
        "a prompt that begins like an earlier one has the same answer",
        (
            "test_a_warm_prompt_has_the_same_answer",
            "test_a_cache_that_is_off_reuses_nothing",
            "test_a_beginning_that_comes_again_is_reused",
        ),
    ),
    Promise(
        "C72",
        "a stream that nobody reads delays nobody",
        (
            "test_every_parameter_holds_beside_open_streams",
            "test_many_unread_streams_stop_nobody",
            "test_an_asynchronous_stream_that_nobody_reads_stops_nobody",
            "test_a_stream_that_nobody_reads_stops_nobody",
        ),
    ),
    Promise("C73", "a forked child can't use its parent's model", own=("tests/integration/test_forks.py",)),
    Promise("C74", "batches take prompts as they need them", ("test_a_batch_takes_prompts_as_it_needs_them",)),
    Promise(
        "C75",
        "batches keep the order",
        (
            "test_a_batch_keeps_the_order",
            "test_a_batch_takes_every_parameter",
        ),
    ),
    Promise("C76", "an item that fails has its error itself", ("test_an_item_that_fails_spoils_no_other",)),
    Promise("C77", "leaving a batch cancels the rest", own=("tests/forge-core/test_batch.py",)),
    Promise(
        "C78",
        "instances share nothing",
        (
            "test_defaults_belong_to_one_instance",
            "test_two_backends_do_not_share_a_model",
            "test_instances_have_contexts_of_their_own",
        ),
    ),
    Promise("C79", "loading one model delays no other", own=("tests/forge-core/test_pool.py",)),
    Promise("C80", "several callers load a model once", own=("tests/forge-core/test_pool.py",)),
    Promise(
        "C81",
        "a model may be loaded again, and over another one",
        (
            "test_loading_again_brings_new_parameters_everywhere",
            "test_a_model_can_be_loaded_again",
            "test_loading_over_a_loaded_model_works",
            "test_loading_over_a_model_gives_the_old_one_back",
            "test_loading_leaves_the_callers_parameters_alone",
        ),
    ),
    Promise(
        "C82",
        "a load that fails costs nothing",
        (
            "test_a_wrong_model_loses_nothing",
            "test_refused_load_parameters_lose_nothing",
            "test_a_missing_model_is_an_error",
            "test_a_file_that_is_no_model_is_an_error",
            "test_a_failed_load_can_be_followed_by_a_good_one",
        ),
    ),
    Promise(
        "C83",
        "what is loaded is listed",
        (
            "test_health_tells_whether_it_can_answer",
            "test_a_stream_does_not_make_it_unwell",
            "test_requests_in_flight_are_counted",
            "test_a_loaded_model_is_reported",
            "test_a_new_backend_has_no_model",
        ),
    ),
    Promise(
        "C84",
        "memory is bytes on each device",
        ("test_unloading_forgets_the_model", "test_a_models_memory_is_told_in_bytes"),
        own=("tests/forge-core/test_pool.py",),
    ),
    Promise(
        "C85",
        "unloading frees memory, threads and files",
        (
            "test_no_path_leaves_anything_behind",
            "test_different_prompts_leave_nothing_behind",
            "test_different_streams_leave_nothing_behind",
            "test_different_asynchronous_requests_leave_nothing_behind",
            "test_different_parameters_leave_nothing_behind",
            "test_different_forms_leave_nothing_behind",
            "test_unloading_forgets_the_model",
            "test_no_child_process_survives",
            "test_unloading_gives_memory_back",
            "test_unloading_ends_the_backends_threads",
            "test_requests_leave_nothing_behind",
            "test_streams_that_are_left_leave_nothing_behind",
            "test_failed_requests_leave_nothing_behind",
            "test_a_closed_backend_can_be_collected",
        ),
    ),
    Promise(
        "C86",
        "without a model, requests raise ModelNotLoadedError",
        (
            "test_after_unloading_no_way_is_open",
            "test_a_stream_that_is_cut_does_not_look_finished",
            "test_an_asynchronous_stream_that_is_cut_does_not_look_finished",
            "test_the_asynchronous_with_statement_unloads",
            "test_after_unloading_nothing_is_generated",
            "test_unloading_under_a_stream_is_survived",
            "test_generate_before_load_is_refused",
            "test_a_stream_before_load_is_refused",
            "test_chat_before_load_is_refused",
            "test_async_calls_before_load_are_refused",
            "test_unloading_nothing_is_harmless",
            "test_the_with_statement_unloads",
        ),
    ),
    Promise(
        "C87",
        "wait=True lets running requests end",
        (
            "test_unloading_may_wait_for_answers",
            "test_unloading_waits_as_long_as_asked",
        ),
        own=("tests/forge-core/test_base.py",),
    ),
    Promise("C131", "a program may end without unloading", ("test_a_program_may_end_without_unloading",)),
    Promise("C88", "a pool keeps to its memory budget", own=("tests/forge-core/test_pool.py",)),
    Promise("C89", "a lease keeps a model loaded", own=("tests/forge-core/test_pool.py",)),
    Promise("C90", "pins and idle times", own=("tests/forge-core/test_pool.py",)),
    Promise(
        "C91",
        "messages are objects or dicts",
        (
            "test_messages_may_be_objects_or_dicts",
            "test_the_callers_messages_are_left_alone",
            "test_a_conversation_is_answered",
        ),
    ),
    Promise(
        "C92",
        "roles and content",
        (
            "test_every_word_counts",
            "test_the_roles_are_told_apart",
            "test_malformed_messages_are_refused",
            "test_messages_may_be_objects_or_dicts",
        ),
    ),
    Promise("C93", "the model's own template formats the turns", ("test_a_conversation_is_answered",)),
    Promise("C94", "a prompt is one user turn", ("test_a_prompt_is_one_user_turn",)),
    Promise(
        "C95",
        "a raw prompt is sent unchanged",
        (
            "test_every_character_counts",
            "test_a_raw_prompt_is_sent_as_it_stands",
            "test_a_raw_prompt_takes_every_parameter",
        ),
    ),
    Promise(
        "C96",
        "every turn reaches the model, or the request is refused",
        (
            "test_all_of_a_long_prompt_counts",
            "test_each_turn_of_a_long_conversation_counts",
            "test_every_word_counts",
            "test_a_conversation_is_read_alike_on_every_path",
            "test_every_turn_reaches_the_model",
            "test_every_turn_is_rendered",
            "test_unusual_conversations_are_answered_or_refused",
        ),
    ),
    Promise(
        "C97",
        "developer is sent as system where the template knows only that",
        own=("tests/forge-core/chat/test_template.py",),
    ),
    Promise(
        "C98", "control tokens spelled in a message are plain text", own=("tests/forge-core/chat/test_template.py",)
    ),
    Promise("C99", "parse_special reads them as control tokens", own=("tests/forge-core/chat/test_template.py",)),
    Promise("C100", "in a raw prompt they are control tokens", own=("tests/forge-core/chat/test_template.py",)),
    Promise("C101", "without a template, messages are refused", ("test_a_conversation_is_answered",)),
    Promise("C102", "a begun answer is continued or refused", ("test_a_begun_answer_is_continued_or_refused",)),
    Promise(
        "C103",
        "render() shows what the engine sees",
        (
            "test_a_conversation_is_what_it_is_rendered_as",
            "test_rendering_is_what_the_engine_sees",
            "test_every_turn_is_rendered",
            "test_a_raw_prompt_takes_every_parameter",
            "test_a_turns_role_reaches_the_model",
        ),
    ),
    Promise(
        "C104",
        "calls are independent",
        (
            "test_every_answer_comes_again",
            "test_every_request_in_a_row_means_the_same",
            "test_every_parameter_holds_whatever_came_before",
            "test_different_conversations_leave_nothing_behind",
            "test_conversations_do_not_mix",
            "test_chat_and_its_stream_agree",
        ),
    ),
)
