"""The backend: LlamaForge's contract, kept with n-grams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llamaforge import BaseBackend, CancellationToken, Event, Finished, GenerationRequest, TextDelta, Usage
from llamaforge.errors import ContextOverflowError, ModelNotLoadedError, NoChatTemplateError
from llamaforge.text import TextAssembler

from . import arpa
from .config import NgramConfig
from .errors import translated
from .model import BEGIN, END, NgramModel
from .plugin import SPEC
from .sampling import Sampler


class NgramBackend(BaseBackend):
    """Continues a text, word by word. The model path is that of an ARPA file, compressed or not.

    The prompt stands for itself: an n-gram model knows no turns, so there is no chat.
    """

    spec = SPEC
    config_class = NgramConfig

    def __init__(self) -> None:
        super().__init__()
        self._model: NgramModel | None = None
        self._n_ctx = 0

    def check_model(self, model_path: str, config: NgramConfig) -> None:
        """Refuse what is clearly no ARPA file, while another model may still be loaded."""
        with translated(model_path):
            arpa.check(Path(model_path))

    def load(self, model_path: str, config: NgramConfig) -> None:
        """Read the model."""
        with translated(model_path):
            self._model = arpa.read(Path(model_path), config.order)
        self._n_ctx = config.n_ctx

    def unload(self) -> None:
        """Give its memory back. Answers that are being written keep it until they are complete."""
        self._model = None

    def render_request(self, request: GenerationRequest) -> str:
        """The prompt itself. Raises NoChatTemplateError for a conversation: no template is ever guessed."""
        if request.prompt is None:
            raise NoChatTemplateError(self.model_path or self.name, "An n-gram model knows no turns: give it a prompt.")
        return request.prompt

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """A word an event."""
        model, n_ctx = self._model, self._n_ctx
        if model is None:
            raise ModelNotLoadedError()
        prompt = model.encode(self.render_request(request))
        room = n_ctx - len(prompt)
        if room < 1:
            raise ContextOverflowError(len(prompt), n_ctx)
        return _events(model, request, cancellation, prompt, min(request.max_tokens or room, room))


def _events(
    model: NgramModel, request: GenerationRequest, cancellation: CancellationToken, prompt: list[int], limit: int
) -> Iterator[Event]:
    sampler = Sampler(request, model, prompt)
    text = TextAssembler(request.stop or ())
    history = [model.ids[word] for word in (BEGIN,) if word in model.ids] + prompt
    count, ended = 0, False
    while count < limit and text.matched is None and not cancellation.stopped:
        logprobs = model.next_logprobs(history)
        word = sampler.choose(logprobs)
        if model.vocabulary[word] == END:
            ended = True
            break
        count += 1
        history.append(word)
        piece = text.feed(sampler.text(word).encode())
        described = sampler.describe(word, logprobs)
        if piece or described:
            yield TextDelta(piece, described)
    if tail := text.finish():
        yield TextDelta(tail)
    yield Finished(
        finish_reason="stop" if ended or text.matched is not None else "length",
        stop=text.matched,
        usage=Usage(prompt_tokens=len(prompt), completion_tokens=count),
    )
