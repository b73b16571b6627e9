"""The promises of docs/embeddings.md."""

from __future__ import annotations

from typing import Final

from .promise import Promise

PROMISES: Final = (
    Promise("V1", "each text has a vector of its own", ("test_each_text_has_a_vector_of_its_own",)),
    Promise(
        "V2",
        "vectors come in the order of the texts",
        ("test_vectors_come_in_order", "test_many_texts_have_their_own_vectors"),
    ),
    Promise(
        "V3",
        "a text has the same vector each time, alone and among others",
        (
            "test_a_text_has_the_same_vector_each_time",
            "test_a_text_has_the_same_vector_alone_and_among_others",
            "test_odd_texts_disturb_nobody",
            "test_vectors_are_the_same_after_loading_again",
        ),
    ),
    Promise("V4", "the vectors are one block of 32-bit floats", own=("tests/forge-core/test_vectors.py",)),
    Promise(
        "V5",
        "any number of texts, which are read as needed, in constant memory",
        (
            "test_texts_are_read_as_needed",
            "test_embedding_leaves_nothing_behind",
            "test_failed_embeddings_leave_nothing_behind",
        ),
    ),
    Promise("V6", "token ids are used as they are", ("test_token_ids_are_a_text",)),
    Promise(
        "V7",
        "an empty text is refused by its place, any other text is read",
        (
            "test_texts_without_content_are_refused",
            "test_odd_texts_have_vectors",
            "test_the_whole_of_a_text_counts",
        ),
    ),
    Promise(
        "V8",
        "a text that is too long is refused with both counts, or cut and counted on request",
        (
            "test_a_text_that_is_too_long_is_refused_or_cut",
            "test_a_text_that_just_fits_is_read",
            "test_a_cut_text_is_its_beginning",
            "test_a_long_document_is_cut_on_request",
        ),
    ),
    Promise("V9", "normalize", ("test_vectors_have_length_one_on_request",)),
    Promise(
        "V10",
        "dimensions",
        ("test_dimensions_are_the_first_components", "test_shortened_vectors_are_scaled_again"),
    ),
    Promise("V11", "prompt_name", ("test_an_unknown_prompt_is_refused", "test_a_prompt_stands_before_the_text")),
    Promise(
        "V12",
        "options that a backend doesn't declare are refused, or dropped on request",
        ("test_options_that_are_not_declared_are_refused",),
        capability="embedding",
    ),
    Promise(
        "V13",
        "usage counts the tokens of all texts",
        ("test_embedding_usage_is_told", "test_usage_adds_up"),
    ),
    Promise(
        "V14",
        "threads and event loops get the same vectors, and share computations",
        (
            "test_threads_get_their_own_vectors",
            "test_asynchronous_vectors_agree",
            "test_asynchronous_refusals_agree",
            "test_the_loop_goes_on_while_many_texts_are_embedded",
        ),
    ),
    Promise(
        "V15",
        "deadlines, cancellation and unloading end a call",
        (
            "test_an_embedding_has_a_deadline",
            "test_a_cancelled_embedding_ends",
            "test_unloading_ends_an_embedding",
            "test_leaving_a_stream_of_vectors_ends_it",
        ),
    ),
    Promise(
        "V16",
        "a ranking has each document once, best first; top_n keeps the best",
        (
            "test_a_ranking_is_sorted_and_whole",
            "test_top_n_keeps_the_best",
            "test_many_documents_have_their_own_scores",
        ),
    ),
    Promise(
        "V17",
        "a score depends on query and document alone",
        (
            "test_a_document_has_the_same_score_alone_and_among_others",
            "test_the_query_counts",
            "test_rankings_agree_in_threads_and_loops",
            "test_threads_rank_for_their_own_queries",
            "test_scores_are_the_same_after_loading_again",
        ),
    ),
    Promise(
        "V18",
        "what can't be ranked is refused; deadlines and usage hold for rankings",
        (
            "test_what_cannot_be_ranked_is_refused",
            "test_a_ranking_has_a_deadline_and_usage",
            "test_the_whole_of_a_document_counts",
            "test_a_long_document_is_refused_or_cut",
            "test_usage_of_rankings_adds_up",
            "test_a_ranking_ends_with_its_caller",
            "test_options_of_rankings_are_honoured_or_refused",
        ),
    ),
    Promise(
        "V19",
        "a backend declares its tasks, and others are refused by name before any work",
        ("test_other_tasks_are_refused",),
        capability="tasks",
    ),
    Promise(
        "V20",
        "a model is loaded for one task",
        own=("tests/forge-core/test_embedding.py",),
    ),
    Promise(
        "V21",
        "each call has its own options, failures and end, whatever is computed beside it",
        (
            "test_options_belong_to_their_call",
            "test_failures_are_the_callers_own",
            "test_tasks_are_alone_with_their_ends",
        ),
    ),
    Promise(
        "V22",
        "a result tells the options in effect, and values out of bounds are refused",
        ("test_what_was_asked_is_told",),
    ),
)
