"""The catalogue: what is wrong, and which checks have to say so."""

from __future__ import annotations

from typing import Any, Final

from . import doors, edging, everywhere, kept, probabilities, reading, samplers, sizes, switches, telling, unplanned
from .entry import ASYNC, BASIC, REASONING, defects_of
from .living import LIVING

_TEXT: Final = defects_of(
    "text",
    ("LeaksStopStrings", "leaks a stop string", ("test_no_part_of_a_stop_string_is_streamed",)),
    ("FindsStopsInsideTokens", "misses stops over tokens", ("test_a_stop_string_over_several_tokens_is_found",)),
    ("HearsTheFirstStopOnly", "looks for the first stop string only", ("test_the_first_stop_string_wins",)),
    ("NamesAnyStop", "names the wrong stop string", ("test_the_stop_string_is_named",)),
    ("IteratesOverAStopString", "takes a stop string apart", ("test_a_stop_string_ends_the_answer",)),
    ("LosesWhatWasHeldBack", "loses the tail held back for a stop string", ("test_what_was_held_back_comes_out",)),
    ("SplitsCharacters", "splits UTF-8", ("test_utf8_is_never_split",)),
    ("LosesTheLastToken", "loses the last token", ("test_every_token_brings_its_text",)),
    ("LosesTheTokenBeforeTheEnd", "loses the token before the end", ("test_the_end_of_an_answer_is_not_lost",)),
    ("SendsOnePiece", "streams the finished text", ("test_the_answer_comes_in_pieces",)),
    ("SendsTwoEnds", "sends two terminal events", ("test_a_stream_has_exactly_one_end",)),
    ("SendsNoEnd", "sends no terminal event", ("test_a_stream_has_exactly_one_end",)),
    ("StripsTheWhole", "strips in generate alone", ("test_the_stream_joined_is_the_whole",)),
    ("DropsThePlainText", "returns a plain string", ("test_the_result_knows_how_it_came_about",)),
    ("AnswersOtherwiseInLoops", "stream and astream disagree", ("test_the_asynchronous_twins_agree",)),
    ("SwallowsErrors", "makes an empty answer of an error", ("test_a_long_prompt_is_read_whole_or_refused",)),
    ("CutsThePrompt", "cuts a long prompt", ("test_a_long_prompt_is_read_whole_or_refused",)),
    ("OverflowsWithoutCounts", "tells no counts of an overflow", ("test_an_overflow_has_both_counts",)),
    ("BasicWaysDisagree", "basic: strips in generate", ("test_the_stream_joined_is_the_whole",), {"sound": BASIC}),
)

_SAMPLING: Final = defects_of(
    "sampling",
    ("IgnoresTemperature", "ignores temperature", ("test_temperature_gives_variety",)),
    ("SamplesAtZero", "samples at temperature 0", ("test_temperature_zero_is_greedy",)),
    ("KnowsOneTemperature", "samples at one temperature", ("test_temperature_gives_variety",)),
    ("IgnoresTopK", "ignores top_k", ("test_top_k_of_one_is_greedy",)),
    ("IgnoresTopP", "ignores top_p", ("test_a_tiny_top_p_is_greedy",)),
    ("IgnoresMinP", "ignores min_p", ("test_min_p_of_one_is_greedy",)),
    ("IgnoresSeeds", "ignores seeds", ("test_a_seed_repeats_the_answer", "test_the_reported_seed_repeats_the_answer")),
    ("HasOneSeed", "has one seed", ("test_seeds_differ",)),
    ("SharesItsRandomness", "shares a generator", ("test_seeds_hold_in_threads",), {"parameters": {"delay": 0.003}}),
    ("IgnoresPresence", "ignores presence_penalty", ("test_presence_penalty_is_honoured",)),
    ("IgnoresFrequency", "ignores frequency_penalty", ("test_frequency_penalty_is_honoured",)),
    ("IgnoresRepetition", "ignores repetition_penalty", ("test_repetition_penalty_is_honoured",)),
    ("IgnoresBias", "ignores logit_bias", ("test_logit_bias_can_force_a_token", "test_logit_bias_can_ban_a_token")),
    ("ForgetsBans", "ignores negative biases", ("test_logit_bias_can_ban_a_token",)),
    ("IgnoresTheSchema", "ignores response_format", ("test_response_format_is_followed",)),
    ("IgnoresTheGrammar", "ignores grammar", ("test_a_grammar_is_followed",)),
    ("IgnoresTools", "ignores tools", ("test_a_required_tool_is_called",)),
    ("LosesLogprobs", "loses logprobs of held-back text", ("test_there_is_one_logprob_a_token",)),
    ("ReportsProbabilities", "reports probabilities", ("test_logprobs_are_logarithms_of_probabilities",)),
    ("SortsTheWrongWay", "sorts alternatives upwards", ("test_alternatives_are_sorted_and_no_more_than_asked_for",)),
    (
        "ReportsTheNextPosition",
        "shifts logprobs by one token",
        ("test_logprobs_spell_the_answer",),
    ),
    ("ReportsAlways", "reports logprobs unasked", ("test_there_are_no_logprobs_unasked",)),
    ("ChangesWhenWatched", "answers otherwise with logprobs", ("test_logprobs_do_not_change_the_answer",)),
)

