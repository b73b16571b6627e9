"""The catalogue's part about the life of a backend: loading, unloading, the process, and what is left behind."""

from __future__ import annotations

from typing import Any, Final

from .entry import ASYNC, BASIC, defects_of

_GIVEN: Final[dict[str, Any]] = {"parameters": {"n_ctx": 512}}
_LIFECYCLE: Final = defects_of(
    "lifecycle",
    ("GeneratesBeforeLoad", "generates before load", ("test_generate_before_load_is_refused",)),
    ("StreamsBeforeLoad", "streams before load", ("test_a_stream_before_load_is_refused",)),
    ("ForgetsAsyncLoads", "agenerates before load", ("test_async_calls_before_load_are_refused",), {"sound": ASYNC}),
    ("BasicAnswersWithoutAModel", "basic: before load", ("test_generate_before_load_is_refused",), {"sound": BASIC}),
    ("LoadedForEver", "is loaded for ever", ("test_after_unloading_nothing_is_generated",)),
    ("LoadedFromTheStart", "is loaded from the start", ("test_a_new_backend_has_no_model",)),
    ("UnloadsOnce", "can't be unloaded twice", ("test_unloading_nothing_is_harmless",)),
    (
        "LoadsOnce",
        "can't be loaded twice",
        ("test_a_model_can_be_loaded_again", "test_loading_over_a_loaded_model_works"),
    ),
    ("SpoiltByAFailure", "is spoilt by a failed load", ("test_a_failed_load_can_be_followed_by_a_good_one",)),
    (
        "RaisesItsOwnErrors",
        "raises raw errors",
        ("test_a_missing_model_is_an_error", "test_a_file_that_is_no_model_is_an_error"),
    ),
    ("SharesOneModel", "shares one model", ("test_two_backends_do_not_share_a_model",)),
    ("LosesTheModelToATypingError", "unloads first", ("test_refused_load_parameters_lose_nothing",)),
    ("AcceptsAnyLoadParameter", "ignores load parameters", ("test_load_parameters_are_checked",)),
    ("ChangesLoadParameters", "changes them", ("test_loading_leaves_the_callers_parameters_alone",), _GIVEN),
    ("KeepsItsMemory", "unload doesn't free", ("test_unloading_gives_memory_back",)),
    ("ForgetsTheFirst", "loading twice leaks the first", ("test_loading_over_a_model_gives_the_old_one_back",)),
    ("KeepsEveryRequest", "keeps each request's cache", ("test_requests_leave_nothing_behind",)),
    ("KeepsWhatWasLeft", "keeps caches of left streams", ("test_streams_that_are_left_leave_nothing_behind",)),
    ("KeepsWhatFailed", "keeps caches of failures", ("test_failed_requests_leave_nothing_behind",)),
    ("OpensFiles", "leaves a file open per request", ("test_requests_leave_nothing_behind",)),
    ("LeavesAThread", "unload leaves a thread", ("test_unloading_ends_the_backends_threads",)),
    ("KeepsProgramsRunning", "its worker is no daemon", ("test_a_program_may_end_without_unloading",)),
    ("KeepsStreamersRunning", "has one from its first stream", ("test_a_program_may_end_without_unloading",)),
    ("StaysForEver", "can't be collected", ("test_a_closed_backend_can_be_collected",)),
    ("SpoiltByItsReaders", "is spoilt by left streams", ("test_leaving_many_streams_changes_nothing",)),
)

