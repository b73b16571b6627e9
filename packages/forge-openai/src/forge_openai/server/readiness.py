"""Questions to a server before it is used: is it well, which models has it, does it answer?"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from llamaforge.backends.spec import Task

from ..error_shapes import error_fields, error_text
from ..errors import Translator
from ..model_list import ModelCard, read_body, read_models
from ..wire.reasons import connection_reason
from .config import API

_NOT_OFFERED: Final = (404, 405, 501)
_REFUSED: Final = (401, 403)
_LATER: Final = (429, 503)
_FIRST_ROUTE: Final[Mapping[Task, int]] = {"generate": 0, "embed": 2, "rerank": 3}
"""Where in the list of routes those for a task begin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadinessProbe:
    """Asks one server, with the standard library: no retries, and nothing that needs an import of a second."""

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    patience: float = 5.0
    """Seconds for each answer."""

    def is_healthy(self, path: str) -> bool:
        """Whether GET *path* is answered with a 2xx."""
        status, _ = self.ask(path)
        return 200 <= status < 300

    def models(self) -> list[ModelCard]:
        """Its models; an empty list if the server's list can't be read.

        Raises ConnectionFailedError, AuthenticationError or ServerError if the server returns no list.
        """
        status, body = self.ask(f"{API}/models")
        values = [part for value in self.headers.values() for part in (value, value.partition(" ")[2]) if part]
        translator = Translator(address=self.endpoint, model="", secrets=tuple(values))
        if status == 0:
            raise translator.gone(str(body))
        if status in _REFUSED:
            advice = "If the key may generate but not list models, pass the load parameter model."
            reason = error_text(error_fields(body), body)
            raise translator.answer_error(status, {"message": f"{reason} {advice}"})
        if status >= 400 and status not in _NOT_OFFERED:
            raise translator.answer_error(status, body)
        return read_models(body) or []

    def answers(self, model: str, patience: float, task: Task = "generate") -> bool:
        """Whether it generates a token, or makes a vector or a score where its model is for that. Refusing the request
        counts, too: then the model is there.

        A server that has no route for text is asked for the others; one that has it, whatever its model is for, needs
        *task*.
        """
        message = [{"role": "user", "content": "Hi"}]
        routes: tuple[tuple[str, dict[str, Any]], ...] = (
            (f"{API}/completions", {"model": model, "prompt": "Hi", "max_tokens": 1}),
            (f"{API}/chat/completions", {"model": model, "messages": message, "max_tokens": 1}),
            (f"{API}/embeddings", {"model": model, "input": "Hi"}),
            (f"{API}/rerank", {"model": model, "query": "Hi", "documents": ["Hi"]}),
        )
        for path, body in routes[_FIRST_ROUTE[task] :]:
            status, _ = self.ask(path, body, patience)
            if status not in _NOT_OFFERED:
                return 0 < status < 500 and status not in _LATER
        return False

    def ask(self, path: str, body: object = None, patience: float | None = None) -> tuple[int, object]:
        """GET *path*, or POST *body* there: the status, and the JSON or the text.

        If nobody answers, the status is 0 and the body is the reason.
        """
        try:
            return self._ask(path, body, patience)
        except (OSError, http.client.HTTPException) as error:
            return 0, connection_reason(error)

    def _ask(self, path: str, body: object, patience: float | None) -> tuple[int, object]:
        address = urlsplit(self.endpoint)
        timeout = self.patience if patience is None else patience
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = kind(address.hostname or "", address.port, timeout=timeout)
        try:
            headers = {**self.headers, "Content-Type": "application/json", "Connection": "close"}
            data = None if body is None else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", address.path + path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, read_body(text)