_THINKS: Final = {"sound": REASONING}
_REASONING: Final = defects_of(
    "reasoning",
    ("LeavesThoughtsInTheText", "leaves thoughts in the text", ("test_reasoning_is_apart_on_every_path",), _THINKS),
    ("ThinksInThreadsOnly", "loses thoughts in loops", ("test_reasoning_is_apart_on_every_path",), _THINKS),
    ("TellsThoughtsAtTheEnd", "tells thoughts at the end", ("test_reasoning_streams_before_the_text",), _THINKS),
    (
        "ThinksAsLongAsItLikes",
        "ignores max_reasoning_tokens",
        ("test_reasoning_is_no_longer_than_it_may_be",),
        _THINKS,
    ),
    ("AlwaysThinks", "ignores reasoning_effort", ("test_no_effort_is_no_reasoning",), _THINKS),
    ("ThinksFormatsAway", "has no format after thoughts", ("test_a_format_holds_after_the_reasoning",), _THINKS),
    (
        "KnowsNoThoughtsOfOthers",
        "stumbles over thoughts in messages",
        ("test_thoughts_of_earlier_turns_are_taken",),
        _THINKS,
    ),
)

_CONSTRAINTS: Final = defects_of(
    "constraints",
    (
        "ConstrainsGreedyAnswersOnly",
        "applies the schema to greedy answers alone",
        ("test_sampled_answers_follow_their_schema",),
    ),
    ("TakesHalfForWhole", "says stop of cut JSON", ("test_a_cut_answer_with_a_schema_says_length",)),
    ("CutsChoices", "loses the end of a choice", ("test_a_choice_is_followed",)),
    ("SearchesForTheRegex", "anchors no regular expression", ("test_a_regex_is_followed",)),
    ("KeepsOneConstraint", "keeps the first format", ("test_callers_at_once_get_formats_of_their_own",)),
    (
        "ConstrainsTheNextRequest",
        "leaves a constraint to the next request",
        ("test_a_constraint_ends_with_its_request",),
    ),
    ("ReadsNoFormats", "drops formats that it can't read", ("test_a_format_that_can_not_be_read_is_refused",)),
)

_COUNTING: Final = defects_of(
    "counting",
    ("CountsPieces", "counts chunks as tokens", ("test_tokens_are_counted_and_not_pieces",)),
    ("CountsTheEndToken", "counts one token too many", ("test_max_tokens_is_exact",)),
    ("GeneratesOneTooMany", "generates one token too many", ("test_max_tokens_is_exact",)),
    ("SaysStopAtTheLimit", "says stop at the limit", ("test_max_tokens_is_exact",)),
    ("SaysLengthAlways", "says length at the end", ("test_an_answer_that_ends_by_itself_says_stop",)),
    ("PassesOnForeignReasons", "passes on a foreign reason", ("test_the_finish_reason_is_a_known_one",)),
    ("CountsNoPrompt", "counts the prompt as zero", ("test_usage_is_told",)),
    ("CountsTheLastWords", "counts what its window shows", ("test_a_longer_prompt_has_more_tokens",)),
    ("CountsWhatIsNew", "counts what is not cached", ("test_prompt_tokens_depend_on_the_prompt_alone",)),
    ("CountsNothing", "tells no usage of conversations", ("test_usage_is_told",)),
    ("CountsTheText", "counts characters at a stop", ("test_a_stopped_answer_counts_what_was_generated",)),
    ("WaitedLessThanNothing", "tells a negative time", ("test_timings_make_sense",)),
    ("WaitedNoNumber", "tells a time that is NaN", ("test_timings_make_sense",)),
)

