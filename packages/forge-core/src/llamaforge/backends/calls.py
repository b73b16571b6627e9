"""The calls for text, built on two methods: start a stream, and start an asynchronous stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Unpack

from ..parameters import GenerationParameters
from ..requests import merge_parameters
from ..results import GeneratedText
from ..signatures import overridable, takes_parameters
from ..streams import AsyncTextStream, TextStream
from ..validation import check_mapping
from .batch import BatchItem, Prompt, arun_batch, check_prompt, checked, read_concurrency, run_batch, several
from .tool_calls import Messages, RunsTools, RunsToolsOfNamedModels
from .watching import Operation, refusals, refused


class GenerationCalls(RunsTools):
    """``generate``, ``chat``, their streams, asynchronous versions and batches."""

    model_name: str = ""
    """The name under which ``LlamaForge`` has loaded the model; observers get it."""

    @overridable
    @takes_parameters
    def generate(
        self, prompt: str, parameters: Mapping[str, object] | None = None, **more: Unpack[GenerationParameters]
    ) -> GeneratedText:
        """Generate text from the given prompt with the given parameters.

        Args:
            prompt: one user turn if the model has a chat template; with ``raw=True`` it is sent unchanged.
            parameters: generation parameters (see :class:`llamaforge.parameters.Parameters`).
            more: generation parameters by name.

        Returns a ``str`` with ``finish_reason``, ``usage``, ``timings`` and more as attributes.

        Raises a RequestError before any work is done, and an EngineError if the engine fails.
        """
        return self._whole(prompt, self._merged("generate", parameters, more)).read()

    @overridable
    @takes_parameters
    def generate_stream(
        self, prompt: str, parameters: Mapping[str, object] | None = None, **more: Unpack[GenerationParameters]
    ) -> TextStream:
        """Stream generated text from the given prompt with the given parameters.

        The request is checked now; the engine starts when the first piece is read. The joined pieces are exactly what
        :meth:`generate` returns.
        """
        return self._start(prompt, None, self._merged("generate", parameters, more), time.perf_counter())

    @takes_parameters
    def chat(
        self, messages: Messages, parameters: Mapping[str, object] | None = None, **more: Unpack[GenerationParameters]
    ) -> GeneratedText:
        """Answer a conversation. *messages* are :class:`~llamaforge.messages.Message` or dicts of that shape."""
        return self.chat_stream(messages, self._merged("chat", parameters, more)).read()

    @takes_parameters
    def chat_stream(
        self, messages: Messages, parameters: Mapping[str, object] | None = None, **more: Unpack[GenerationParameters]
    ) -> TextStream:
        """Stream the answer to a conversation."""
        return self._start(None, messages, self._merged("chat", parameters, more), time.perf_counter())

    @takes_parameters
    async def agenerate(
        self, prompt: str, parameters: Mapping[str, object] | None = None, **more: Unpack[GenerationParameters]
    ) -> GeneratedText:
        """Asynchronous :meth:`generate`; it never blocks the event loop."""
        return await self._awhole(prompt, self._merged("generate", parameters, more)).read()

    @takes_parameters
    def agenerate_stream(
        self, prompt: str, parameters: Mapping[str, object] | None = None, **more: Unpack[GenerationParameters]
    ) -> AsyncTextStream:
        """Asynchronous :meth:`generate_stream`: ``async for piece in backend.agenerate_stream(...)``."""
        return self._astart(prompt, None, self._merged("generate", parameters, more), time.perf_counter())

    @takes_parameters
    async def achat(
        self, messages: Messages, parameters: Mapping[str, object] | None = None, **more: Unpack[GenerationParameters]
    ) -> GeneratedText:
        """Asynchronous :meth:`chat`."""
        return await self.achat_stream(messages, parameters, **more).read()

    @takes_parameters
    def achat_stream(
        self, messages: Messages, parameters: Mapping[str, object] | None = None, **more: Unpack[GenerationParameters]
    ) -> AsyncTextStream:
        """Asynchronous :meth:`chat_stream`."""
        return self._astart(None, messages, self._merged("chat", parameters, more), time.perf_counter())

    @property
    def concurrency(self) -> int:
        """How many concurrent requests this backend uses well; the default of :meth:`generate_batch`."""
        return 8

    @takes_parameters
    def generate_batch(
        self,
        prompts: Iterable[Prompt],
        parameters: Mapping[str, object] | None = None,
        *,
        concurrency: int | None = None,
        progress: bool | Callable[[int], None] = False,
        **more: Unpack[GenerationParameters],
    ) -> Iterator[BatchItem]:
        """Answer any number of prompts or conversations, in constant memory.

        Yields a :class:`~.batch.BatchItem` for each, in the order of *prompts*, which are read as needed. A prompt that
        fails has its error in its own item; what is wrong for all is raised at once. Leaving the
        iterator early cancels the running requests.

        Args:
            prompts: strings, or lists of messages.
            parameters: generation parameters for all of them.
            concurrency: concurrent requests, at least 1. None: :attr:`concurrency`.
            progress: True shows a progress bar on standard error; a function is called with 1 after each answer.
            more: generation parameters by name.
        """
        with refusals(self, "generate", parameters):
            merged = merge_parameters(parameters, more)
            self._check_batch(merged)
            asked, at_once, told = several(prompts), self._at_once(concurrency), checked(progress)

        def start(index: int, prompt: Prompt) -> TextStream:
            if isinstance(prompt, str):
                return self._whole(prompt, merged)
            with refusals(self, "chat", merged):
                check_prompt(index, prompt)
            return self.chat_stream(prompt, merged)

        return run_batch(asked, start, concurrency=at_once, progress=told)

    @takes_parameters
    def agenerate_batch(
        self,
        prompts: Iterable[Prompt],
        parameters: Mapping[str, object] | None = None,
        *,
        concurrency: int | None = None,
        progress: bool | Callable[[int], None] = False,
        **more: Unpack[GenerationParameters],
    ) -> AsyncIterator[BatchItem]:
        """Asynchronous :meth:`generate_batch`: ``async for item in backend.agenerate_batch(prompts)``."""
        with refusals(self, "generate", parameters):
            merged = merge_parameters(parameters, more)
            self._check_batch(merged)
            asked, at_once, told = several(prompts), self._at_once(concurrency), checked(progress)

        def start(index: int, prompt: Prompt) -> AsyncTextStream:
            if isinstance(prompt, str):
                return self._awhole(prompt, merged)
            with refusals(self, "chat", merged):
                check_prompt(index, prompt)
            return self.achat_stream(prompt, merged)

        return arun_batch(asked, start, concurrency=at_once, progress=told)

    def _merged(
        self, operation: Operation, parameters: Mapping[str, object] | None, more: Mapping[str, object]
    ) -> Mapping[str, object] | None:
        """:func:`merge_parameters`, whose errors end a request."""
        if not more:
            return parameters
        try:
            return merge_parameters(parameters, more)
        except Exception as error:
            refused(self, operation, parameters, error)
            raise

    def _check_batch(self, parameters: Mapping[str, object] | None) -> None:
        """Refuse what is wrong for every item of a batch."""
        check_mapping(parameters)

    def _at_once(self, concurrency: int | None) -> int:
        return self.concurrency if concurrency is None else read_concurrency(concurrency)

    def _whole(self, prompt: str, parameters: Mapping[str, object] | None) -> TextStream:
        """A stream of the text that :meth:`generate` returns."""
        stream: TextStream = self.generate_stream(prompt, parameters)
        return stream

    def _awhole(self, prompt: str, parameters: Mapping[str, object] | None) -> AsyncTextStream:
        return self.agenerate_stream(prompt, parameters)

    def _start(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, object] | None, started: float
    ) -> TextStream:
        raise NotImplementedError

    def _astart(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, object] | None, started: float
    ) -> AsyncTextStream:
        raise NotImplementedError


class NamedModelCalls(RunsToolsOfNamedModels):
    """The same calls for named models: each goes to the backend that runs the model."""

    def backend(self, name: str | None = None) -> GenerationCalls:
        """The backend that runs the model *name*; None: the current one."""
        raise NotImplementedError

    def _asked(
        self,
        model: str | None,
        operation: Operation,
        parameters: Mapping[str, object] | None,
        more: Mapping[str, object],
    ) -> tuple[GenerationCalls, Mapping[str, object] | None]:
        """The backend of the model, and the parameters. An error ends a request."""
        backend = None
        try:
            backend = self.backend(model)
            return backend, (merge_parameters(parameters, more) if more else parameters)
        except Exception as error:
            refused(backend, operation, parameters, error, model)
            raise

    @takes_parameters
    def generate(
        self,
        prompt: str,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        **more: Unpack[GenerationParameters],
    ) -> GeneratedText:
        """Generate text (uses the loaded backend).

        The prompt is one user turn if the model has a chat template; with ``raw=True`` it is sent unchanged.

        Args:
            prompt: the text.
            parameters: generation parameters (see :class:`llamaforge.parameters.Parameters`). They take precedence
                over the named model's, then the model's own recommendations, then core's defaults.
            model: a loaded model's name. None: the current one.
            more: generation parameters by name.

        Returns a ``str`` with ``finish_reason``, ``usage``, ``timings`` and more as attributes. Raises
        ModelNotLoadedError, a RequestError before any work is done, or an EngineError.
        """
        backend, merged = self._asked(model, "generate", parameters, more)
        answer: GeneratedText = backend.generate(prompt, merged)
        return answer

    @takes_parameters
    def generate_stream(
        self,
        prompt: str,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        **more: Unpack[GenerationParameters],
    ) -> TextStream:
        """:meth:`generate` as a stream: an iterator of ``str``."""
        backend, merged = self._asked(model, "generate", parameters, more)
        stream: TextStream = backend.generate_stream(prompt, merged)
        return stream

    @takes_parameters
    def chat(
        self,
        messages: Messages,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        **more: Unpack[GenerationParameters],
    ) -> GeneratedText:
        """Answer a conversation: ``[{"role": "user", "content": "Hello"}, ...]``. Raises the errors of generate."""
        backend, merged = self._asked(model, "chat", parameters, more)
        return backend.chat(messages, merged)

    @takes_parameters
    def chat_stream(
        self,
        messages: Messages,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        **more: Unpack[GenerationParameters],
    ) -> TextStream:
        """:meth:`chat` as a stream."""
        backend, merged = self._asked(model, "chat", parameters, more)
        return backend.chat_stream(messages, merged)

    @takes_parameters
    async def agenerate(
        self,
        prompt: str,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        **more: Unpack[GenerationParameters],
    ) -> GeneratedText:
        """Asynchronous :meth:`generate`; it never blocks the event loop."""
        backend, merged = self._asked(model, "generate", parameters, more)
        return await backend.agenerate(prompt, merged)

    @takes_parameters
    def agenerate_stream(
        self,
        prompt: str,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        **more: Unpack[GenerationParameters],
    ) -> AsyncTextStream:
        """Asynchronous :meth:`generate_stream`: ``async for piece in forge.agenerate_stream(...)``."""
        backend, merged = self._asked(model, "generate", parameters, more)
        return backend.agenerate_stream(prompt, merged)

    @takes_parameters
    async def achat(
        self,
        messages: Messages,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        **more: Unpack[GenerationParameters],
    ) -> GeneratedText:
        """Asynchronous :meth:`chat`."""
        backend, merged = self._asked(model, "chat", parameters, more)
        return await backend.achat(messages, merged)

    @takes_parameters
    def achat_stream(
        self,
        messages: Messages,
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        **more: Unpack[GenerationParameters],
    ) -> AsyncTextStream:
        """Asynchronous :meth:`chat_stream`."""
        backend, merged = self._asked(model, "chat", parameters, more)
        return backend.achat_stream(messages, merged)

    @takes_parameters
    def generate_batch(
        self,
        prompts: Iterable[Prompt],
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        concurrency: int | None = None,
        progress: bool | Callable[[int], None] = False,
        **more: Unpack[GenerationParameters],
    ) -> Iterator[BatchItem]:
        """Answer any number of prompts, in order; see :meth:`BaseBackend.generate_batch`."""
        backend, merged = self._asked(model, "generate", parameters, more)
        return backend.generate_batch(prompts, merged, concurrency=concurrency, progress=progress)

    @takes_parameters
    def agenerate_batch(
        self,
        prompts: Iterable[Prompt],
        parameters: Mapping[str, object] | None = None,
        *,
        model: str | None = None,
        concurrency: int | None = None,
        progress: bool | Callable[[int], None] = False,
        **more: Unpack[GenerationParameters],
    ) -> AsyncIterator[BatchItem]:
        """Asynchronous :meth:`generate_batch`: ``async for item in forge.agenerate_batch(prompts)``."""
        backend, merged = self._asked(model, "generate", parameters, more)
        return backend.agenerate_batch(prompts, merged, concurrency=concurrency, progress=progress)
