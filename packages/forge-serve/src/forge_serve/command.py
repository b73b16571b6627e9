"""``llamaforge serve``."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from llamaforge import LlamaForge
from llamaforge.errors import InvalidParameterError, LlamaForgeError
from llamaforge.sources.kinds import absolute_reference, reads_as_reference

from .config import LOOPBACK, ServeConfig
from .keys import read_keys
from .listening import listen_at, listen_in_file
from .settings import RESTART, read_settings, size_of

if TYPE_CHECKING:
    import uvicorn

_log = logging.getLogger(__name__)

_NEVER: Final = 10**6
"""Seconds after which uvicorn ends idle connections: ours does, by the settings in force."""
_OPTIONS: Final = {"hosts": "allow_host", "cors_origins": "cors_origin"}
"""Names of options where ServeConfig's are others."""
_FROM_FILE: Final = "from the file"
"""The key of the names of those settings that the file of --config sets."""


def _bytes(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """``8GB``, ``500M`` or a number of bytes."""
    try:
        return None if value is None else size_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _option(name: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that an environment variable sets, too."""
    variable = f"LLAMAFORGE_SERVE_{name.removeprefix('--').replace('-', '_').upper()}"
    return click.option(name, envvar=variable, show_envvar=True, **settings)


@click.command("serve", short_help="Serve models over HTTP")
@click.argument("models", nargs=-1, metavar="[MODEL]...", envvar="LLAMAFORGE_SERVE_MODELS")
@_option("--config", type=click.Path(dir_okay=False, path_type=Path), help="A TOML file with these settings.")
@_option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@_option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="The port; 0: a free one.")
@_option("--unix-socket", metavar="PATH", help="Listen on a Unix socket instead.")
@_option("--tls-cert", type=click.Path(dir_okay=False), help="A certificate in PEM form, for HTTPS.")
@_option("--tls-key", type=click.Path(dir_okay=False), help="Its private key.")
@_option("--api-key-file", type=click.Path(dir_okay=False), help="A file with a key in each line; `admin` may follow.")
@_option("--no-key", is_flag=True, help="Listen on a public address without a key.")
@_option("--allow-host", multiple=True, metavar="NAME", help="A name under which the server may be addressed.")
@_option("--cors-origin", multiple=True, metavar="ORIGIN", help="A web origin that may ask; `*` for all.")
@_option("--memory", metavar="SIZE", callback=_bytes, help="Memory that all models together may take: 8GB.")
@_option("--idle", type=float, metavar="SECONDS", help="Unload models that are unused for so long.")
@_option("--pin", multiple=True, metavar="MODEL", help="Load this model at the start, and keep it.")
@_option("--max-queue", default=128, show_default=True, type=click.IntRange(1), help="Requests to a model at once.")
@_option("--max-wait", default=60.0, show_default=True, type=float, help="Seconds to wait for room for a model.")
@_option("--max-body", default="20MB", show_default=True, metavar="SIZE", callback=_bytes, help="Largest body.")
@_option("--read-timeout", default=30.0, show_default=True, type=float, help="Seconds for headers, and for a body.")
@_option(
    "--write-timeout", default=60.0, show_default=True, type=float, help="Seconds for a client that reads nothing."
)
@_option(
    "--keep-alive-timeout", default=75.0, show_default=True, type=float, help="Seconds to keep an idle connection."
)
@_option("--max-connections", default=4096, show_default=True, type=click.IntRange(1), help="Connections at once.")
@_option("--store-size", default="64MB", show_default=True, metavar="SIZE", callback=_bytes, help="Stored responses.")
@_option("--access-log", default="text", show_default=True, type=click.Choice(["text", "json", "off"]))
@_option("--offline", is_flag=True, help="Download nothing.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Serve the named models, or all of them, to OpenAI, Anthropic and Ollama clients.

    A model is loaded when it is first asked for. MODEL is a name from `llamaforge models list`, or a reference.

    The file of --config sets what the command line and the environment leave open. It is read anew when it changes.
    """
    defaults = {
        name for name in options if context.get_parameter_source(name) in (None, click.core.ParameterSource.DEFAULT)
    }
    try:
        settings = _settled(options, defaults)
        with _told_with_its_file(settings):
            _check_address(settings)
            with LlamaForge(memory_budget=settings["memory"], offline=settings["offline"]) as forge:
                _serve(forge, settings, lambda: _settled(options, defaults))
    except InvalidParameterError as error:
        raise click.UsageError(str(error)) from None


def _settled(options: dict[str, Any], defaults: set[str]) -> dict[str, Any]:
    """The options, and what the file sets of those that nobody gave. Raises InvalidParameterError."""
    if options["config"] is None:
        return options
    given = {name: value for name, value in read_settings(options["config"]).items() if name in defaults}
    return {**options, **given, _FROM_FILE: frozenset(given)}


def _check_address(settings: dict[str, Any]) -> None:
    _check_keys(settings)
    if (settings["tls_cert"] is None) != (settings["tls_key"] is None):
        raise click.UsageError("HTTPS needs both --tls-cert and --tls-key.")
    for name in ("tls_cert", "tls_key", "api_key_file"):
        _check_file(settings, name)


def _check_file(settings: dict[str, Any], name: str) -> None:
    if settings[name] is not None and not Path(settings[name]).is_file():
        message = f"--{name.replace('_', '-')}: there is no file {settings[name]}."
        raise InvalidParameterError(name, settings[name], "a file", message=message)


def _check_keys(settings: dict[str, Any]) -> None:
    """Raises InvalidParameterError where other machines could use the models, and nobody has confirmed that."""
    if _is_public(settings) and settings["api_key_file"] is None and not settings["no_key"]:
        message = (
            f"{settings['host']} can be reached from other machines. Give a key with --api-key-file FILE, or confirm "
            "with --no-key that anybody may use the models."
        )
        raise InvalidParameterError("host", settings["host"], "an address of this machine", message=message)


def _is_public(settings: dict[str, Any]) -> bool:
    return settings["unix_socket"] is None and settings["host"] not in LOOPBACK


def _serve(forge: LlamaForge, settings: dict[str, Any], read_anew: Callable[[], dict[str, Any]]) -> None:
    import uvicorn

    from .app import create_app, voice_of
    from .connections import Connections
    from .ending import Server, ends_by_signal, unload_all

    _begin_log(settings["access_log"])
    forge.list_models()  # a file of models that can't be read is told now
    names = _known(forge, settings)
    config = _config(forge, settings, names)
    app = create_app(forge, config)
    in_force = settings

    def reload() -> None:
        nonlocal in_force
        config = in_force["config"]
        if config is not None and config.exists() and not config.is_file():  # a pipe would hold up everybody
            message = f"{config}: it is no file that can be read again."
            raise InvalidParameterError("config", str(config), "a file", message=message)
        wanted = read_anew()
        found = {**wanted, **{name: settings[name] for name in RESTART}}
        with _told_with_its_file(found):
            _check_keys(found)
            _check_file(found, "api_key_file")
            app.state.service.configure(_config(forge, found, _known(forge, found)))
        for name in sorted(set(found["pin"]) - set(in_force["pin"])):
            app.state.service.residency.preload(name)
        forge.pool.memory_budget = found["memory"]
        late = [name for name in RESTART if wanted[name] != in_force[name]]
        if late:
            _log.warning("A restart is needed for: %s.", ", ".join(late))
        in_force = found

    def files() -> list[Path]:
        named = (in_force["config"], in_force["api_key_file"])
        return [Path(each) for each in named if each is not None]

    uvicorn_config = uvicorn.Config(
        app,
        ssl_certfile=settings["tls_cert"],
        ssl_keyfile=settings["tls_key"],
        http=Connections(app.state.service, voice_of).protocol,
        ws="none",
        timeout_keep_alive=_NEVER,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    try:
        uvicorn_config.load()
    except OSError as error:  # ssl.SSLError is one
        message = f"--tls-cert {settings['tls_cert']} and --tls-key {settings['tls_key']} can't be used: {error}"
        raise click.UsageError(message) from None
    with contextlib.ExitStack() as held:
        held.callback(unload_all, forge)
        sockets = held.enter_context(_listen(settings))
        gc.collect()
        gc.freeze()  # all this stays: no pause of the collector's has to look at it
        click.echo(f"Serving {', '.join(names) or 'all named models'} at {_where(settings, sockets)}. Ctrl-C ends it.")
        with ends_by_signal(held.close):
            asyncio.run(_run(Server(uvicorn_config, app.state.service), sockets, files, reload))


def _begin_log(access_log: str) -> None:
    """What is logged, to standard error: warnings of all, and what the server does."""
    from .access_log import LOGGER

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for logger in (logging.getLogger("forge_serve"), LOGGER):  # an engine tells a hundred lines of each load
        logger.setLevel(logging.INFO)
    if access_log == "json":  # each line is JSON from its beginning, and has the time
        LOGGER.propagate = False
        LOGGER.addHandler(logging.StreamHandler(sys.stderr))


def _listen(settings: dict[str, Any]) -> contextlib.AbstractContextManager[list[socket.socket]]:
    if settings["unix_socket"] is not None:
        return listen_in_file(settings["unix_socket"])
    return contextlib.nullcontext(listen_at(settings["host"], settings["port"]))


def _where(settings: dict[str, Any], sockets: list[socket.socket]) -> str:
    if settings["unix_socket"] is not None:
        return str(settings["unix_socket"])
    host = f"[{settings['host']}]" if ":" in settings["host"] else settings["host"]
    return f"{'https' if settings['tls_cert'] else 'http'}://{host}:{sockets[0].getsockname()[1]}"


async def _run(
    server: uvicorn.Server,
    sockets: list[socket.socket],
    files: Callable[[], list[Path]],
    reload: Callable[[], None],
) -> None:
    from .reload import Reloading

    watching = asyncio.ensure_future(Reloading(files, reload).run())
    try:
        await server.serve(sockets)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def _config(forge: LlamaForge, settings: dict[str, Any], names: tuple[str, ...]) -> ServeConfig:
    from .connections import connections_possible

    hosts = (*LOOPBACK, settings["host"], *settings["allow_host"])
    if _is_public(settings) and not settings["allow_host"]:
        hosts = ("*",)  # its names are not known here, and a key or a confirmation stands before it
    if settings["unix_socket"] is not None:
        hosts = ("*",)  # no web page reaches a socket in the file system
    for model in settings["pin"]:
        with _placed(settings, "pin", model):
            name = forge.get_model(model).name
        if names and name not in names:
            message = f"pin: {model!r} is not among the models to serve: {', '.join(names)}."
            raise InvalidParameterError("pin", model, "a model to serve", message=message)
    key_file = settings["api_key_file"]
    log = settings["access_log"]
    return ServeConfig(
        models=names,
        keys=read_keys(Path(key_file)) if key_file is not None else (),
        hosts=hosts,
        cors_origins=tuple(settings["cors_origin"]),
        max_queue=settings["max_queue"],
        max_wait=settings["max_wait"],
        max_body=settings["max_body"],
        read_timeout=settings["read_timeout"],
        write_timeout=settings["write_timeout"],
        keep_alive_timeout=settings["keep_alive_timeout"],
        max_connections=connections_possible(settings["max_connections"]),
        store_size=settings["store_size"],
        idle=settings["idle"],
        pinned=frozenset(settings["pin"]),
        access_log=None if log == "off" else log,
        owns_process=True,
    )


def _known(forge: LlamaForge, settings: dict[str, Any]) -> tuple[str, ...]:
    """The names of the models to serve; a reference becomes a model of that name."""
    names = []
    for model in settings["models"]:
        with _placed(settings, "models", model):
            if model not in forge.list_models() and reads_as_reference(model):
                place = Path(absolute_reference(model))
                if place.is_absolute() and not place.exists():
                    message = f"Nothing is at {place}."
                    raise InvalidParameterError("models", model, "a model", message=message)
                forge.add_model(model, model)
            names.append(forge.get_model(model).name)
    return tuple(names)


@contextlib.contextmanager
def _placed(settings: dict[str, Any], name: str, model: str) -> Iterator[None]:
    """Errors about a model say which setting names it, and in which file."""
    try:
        yield
    except LlamaForgeError as error:
        if name == "models" and name not in settings.get(_FROM_FILE, ()):  # on the command line they have no name
            raise
        raise InvalidParameterError(name, model, "a model's name", message=f"{name}: {error}") from None


@contextlib.contextmanager
def _told_with_its_file(settings: dict[str, Any]) -> Iterator[None]:
    """Errors about a setting that a file makes begin with the file's path."""
    try:
        yield
    except InvalidParameterError as error:
        name = _OPTIONS.get(error.name, error.name)
        error.message = error.message.replace(f"{error.name} must", f"{name} must", 1)
        if name in settings.get(_FROM_FILE, ()):
            error.message = f"{settings['config']}: {error.message}"
        raise