_STATE: Final = defects_of(
    "state",
    ("RemembersRequests", "depends on the request before", ("test_the_same_request_has_the_same_answer",)),
    ("KeepsTheConversation", "keeps a history", ("test_conversations_do_not_mix",)),
    ("KeepsParameters", "keeps parameters", ("test_a_request_leaves_no_trace_in_the_next",)),
    ("ChangesTheCallersParameters", "changes parameters", ("test_the_callers_parameters_are_left_alone",)),
    ("ChangesItsParameters", "basic: fills in", ("test_the_callers_parameters_are_left_alone",), {"sound": BASIC}),
    ("ChangesTheCallersMessages", "changes messages", ("test_the_callers_messages_are_left_alone",)),
    ("SendsTheLastTurn", "sends the last turn", ("test_every_turn_reaches_the_model", "test_every_turn_is_rendered")),
    ("LeavesOutSystemTurns", "ignores the system turn", ("test_every_turn_reaches_the_model",)),
    ("ShowsSomethingElse", "renders something else", ("test_rendering_is_what_the_engine_sees",)),
    ("TemplatesRawText", "puts raw text into the template", ("test_a_raw_prompt_is_sent_as_it_stands",)),
    ("SendsPromptsRaw", "sends prompts raw", ("test_a_prompt_is_one_user_turn",)),
    ("ClosesBegunAnswers", "begins a begun answer anew", ("test_a_begun_answer_is_continued_or_refused",)),
    ("ReadsContentAsText", "loses text parts", ("test_messages_may_be_objects_or_dicts",)),
    ("AcceptsAnything", "ignores unknown parameters", ("test_an_unknown_parameter_is_refused",)),
    ("DropsSilently", "drops undeclared parameters", ("test_what_is_not_declared_is_refused",)),
    ("DropsWithoutSaying", "does not report what it drops", ("test_what_is_not_declared_is_dropped_on_request",)),
    ("DeclaresAMisspeltName", "declares a misspelt name", ("test_declared_parameters_are_canonical",)),
    ("DeclaresAMisspeltOption", "declares a misspelt option", ("test_declared_parameters_are_canonical",)),
    ("ReportsItsOwnParameters", "reports its own names", ("test_effective_parameters_are_reported",)),
    ("TakesNoneForAValue", "takes None for a value", ("test_none_is_as_good_as_not_given",)),
)

