"""Many callers, one model: a scheduler for every engine that runs in this process.

A plugin describes its model as an :class:`Engine`: tokenize, compute a step, trim. :class:`EngineBackend` makes a
backend of that, with continuous batching, chunked prefill, fairness, cancellation, prefix reuse, exact text, usage and
timings. ``docs/engines.md`` is the author's page.

==============  ==================================================================================
module          what is there
==============  ==================================================================================
``interface``   :class:`Engine`, what an author writes, and what goes in and out of a step
``backend``     :class:`EngineBackend`: the contract, kept with an engine and a scheduler
``config``      :class:`EngineConfig`: the load parameters that all such backends share
``prompts``     a request's tokens; overflow, and truncation where it was asked for
``scheduler``   the thread that owns the model: admission, steps, failures, the end
``planning``    who gets how many tokens of a step
``slots``       which tokens the engine's slots hold, for reuse
``jobs``        one request under way: its tokens, its text, its end
``mailbox``     from the scheduler to a waiting thread or event loop
``lookup``      guesses from the text so far (prompt-lookup decoding)
==============  ==================================================================================
"""

from __future__ import annotations

from .backend import EngineBackend
from .config import EngineConfig
from .interface import Choice, Detokenizer, Engine, Feed, InterruptedStepError, Outcome, OutOfRoomError, Sampling

__all__ = [
    "Choice",
    "Detokenizer",
    "Engine",
    "EngineBackend",
    "EngineConfig",
    "Feed",
    "InterruptedStepError",
    "OutOfRoomError",
    "Outcome",
    "Sampling",
]
