"""A scheduler for in-process engines: many callers share one model.

A plugin describes its model as an :class:`Engine`: tokenize, compute a step, trim. :class:`EngineBackend` turns it into
a backend with continuous batching, chunked prefill, fairness, cancellation, prefix reuse, exact text, usage and
timings. ``docs/engines.md`` is the guide for authors.

=================  ================================================================================
module             contents
=================  ================================================================================
``interface``      :class:`Engine`, what an author writes, and what goes in and out of a step
``sampling``       what engines share when they choose tokens: parameters, masks, guesses
``backend``        :class:`EngineBackend`: the contract, kept with an engine and a scheduler
``config``         :class:`EngineConfig`: the load parameters that all such backends share
``context``        how long a context may be
``prompts``        a request's tokens; overflow, and truncation where it was asked for
``engine_thread``  the thread that owns a model: opens it, computes with it, closes it
``scheduler``      admission, steps, failures, the end
``token_budget``   how many tokens of a step each request gets
``slots``          which tokens the engine's slots hold, for reuse
``preparation``    from a request to a sequence, beside the caller where the text is long
``sequence``       one request under way: its tokens, its text, its end
``constraints``    what constrained answers may go on with: matchers, guesses, masks
``event_queue``    from the scheduler to a waiting thread or event loop
``prompt_lookup``  guesses from the text so far (prompt-lookup decoding)
``embedding``      :class:`EmbeddingEngine`, what an author writes for vectors and scores
``embedding_...``  its batcher, and what the backend does with both
=================  ================================================================================
"""

from __future__ import annotations

from .backend import EngineBackend
from .config import EngineConfig
from .embedding import EmbeddingEngine, TokenizedText
from .interface import (
    BatchEntry,
    BytesDetokenizer,
    Choice,
    Detokenizer,
    Engine,
    InterruptedStepError,
    OutOfRoomError,
    Prompt,
    Sampling,
    StepResult,
    TokenTable,
)
from .sampling import SamplingParams, allowed_tokens, apply_mask, choose_while_guessed, only_token

__all__ = [
    "BatchEntry",
    "BytesDetokenizer",
    "Choice",
    "Detokenizer",
    "EmbeddingEngine",
    "Engine",
    "EngineBackend",
    "EngineConfig",
    "InterruptedStepError",
    "OutOfRoomError",
    "Prompt",
    "Sampling",
    "SamplingParams",
    "StepResult",
    "TokenTable",
    "TokenizedText",
    "allowed_tokens",
    "apply_mask",
    "choose_while_guessed",
    "only_token",
]