_LOADED: Final = ("test_loading_leaves_the_process_as_it_was",)
_ASKED: Final = ("test_requests_leave_the_process_as_it_was",)
_UNLOADED: Final = ("test_unloading_leaves_the_process_as_it_was",)
_PROCESS: Final = defects_of(
    "process",
    ("ChangesTheEnvironment", "changes the environment", _LOADED),
    ("SetsAVariable", "sets an environment variable", _LOADED),
    ("LogsForEverybody", "adds to the root logger", _LOADED),
    ("LogsWhenItFails", "changes the root logger when it fails", _LOADED),
    ("CatchesSignals", "replaces signal handlers", _LOADED),
    ("MovesAway", "changes the working directory", _LOADED),
    ("StopsTheCollector", "changes the garbage collector", _LOADED),
    ("LimitsSockets", "limits all sockets", _LOADED),
    ("HidesWarnings", "filters warnings", _LOADED),
    ("HooksExceptions", "replaces sys.excepthook", _LOADED),
    ("ReplacesLookups", "replaces a shared function", _LOADED),
    ("RecursesDeeper", "raises the recursion limit", _LOADED),
    ("QuietensAnotherLogger", "sets the level of another logger", _LOADED),
    ("RoundsEverybodysDecimals", "changes decimal's context", _LOADED),
    ("BringsItsOwnLoops", "sets an event loop policy", _LOADED),
    ("LeavesALoop", "leaves an event loop to its caller's thread", _LOADED),
    ("ShowsEverybodysRequests", "has all connections print", _LOADED),
    ("EncodesForEverybody", "replaces a method of a shared class", _ASKED),
    ("SetsAnAlarm", "sets a timer", _ASKED),
    ("LogsEverything", "adds to another logger on unload", _UNLOADED),
    ("SeedsEverybody", "seeds the global random numbers", _ASKED),
    ("SeedsInConversations", "seeds them in conversations", _ASKED),
    ("BorrowsTheEnvironment", "sets a variable during a stream", _ASKED),
    ("SilencesWarningsMeanwhile", "ignores warnings during a stream", _ASKED),
    ("CollectsNoMore", "stops the collector on unload", _UNLOADED),
    ("OpensTheUmask", "changes the umask on unload", _UNLOADED),
    ("LeavesFiles", "leaves temporary files", _UNLOADED),
    ("LeavesFolders", "leaves temporary folders", _UNLOADED),
    ("HooksTheExit", "leaves exit hooks", _UNLOADED),
)

_WAITS: Final = ("test_unloading_may_wait_for_answers",)
_CUT: Final = ("test_a_stream_that_is_cut_does_not_look_finished",)
_ANYWHERE: Final = ("test_loading_again_brings_new_parameters_everywhere",)
_LOSES: Final = ("test_a_wrong_model_loses_nothing",)
_DEFAULTS: Final = ("test_defaults_belong_to_one_instance",)
_CHILDREN: Final = ("test_no_child_process_survives",)
_WELL: Final = ("test_health_tells_whether_it_can_answer",)
_STILL_WELL: Final = ("test_a_stream_does_not_make_it_unwell",)
_ABLE: Final = ("test_capabilities_can_be_read_without_a_model",)
_FORGETS: Final = ("test_unloading_forgets_the_model",)
_UNLOADING: Final = defects_of(
    "unloading",
    ("IgnoresWait", "ignores wait", _WAITS),
    ("AdmitsRequestsWhileItWaits", "admits requests while it waits", _WAITS),
    ("WaitsWithoutLimit", "takes a number for True", ("test_unloading_waits_as_long_as_asked",), {"patience": 1.0}),
    ("EndsWithItsModel", "ends cut streams with stop", _CUT),
    ("EndsAtALimitWithItsModel", "ends cut streams with length", _CUT),
    ("EndsConversationsWithItsModel", "ends cut conversations with stop", _CUT),
    ("FailsWithItsModel", "raises raw errors of a model that is gone", _CUT),
    (
        "EndsWithItsModelInLoops",
        "ends cut streams with stop in loops",
        ("test_an_asynchronous_stream_that_is_cut_does_not_look_finished",),
        {"sound": ASYNC},
    ),
    ("SettlesBeforeItLooks", "takes parameters of a model that it refuses", _LOSES),
    ("OpensBeforeItLooks", "looks for the model after unloading", _LOSES),
    ("NamesTheWrongModel", "names a model that failed", _LOSES),
    ("ForgetsItsLanguage", "clears before it looks", _LOSES),
    ("KeepsContextsOfRawPrompts", "keeps the old context of raw prompts", _ANYWHERE),
    ("KeepsContextsOfConversations", "keeps the old context of conversations", _ANYWHERE),
    ("SharesItsDefaults", "shares defaults", _DEFAULTS),
    ("AddsItsDefaultsUp", "adds defaults up", _DEFAULTS),
    ("ForgetsDefaultsInConversations", "has no defaults in conversations", _DEFAULTS),
    ("LeavesAChild", "leaves a child process", _CHILDREN),
    ("LeavesAGrandchild", "leaves a grandchild", _CHILDREN),
    ("LeavesAChildWhenItFails", "leaves a child of a failed load", _CHILDREN),
    ("IsAlwaysWell", "is always healthy", _WELL),
    ("IsWellForEver", "is healthy after unloading", _WELL),
    ("KnowsItsHealthAtOnce", "has a health that can't be awaited", _WELL),
    ("IsUnwellWhenBusy", "is unhealthy when busy", _STILL_WELL),
    ("IsUnwellAfterErrors", "is unhealthy after errors", _STILL_WELL),
    ("AsksItsModelWhatItCan", "can do nothing before loading", _ABLE),
    ("CanDoNothingWithoutAModel", "fails before loading", _ABLE),
    ("RemembersWhatItCould", "keeps a model's capabilities", _FORGETS),
    ("RemembersItsMemory", "keeps a model's memory", _FORGETS),
    ("LosesCount", "loses count of requests", ("test_requests_in_flight_are_counted",)),
    ("StaysOpenInLoops", "async with doesn't unload", ("test_the_asynchronous_with_statement_unloads",)),
)

