"""A loaded model's tokens and its context length."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence

from ..errors import InvalidParameterError, UnsupportedError
from ..event_validation import engine_call
from ..messages import Message
from ..requests import GenerationRequest, ResolvedRequest
from .formats import take_type
from .spec import Task
from .tool_calls import Messages


class TokenizerCalls:
    """``token_ids``, ``detokenize`` and ``context_length``."""

    @property
    def name(self) -> str:
        """The backend's name."""
        raise NotImplementedError

    # What a backend may write.

    def tokenize_request(self, request: GenerationRequest) -> Sequence[int]:
        """The ids of the tokens that the engine reads for *request*. The base class refuses."""
        raise UnsupportedError("tokenize", self.name)

    def token_text(self, token_ids: Sequence[int]) -> bytes:
        """The text of *token_ids* in UTF-8, control tokens spelled out. The base class refuses.

        Raises InvalidParameterError for an id that the model doesn't have.
        """
        raise UnsupportedError("detokenize", self.name)

    @property
    def context_length(self) -> int | None:
        """The tokens of the longest prompt and answer together that the loaded model takes; None if unknown."""
        return None

    # What every backend has.

    def token_ids(
        self,
        prompt: str | None = None,
        *,
        messages: Iterable[Message | Mapping[str, object]] | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> list[int]:
        """The ids of the tokens that the engine will see: those of :meth:`.BaseBackend.render`'s text.

        With ``parameters={"raw": True}``, those of *prompt* alone.

        Raises the errors of :meth:`generate`, and UnsupportedError where the engine doesn't tell its tokens.
        """
        self._require_full("tokenize")
        self._require_task("generate")
        resolved = self._resolve(prompt, messages, take_type(parameters)[0])
        return list(engine_call(self.name, None, self.tokenize_request, resolved.request))

    def detokenize(self, tokens: Iterable[int]) -> str:
        """The text of tokens. Control tokens are spelled out; bytes that are no UTF-8 become U+FFFD.

        Raises InvalidParameterError for what is no list of the model's token ids, UnsupportedError where the engine
        doesn't tell its tokens, and ModelNotLoadedError.
        """
        self._require_full("detokenize")
        self._require_task("generate")
        if isinstance(tokens, str | bytes | Mapping) or not isinstance(tokens, Iterable):
            raise InvalidParameterError("tokens", tokens, "a list of token ids")
        read: list[int] = []
        for place, token in enumerate(tokens):
            if not isinstance(token, numbers.Integral) or isinstance(token, bool) or token < 0:
                raise InvalidParameterError(f"tokens[{place}]", token, "a token id, a whole number of at least 0")
            read.append(int(token))
        return engine_call(self.name, None, self.token_text, read).decode("utf-8", "replace")

    def _require_full(self, feature: str) -> None:
        raise NotImplementedError

    def _require_task(self, task: Task) -> None:
        raise NotImplementedError

    def _resolve(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, object] | None
    ) -> ResolvedRequest:
        raise NotImplementedError