_SLOWLY: Final[dict[str, Any]] = {"parameters": {"delay": 0.012, "length": 32}}
_BRIEFLY: Final[dict[str, Any]] = {"patience": 0.5}
_CONCURRENCY: Final = defects_of(
    "concurrency",
    (
        "SwapsAnswers",
        "swaps answers between threads",
        ("test_threads_keep_their_own_text",),
        {"parameters": {"delay": 0.003}},
    ),
    ("HoldsALockWhileItYields", "a stream stops others", ("test_a_stream_that_nobody_reads_stops_nobody",), _BRIEFLY),
    ("HoldsALockWhileItYields", "a second stream deadlocks", ("test_two_streams_can_be_read_in_turn",), _BRIEFLY),
    ("KeepsItsLockWhenLeft", "keeps its lock when left", ("test_leaving_a_stream_frees_the_backend",), _BRIEFLY),
    ("KeepsItsLockOnErrors", "keeps its lock", ("test_after_an_error_the_next_request_works",), _BRIEFLY),
    ("RefusesToLeave", "catches GeneratorExit", ("test_a_stream_that_was_left_says_cancelled",)),
    ("StumblesOverThreads", "belongs to one thread", ("test_a_stream_may_be_read_by_another_thread",)),
    ("BlocksTheLoop", "blocks the event loop", ("test_the_event_loop_goes_on",), _SLOWLY),
    ("BelongsToOneLoop", "belongs to one event loop", ("test_a_second_event_loop_works",), {"sound": ASYNC}),
    ("LeavesTasksBehind", "leaves tasks in the loop", ("test_nothing_is_left_in_the_loop",), {"sound": ASYNC}),
    ("RunsALoopOfItsOwn", "runs a loop in stream", ("test_synchronous_calls_work_inside_a_loop",)),
    ("ComputesForNobody", "computes after close", ("test_nothing_goes_on_after_leaving",), _SLOWLY),
    ("HoldsUpTheNext", "finishes what nobody reads", ("test_the_next_answer_is_not_held_up",), _SLOWLY),
    ("ComputesBeforeItAnswers", "looks at no deadline", ("test_a_deadline_ends_the_work",), _SLOWLY),
    ("KnowsNoDeadline", "ignores timeout", ("test_a_deadline_that_has_passed_is_an_error",)),
    ("TakesSecondsForMilliseconds", "mistakes the unit of timeout", ("test_time_enough_is_no_timeout",)),
    ("StartsThreadsForEver", "leaves a thread per request", ("test_requests_leave_nothing_behind",)),
    ("WaitsForItsReaders", "unload waits for readers", ("test_unloading_under_a_stream_is_survived",), _BRIEFLY),
)

_QUEUE: Final[dict[str, Any]] = {"sound": "llamaforge.testing.fakes:QueueingToyBackend"}
_BUSY_QUEUE: Final[dict[str, Any]] = {**_QUEUE, "parameters": {"delay": 0.003}}
_SLOW_QUEUE: Final[dict[str, Any]] = {**_QUEUE, **_SLOWLY, "crowd": 8}
_CROWDS: Final = defects_of(
    "crowds",
    ("TurnsCrowdsAway", "turns a crowd away", ("test_a_crowd_is_served",), _BUSY_QUEUE),
    ("LosesTheLatecomers", "loses requests in a crowd", ("test_a_crowd_is_served",), _BUSY_QUEUE | _BRIEFLY),
    ("HasTenPlaces", "has a table of ten places", ("test_sixteen_threads_get_their_own_text",), _SLOWLY),
    ("WaitsDeafly", "does not leave the queue", ("test_leaving_the_queue_is_at_once",), _SLOW_QUEUE),
    ("WaitsBeyondTheDeadline", "knows no deadline in the queue", ("test_a_deadline_holds_in_the_queue",), _SLOW_QUEUE),
    ("PrefersTheFamiliar", "starves strangers", ("test_a_short_request_is_not_starved",), _QUEUE | {"patience": 1.0}),
    (
        "DropsARowTooMany",
        "a cancelled one spoils others",
        ("test_one_failure_spoils_nobody_elses_answer",),
        _BUSY_QUEUE,
    ),
    ("TrustsItsCacheTooFar", "reuses what is not the same", ("test_a_warm_prompt_has_the_same_answer",)),
    ("CachesMoreThanThereIs", "counts more cached than there is", ("test_a_warm_prompt_has_the_same_answer",)),
)

