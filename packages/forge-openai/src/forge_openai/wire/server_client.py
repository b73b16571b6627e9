"""One server, and the SDK's clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from llamaforge import forks

from ..endpoint import Endpoint, custom_headers
from ..errors import Translator
from ..side_fields import SideFieldReport
from .environment import NetworkSettingsError, find_proxy, make_client
from .network import bound_network
from .sdk import load_sdk, sdk

if TYPE_CHECKING:
    import openai

ClientT = TypeVar("ClientT")

_PLACEHOLDER = "not-needed"
"""What a server that wants no key gets as one: the SDK insists on sending some."""

_left_behind: list[Any] = []
"""In a forked child: clients whose connections are the parent's, and so not to be closed here."""


class ServerClient:
    """A way to one server. Any number of threads and event loops may use it at once.

    Raises ConnectionFailedError where the environment names a proxy or certificates that can't be used.
    """

    __slots__ = (
        "__weakref__",
        "_clients",
        "_direct",
        "_lock",
        "_timeout",
        "bounded",
        "client",
        "endpoint",
        "load",
        "report",
        "rests_until",
        "translator",
    )

    def __init__(self, endpoint: Endpoint, model: str, timeout: float | None, direct: bool = False) -> None:
        load_sdk()
        self.endpoint = endpoint
        self._direct = direct
        proxy = find_proxy(endpoint.address) if not direct else None
        headers = {name.casefold() for name in endpoint.headers}
        self.translator = Translator(
            address=endpoint.address,
            model=model,
            secrets=endpoint.secrets(),
            key_variable=endpoint.key_variable,
            has_key=endpoint.api_key is not None or endpoint.azure is not None or "authorization" in headers,
            route=f"The way there is {proxy.shown}." if proxy is not None else "",
        )
        self.report = SideFieldReport(endpoint.address)
        """Told of what its answers have that can't be read."""
        self.load = 0
        """Requests that are under way."""
        self.rests_until = 0.0
        """When the server may be asked again after it failed, by ``time.perf_counter()``."""
        self._timeout = timeout
        self._lock = threading.Lock()
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()
        http = self._make_http(sdk.DefaultHttpxClient)
        self.bounded = bound_network(http)
        """Whether scopes hold at the socket."""
        self.client: openai.OpenAI = self._make("OpenAI", http)
        """For threads."""
        forks.watch(self)

    def after_fork(self) -> None:
        """The connections are the parent's: used by both, they would mix up two conversations."""
        _left_behind.append(self.client)
        self._lock = forks.renewed(self._lock, threading.Lock)
        self._clients = weakref.WeakKeyDictionary()
        self.load = 0
        self.client = self._make("OpenAI", self._make_http(sdk.DefaultHttpxClient))

    async def loop_client(self) -> openai.AsyncOpenAI:
        """The client for the running event loop, whose connections are its own. The loop closes it at its end."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            from .aio import bind_to_loop

            http = self._make_http(sdk.DefaultAsyncHttpxClient)
            bind_to_loop(http)
            client = self._make("AsyncOpenAI", http)
            keeper = self._keep(loop, client)
            with self._lock:
                self._clients[loop] = client, keeper
            await anext(keeper)
        kept: openai.AsyncOpenAI = self._clients[loop][0]
        return kept

    def count(self, more: int) -> None:
        """A request has begun (1), or ended (-1)."""
        with self._lock:
            self.load += more

    def close(self) -> None:
        """Close every connection. What is still being read breaks off."""
        self.client.close()
        with self._lock:
            kept = list(self._clients.items())
            self._clients.clear()
        for loop, (client, _) in kept:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its connections are
                loop.call_soon_threadsafe(_close_soon, loop, client)

    async def _keep(self, loop: asyncio.AbstractEventLoop, client: Any) -> AsyncGenerator[None, None]:
        """Started and left alone: a loop closes such generators before its own end (``loop.shutdown_asyncgens``)."""
        try:
            yield
        finally:
            with self._lock:
                self._clients.pop(loop, None)
            await client.close()

    def _make_http(self, make: Callable[..., ClientT]) -> ClientT:
        """An HTTP client. Raises ConnectionFailedError where the environment's settings don't allow one."""
        try:
            return make_client(make, self.endpoint.address, self._direct)
        except NetworkSettingsError as error:
            reason = str(error)
        raise self.translator.gone(reason)

    def _make(self, kind: str, http: Any) -> Any:
        endpoint = self.endpoint
        given: dict[str, Any] = {
            "timeout": self._timeout if self._timeout is not None else sdk.DEFAULT_TIMEOUT,
            "max_retries": 0,  # ours, so that a deadline can end them
            "default_headers": self._headers(),
            "http_client": http,
        }
        key = endpoint.api_key.reveal() if endpoint.api_key is not None else None
        if endpoint.azure is None:
            make = getattr(sdk, kind)
            client = make(api_key=key or _PLACEHOLDER, base_url=endpoint.address, **given)
            # Not as arguments: the SDK takes OpenAI's environment variables for None, whoever the server is.
            client.organization, client.project = endpoint.organization, endpoint.project
            return client
        make = getattr(sdk, kind.replace("OpenAI", "AzureOpenAI"))
        token = endpoint.azure.token
        return make(
            api_key=key,
            azure_ad_token=token.reveal() if token is not None else None,
            azure_endpoint=endpoint.address,
            azure_deployment=endpoint.azure.deployment,
            api_version=endpoint.azure.version,
            **given,
        )

    def _headers(self) -> dict[str, Any]:
        """Our headers, and none of those that the SDK would add from the environment for another server."""
        ours = {name: value.reveal() for name, value in self.endpoint.headers.items()}
        known = {name.casefold() for name in ours}
        left_out = {name: sdk.Omit() for name in custom_headers(os.environ) if name.casefold() not in known}
        for name in [name for name in left_out if name.casefold() == "authorization"]:
            del left_out[name]  # the SDK insists on one, and takes a given one before that of the environment
            key = self.endpoint.api_key
            ours["Authorization"] = f"Bearer {key.reveal() if key is not None else _PLACEHOLDER}"
        return left_out | ours


def _close_soon(loop: asyncio.AbstractEventLoop, client: Any) -> None:
    closing = loop.create_task(client.close())
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()
