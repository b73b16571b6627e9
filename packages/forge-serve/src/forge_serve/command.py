"""``llamaforge serve``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from llamaforge import LlamaForge
from llamaforge.errors import InvalidParameterError
from llamaforge.sources.kinds import reads_as_reference

from .config import LOOPBACK, ServeConfig
from .keys import read_keys

_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_ENV = "LLAMAFORGE_SERVE"


def _bytes(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """``8GB``, ``500M`` or a number of bytes."""
    if value is None:
        return None
    text = value.strip().lower().removesuffix("b").removesuffix("i")
    try:
        if text and text[-1] in _UNITS:
            return int(float(text[:-1]) * _UNITS[text[-1]])
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a size such as 8GB or 500M.") from None


@click.command("serve", short_help="Serve models over HTTP")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--host", default="127.0.0.1", show_default=True, envvar=f"{_ENV}_HOST", help="The address to listen on.")
@click.option("--port", default=8080, show_default=True, envvar=f"{_ENV}_PORT", type=click.IntRange(0, 65535))
@click.option("--unix-socket", metavar="PATH", envvar=f"{_ENV}_UNIX_SOCKET", help="Listen on a Unix socket instead.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False), envvar=f"{_ENV}_TLS_CERT")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), envvar=f"{_ENV}_TLS_KEY")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar=f"{_ENV}_API_KEY_FILE",
    help="A file with a key in each line, perhaps followed by `admin`.",
)
@click.option("--no-key", is_flag=True, help="Listen on a public address without a key.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name under which the server may be addressed.")
@click.option("--cors-origin", multiple=True, metavar="ORIGIN", help="A web origin that may ask; `*` for all.")
@click.option("--memory", metavar="SIZE", callback=_bytes, envvar=f"{_ENV}_MEMORY", help="Memory for models: 8GB.")
@click.option("--idle", type=float, metavar="SECONDS", envvar=f"{_ENV}_IDLE", help="Unload models unused for so long.")
@click.option("--pin", multiple=True, metavar="MODEL", help="Load this model at the start, and keep it.")
@click.option("--max-queue", default=128, show_default=True, type=click.IntRange(1), envvar=f"{_ENV}_MAX_QUEUE")
@click.option("--max-wait", default=60.0, show_default=True, type=float, envvar=f"{_ENV}_MAX_WAIT")
@click.option("--offline", is_flag=True, help="Download nothing.")
def command(models: tuple[str, ...], **options: Any) -> None:
    """Serve the named models, or all of them, to OpenAI, Anthropic and Ollama clients.

    A model is loaded when it is first asked for. MODEL is a name from `llamaforge models list`, or a reference.
    """
    public = options["unix_socket"] is None and options["host"] not in LOOPBACK
    if public and options["api_key_file"] is None and not options["no_key"]:
        raise click.UsageError(
            f"{options['host']} can be reached from other machines. Give a key with --api-key-file FILE, or confirm "
            "with --no-key that anybody may use the models."
        )
    import uvicorn

    from .app import create_app

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with LlamaForge(memory_budget=options["memory"], offline=options["offline"]) as forge:
        names = tuple(_known(forge, model) for model in models)
        for model in options["pin"]:
            forge.get_model(model)
        config = _config(options, names, public=public)
        app = create_app(forge, config)
        scheme = "https" if options["tls_cert"] else "http"
        where = options["unix_socket"] or f"{scheme}://{options['host']}:{options['port']}"
        click.echo(f"Serving {', '.join(names) or 'all named models'} at {where}. Ctrl-C ends it.")
        uvicorn.run(
            app,
            host=options["host"],
            port=options["port"],
            uds=options["unix_socket"],
            ssl_certfile=options["tls_cert"],
            ssl_keyfile=options["tls_key"],
            http="httptools",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=30,
        )


def _config(options: dict[str, Any], names: tuple[str, ...], *, public: bool) -> ServeConfig:
    hosts = (*LOOPBACK, options["host"], *options["allow_host"])
    if public and not options["allow_host"]:
        hosts = ("*",)  # its names are not known here, and a key or a confirmation stands before it
    try:
        keys = read_keys(options["api_key_file"]) if options["api_key_file"] is not None else ()
        return ServeConfig(
            models=names,
            keys=keys,
            hosts=hosts,
            cors_origins=options["cors_origin"],
            max_queue=options["max_queue"],
            max_wait=options["max_wait"],
            idle=options["idle"],
            pinned=frozenset(options["pin"]),
        )
    except InvalidParameterError as error:
        raise click.UsageError(str(error)) from None


def _known(forge: LlamaForge, model: str) -> str:
    """The name of a model on the command line; a reference becomes a model of that name."""
    if model not in forge.list_models() and reads_as_reference(model):
        forge.add_model(model, model)
    return forge.get_model(model).name