_MANNERS: Final = defects_of(
    "manners",
    ("PrintsItsAnswers", "prints to standard output", ("test_generating_prints_nothing",)),
    ("PrintsNatively", "its engine prints", ("test_generating_prints_nothing",)),
    ("PrintsWhileItLoads", "prints while it loads", ("test_loading_prints_nothing",)),
    ("ShowsItsKey", "leaks the key in repr", ("test_the_backend_never_shows_a_secret",)),
    ("LogsItsKey", "logs the key", ("test_the_backend_never_shows_a_secret",)),
    ("TellsItsKey", "leaks the key in an error", ("test_the_backend_never_shows_a_secret",)),
    ("ChainsItsKey", "leaks the key in a cause", ("test_the_backend_never_shows_a_secret",)),
    ("HasAPlainKey", "declares the key as a string", ("test_what_sounds_secret_is_a_secret",)),
    ("CopiesItsKey", "copies the key", ("test_the_config_never_shows_a_secret",)),
    ("TellsLoadParameters", "reports load parameters", ("test_results_show_no_load_parameters",)),
    ("DescribesNothing", "describes no load parameter", ("test_load_parameters_are_described",)),
    ("ChecksNothing", "checks no load parameter", ("test_load_parameters_are_checked",)),
    ("WasRenamed", "names a class that is gone", ("test_the_spec_describes_the_class",)),
    ("SaysTooMuch", "has a summary of two lines", ("test_the_spec_describes_the_class",)),
    ("ComesFromTheFuture", "has another contract version", ("test_the_spec_describes_the_class",)),
    ("MatchesFilesAlone", "match raises", ("test_matching_is_a_number_for_any_location",)),
    ("MumblesToTheDoctor", "has a probe of another form", ("test_the_doctor_gets_an_answer",)),
    ("HalfBasic", "has half of a level", ("test_the_levels_are_not_mixed",)),
)

_IMPORTING: Final = (
    *defects_of(
        "heavy",
        ("ImportsAnEngine", "imports an engine at import", ("test_importing_is_light",)),
        ("ImportsAnEngine", "prints at import", ("test_importing_prints_nothing",)),
    ),
    *defects_of("missing", ("NeedsItsTests", "can't be imported elsewhere", ("test_it_can_be_imported_elsewhere",))),
)

_GREEDILY: Final = ("test_greedy_answers_follow_the_arithmetic",)
_REPEATING: Final = ("test_penalties_end_a_repetition_when_they_should",)
_ALLOWED: Final = ("test_sampled_tokens_are_allowed_ones",)
_OFTEN: Final = ("test_tokens_are_drawn_as_often_as_they_should_be",)
_OWN: Final = ("test_sampled_tokens_have_their_own_logprob",)
_ARITHMETIC: Final = defects_of(
    "arithmetic",
    ("RewardsPresence", "adds presence_penalty", _REPEATING),
    ("RewardsFrequency", "adds frequency_penalty", _REPEATING),
    ("HalvesPenalties", "takes half of each penalty", _REPEATING),
    ("CountsThePrompt", "counts the prompt for penalties", _GREEDILY),
    ("CountsOnce", "counts each token once for penalties", _REPEATING),
    ("RoundsBiases", "rounds biases", _GREEDILY),
    ("TakesFewBiases", "takes eight biases", _GREEDILY),
    ("SamplesAtZeroWithFilters", "samples at 0 with top_k", ("test_temperature_zero_wins_over_filters",)),
    ("StopsAtTheVocabulary", "fails beyond the vocabulary", ("test_a_filter_wider_than_the_vocabulary_is_none",)),
    ("SquaresTheTemperature", "divides by the temperature twice", _OFTEN),
    ("KeepsOneMore", "keeps one token too many", _ALLOWED),
    ("FiltersBeforeTheTemperature", "filters before the temperature", _OFTEN),
    ("FiltersByDefault", "filters by default", ("test_unset_parameters_filter_nothing",)),
    ("WarmsByDefault", "has a temperature of its own", ("test_unset_parameters_filter_nothing",)),
    ("ReportsOtherLogarithms", "reports binary logarithms", _OFTEN),
    ("ReportsTheBestOne", "reports the best token's number", _OWN),
    ("ReportsGreedyTokensOnly", "reports greedy tokens only", _OWN),
    ("ReportsFewer", "reports an alternative less", _OWN),
)

