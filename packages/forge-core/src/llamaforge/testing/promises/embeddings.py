"""The promises of docs/embeddings.md."""

from __future__ import annotations

from typing import Final

from .promise import Promise

PROMISES: Final = (
    Promise("V1", "each text has a vector of its own", ("test_each_text_has_a_vector_of_its_own",)),
    Promise("V2", "vectors come in the order of the texts", ("test_vectors_come_in_order",)),
    Promise(
        "V3",
        "a text has the same vector each time, alone and among others",
        ("test_a_text_has_the_same_vector_each_time", "test_a_text_has_the_same_vector_alone_and_among_others"),
    ),
    Promise("V4", "the vectors are one block of 32-bit floats", own=("tests/forge-core/test_vectors.py",)),
    Promise(
        "V5",
        "any number of texts, which are read as needed, in constant memory",
        ("test_texts_are_read_as_needed", "test_embedding_leaves_nothing_behind"),
    ),
    Promise("V6", "token ids are used as they are", own=("tests/forge-core/test_embedding.py",)),
    Promise(
        "V7",
        "an empty text is refused by its place, any other text is read",
        ("test_texts_without_content_are_refused", "test_odd_texts_have_vectors"),
    ),
    Promise(
        "V8",
        "a text that is too long is refused with both counts, or cut and counted on request",
        ("test_a_text_that_is_too_long_is_refused_or_cut", "test_a_long_document_is_cut_on_request"),
    ),
    Promise("V9", "normalize", ("test_vectors_have_length_one_on_request",)),
    Promise("V10", "dimensions", ("test_dimensions_are_the_first_components",)),
    Promise("V11", "prompt_name", ("test_an_unknown_prompt_is_refused",)),
    Promise(
        "V12",
        "options that a backend doesn't declare are refused, or dropped on request",
        ("test_options_that_are_not_declared_are_refused",),
        capability="embedding",
    ),
    Promise("V13", "usage counts the tokens of all texts", ("test_embedding_usage_is_told",)),
    Promise(
        "V14",
        "threads and event loops get the same vectors, and share computations",
        ("test_threads_get_their_own_vectors", "test_asynchronous_vectors_agree"),
    ),
    Promise(
        "V15",
        "deadlines, cancellation and unloading end a call",
        (
            "test_an_embedding_has_a_deadline",
            "test_a_cancelled_embedding_ends",
            "test_unloading_ends_an_embedding",
        ),
    ),
    Promise(
        "V16",
        "a ranking has each document once, best first; top_n keeps the best",
        ("test_a_ranking_is_sorted_and_whole", "test_top_n_keeps_the_best"),
    ),
    Promise(
        "V17",
        "a score depends on query and document alone",
        (
            "test_a_document_has_the_same_score_alone_and_among_others",
            "test_the_query_counts",
            "test_rankings_agree_in_threads_and_loops",
        ),
    ),
    Promise(
        "V18",
        "what can't be ranked is refused; deadlines and usage hold for rankings",
        ("test_what_cannot_be_ranked_is_refused", "test_a_ranking_has_a_deadline_and_usage"),
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
)