_PRINTS: Final = ("test_nothing_is_printed_on_any_way",)
_PRINTS_LOADING: Final = ("test_loading_again_and_unloading_print_nothing",)
_SECRET: Final = ("test_no_way_shows_a_secret",)
_SECRET_FAILING: Final = ("test_a_failed_load_shows_no_secret",)
_SECRET_ELSEWHERE: Final = ("test_no_other_program_sees_a_secret",)
_STARTS: Final = ("test_a_stream_starts_when_it_is_read",)
_READS: Final = ("test_a_deadline_holds_while_a_prompt_is_read",)
_PARTS: Final[dict[str, Any]] = {"sound": "llamaforge.testing.defects.output:ReadsInParts"}
_OUTPUT: Final = defects_of(
    "output",
    ("PrintsInConversations", "prints conversations", _PRINTS),
    ("PrintsInLoops", "prints in event loops", _PRINTS, {"sound": ASYNC}),
    ("PrintsWhenItRunsOut", "prints when an answer is cut", _PRINTS),
    ("SaysGoodbye", "prints on unload", _PRINTS_LOADING),
    ("PrintsItsFailures", "prints failed loads", _PRINTS_LOADING),
    ("WarnsOfItsKey", "leaks the key in a warning", _SECRET),
    ("ReturnsItsKeyInConversations", "leaks the key in results of conversations", _SECRET),
    ("LogsItsKeyInBatches", "logs the key of batches", _SECRET),
    ("TellsItsKeyWithItsFailures", "leaks the key in errors of failed loads", _SECRET_FAILING),
    ("ChainsItsKeyToFailures", "leaks the key in causes of failed loads", _SECRET_FAILING),
    ("ShowsItsKeyToEverybody", "leaks the key on a command line", _SECRET_ELSEWHERE),
    ("ExportsItsKey", "leaks the key in the environment", _SECRET_ELSEWHERE),
    ("KeepsEveryPrompt", "keeps each prompt", ("test_different_prompts_leave_nothing_behind",)),
    ("KeepsEveryConversation", "keeps each conversation", ("test_different_conversations_leave_nothing_behind",)),
    ("KeepsEveryStopString", "keeps each stop string", ("test_different_parameters_leave_nothing_behind",)),
    ("KeepsWhatIsLeft", "keeps each stream that was left", ("test_different_streams_leave_nothing_behind",)),
    (
        "KeepsEveryLoop",
        "keeps each event loop",
        ("test_different_asynchronous_requests_leave_nothing_behind",),
        {"sound": ASYNC},
    ),
    ("StartsAtTheCall", "starts at the call", _STARTS, {"parameters": {"delay": 0.02}}),
    ("StartsAThreadAtTheCall", "starts a thread at the call", _STARTS),
    ("StartsConversationsAtTheCall", "starts conversations at the call", _STARTS, {"parameters": {"delay": 0.02}}),
    (
        "TakesAPlaceAtTheCall",
        "takes a place at the call",
        ("test_many_unread_streams_stop_nobody",),
        {"patience": 0.5},
    ),
    ("ReadsDeafly", "reads prompts whatever the deadline", _READS, _PARTS),
    ("ReadsLongPromptsDeafly", "reads most of a prompt whatever the deadline", _READS, _PARTS),
)

LIVING: Final = (*_LIFECYCLE, *_PROCESS, *_UNLOADING, *_OUTPUT)