_LOOPS: Final = ("test_asynchronous_calls_take_every_parameter",)
_CHATS: Final = ("test_chat_takes_every_parameter", "test_asynchronous_chat_takes_every_parameter")
_RAW: Final = ("test_a_raw_prompt_takes_every_parameter",)
_STEADY: Final[dict[str, Any]] = {"parameters": {"delay": 0.02, "length": 48}}
_PATHS: Final = defects_of(
    "paths",
    ("SendsOnePieceInLoops", "one piece in event loops", ("test_an_asynchronous_answer_comes_in_pieces",)),
    ("DeafInLoops", "no deadline in event loops", ("test_a_deadline_holds_in_an_event_loop",), _STEADY),
    ("ReadsInTheLoop", "reads prompts in the loop", ("test_a_long_prompt_does_not_block_the_loop",), _STEADY),
    ("StartsAThreadForEachCall", "a thread for each call", ("test_asynchronous_calls_leave_no_threads",)),
    ("LosesStopsInLoops", "loses stop in event loops", _LOOPS),
    ("LosesSeedsInLoops", "loses seed in event loops", _LOOPS),
    ("LosesLogprobsInLoops", "loses logprobs in event loops", _LOOPS),
    ("LosesSchemasInLoops", "loses schemas in event loops", _LOOPS),
    ("LosesPenaltiesInLoops", "loses penalties in event loops", _LOOPS),
    ("LosesStopsInChats", "loses stop in conversations", _CHATS),
    ("LosesTemperaturesInChats", "loses temperature in conversations", _CHATS),
    ("LosesBiasesInChats", "loses logit_bias in conversations", _CHATS),
    ("LosesSchemasInChats", "loses schemas in conversations", _CHATS),
    ("LosesStopsInRawPrompts", "loses stop after raw prompts", _RAW),
    ("LosesPenaltiesInRawPrompts", "loses penalties after raw prompts", _RAW),
    ("StripsRawPrompts", "strips raw prompts", _RAW),
    ("ShowsAnotherPrompt", "renders less than the engine sees", _RAW),
    ("BatchesBackwards", "answers batches backwards", ("test_a_batch_keeps_the_order",)),
    ("BatchesEagerly", "takes a batch as a whole", ("test_a_batch_takes_prompts_as_it_needs_them",)),
    ("BatchesFailTogether", "ends a batch with an error", ("test_an_item_that_fails_spoils_no_other",)),
    ("BatchesForgetParameters", "loses a batch's parameters", ("test_a_batch_takes_every_parameter",)),
)

_CUT_TEXT: Final = ("test_a_text_loses_its_beginning_on_request",)
_EDGES: Final = defects_of(
    "edges",
    ("CallsAFullContextStop", "says stop where the context is full", ("test_a_context_may_be_full",)),
    ("LeavesATokenFree", "never fills the context", ("test_a_context_may_be_full",)),
    ("SwapsTheCounts", "counts an overflow wrongly", ("test_a_prompt_that_fills_the_context_is_refused",)),
    ("IgnoresTruncation", "ignores truncation", _CUT_TEXT),
    ("TruncatesUnasked", "truncates unasked", _CUT_TEXT),
    ("KeepsTheBeginning", "leaves out the end of a text", _CUT_TEXT),
    ("CountsWhatWasLeftOut", "counts what was left out as read", _CUT_TEXT),
    ("HidesWhatWasLeftOut", "doesn't tell what was left out", _CUT_TEXT),
    ("InventsWhatWasLeftOut", "invents truncated tokens", ("test_nothing_is_left_out_unasked",)),
    ("DropsSystemTurns", "drops system turns first", ("test_a_conversation_loses_its_oldest_turns_on_request",)),
    ("SharesItsContext", "shares load parameters", ("test_instances_have_contexts_of_their_own",)),
    ("KeepsItsFirstContext", "keeps the first load's parameters", ("test_instances_have_contexts_of_their_own",)),
)

DEFECTS: Final = (
    *samplers.DEFECTS,
    *sizes.DEFECTS,
    *probabilities.DEFECTS,
    *reading.DEFECTS,
    *telling.DEFECTS,
    *edging.DEFECTS,
    *doors.DEFECTS,
    *everywhere.DEFECTS,
    *kept.DEFECTS,
    *unplanned.DEFECTS,
    *switches.DEFECTS,
    *_TEXT,
    *_SAMPLING,
    *_REASONING,
    *_CONSTRAINTS,
    *_ARITHMETIC,
    *_PATHS,
    *_COUNTING,
    *_EDGES,
    *_STATE,
    *_CONCURRENCY,
    *_CROWDS,
    *LIVING,
    *_MANNERS,
    *_IMPORTING,
)
"""Every defect there is."""
