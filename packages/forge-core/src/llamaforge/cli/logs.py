"""``llamaforge logs``: the log of requests and answers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import click

from ..response_log.places import is_on, log_file, turn
from ..response_log.store import ResponseLog
from .failures import say
from .output import Output, text_output
from .tables import write_table

_UNITS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SHORT: Final = 60
_AS_JSON: Final = ("messages", "texts", "tool_calls", "parameters")
_OUTCOMES: Final = ("finished", "failed", "cancelled", "abandoned", "refused")


def _age(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)([mhdw])", value)
    if found is None:
        raise click.BadParameter("it must be a number and m, h, d or w, such as 30d.")
    return int(found[1]) * float(_UNITS[found[2]])


@click.group("logs", short_help="Show, search and delete logged requests and answers")
def command() -> None:
    """The log of requests and answers: off, until you turn it on.

    \b
    llamaforge logs on
    llamaforge run "What is the capital of France?"
    llamaforge logs show

    It is a file of SQLite, for your eyes only. API keys and other secrets are masked before they are written. The log
    is about the commands of llamaforge, the server too; a program attaches it with `observers.attach("log")`.
    """


@command.command("on")
def on() -> None:
    """Log the requests of all commands from now on."""
    ResponseLog().close()
    turn(on=True)
    say(f"Requests and answers are logged in {log_file()}.")


@command.command("off")
def off() -> None:
    """Log no further requests. What is there stays; `llamaforge logs purge --all` deletes it."""
    turn(on=False)
    say("Nothing is logged any more.")


@command.command("status")
def status() -> None:
    """Whether requests are logged, where, and how many are there."""
    with text_output() as output:
        path = log_file()
        count, size = 0, 0
        if path.exists():
            with ResponseLog(path) as log:
                count = log.count()
            size = path.stat().st_size
        output.line(f"Logging is {'on' if is_on() else 'off'}.")
        output.line(f"{path}: {count:,} entries, {size:,} bytes")


def _filters(function: Any) -> Any:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each, on a line of its own."),
        click.option("--since", metavar="AGE", callback=_age, help="Only those of the last 30m, 12h, 7d or 2w."),
        click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only those that ended so."),
        click.option("-m", "--model", metavar="MODEL", help="Only this model's."),
        click.option("-n", "--limit", type=click.IntRange(0), default=20, show_default=True, help="0: all."),
    ):
        function = option(function)
    return function


def _list(
    search: str | None, limit: int, model: str | None, outcome: str | None, since: float | None, as_json: bool
) -> None:
    with text_output() as output, ResponseLog() as log:
        found = log.entries(
            search=search,
            model=model,
            outcome=outcome,
            since=None if since is None else time.time() - since,
            limit=limit or None,
        )
        if as_json:
            for entry in found:
                output.line(_line(entry))
        elif rows := list(found):
            _table(output, rows)
        elif log.count():
            say("No entry matches.")
        else:
            say("The log is empty." if is_on() else "The log is empty. `llamaforge logs on` turns it on.")


@command.command("list")
@_filters
def list_(**filters: Any) -> None:
    """List requests, the newest first."""
    _list(None, **filters)


@command.command("search")
@click.argument("text")
@_filters
def search(text: str, **filters: Any) -> None:
    """List the requests in which TEXT occurs: in the prompt, the answer or the error."""
    _list(text, **filters)


@command.command("show")
@click.argument("entry", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(entry: str | None, as_json: bool) -> None:
    """Show one request with its answer. Without ID, the last one."""
    with text_output() as output, ResponseLog() as log:
        found = _one(log, entry) if entry is not None else next(log.entries(limit=1), None)
        if found is None:
            raise click.UsageError("The log is empty. `llamaforge logs on` turns it on.")
        if as_json:
            output.line(_line(found))
        else:
            _write(output, found)


@command.command("delete")
@click.argument("entries", metavar="ID...", nargs=-1, required=True)
def delete(entries: tuple[str, ...]) -> None:
    """Delete the requests with these IDs."""
    with ResponseLog() as log:
        deleted = log.delete([_one(log, each)["id"] for each in entries])
    say(f"{deleted:,} deleted.")


@command.command("purge")
@click.option("--older-than", metavar="AGE", callback=_age, help="Delete what is older: 30m, 12h, 30d, 8w.")
@click.option("--all", "everything", is_flag=True, help="Delete all of it.")
def purge(older_than: float | None, everything: bool) -> None:
    """Delete old requests."""
    if (older_than is None) != everything:
        raise click.UsageError("Say which: --older-than 30d, or --all.")
    with ResponseLog() as log:
        deleted = log.purge(float("inf") if older_than is None else time.time() - older_than)
    say(f"{deleted:,} deleted.")


@command.command("export")
@click.option("--since", metavar="AGE", callback=_age, help="Only those of the last 30m, 12h, 7d or 2w.")
@click.option("-m", "--model", metavar="MODEL", help="Only this model's.")
def export(since: float | None, model: str | None) -> None:
    """Print all requests, each as a JSON object on a line of its own, the newest first."""
    _list(None, 0, model, None, since, as_json=True)


def _one(log: ResponseLog, beginning: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = log.find(beginning)
    if len(found) != 1:
        what = "No entry has" if not found else f"{len(found)} entries have"
        raise click.UsageError(f"{what} the ID {beginning!r}. `llamaforge logs list` shows them.")
    return found[0]


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(_plain(entry), ensure_ascii=False)


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        name: json.loads(value) if name in _AS_JSON and value is not None else value for name, value in entry.items()
    }


def _table(output: Output, entries: Iterable[dict[str, Any]]) -> None:
    rows = [
        (
            entry["id"],
            _when(entry["started"]),
            entry["model"],
            entry["operation"],
            entry["outcome"],
            str(entry["completion_tokens"] if entry["completion_tokens"] is not None else ""),
            _short(_asked(entry)),
        )
        for entry in entries
    ]
    if rows:
        write_table(output, ("ID", "Time", "Model", "Operation", "Outcome", "Tokens", "Prompt"), rows)


def _write(output: Output, entry: dict[str, Any]) -> None:
    plain = _plain(entry)
    output.line(f"{entry['id']}  {_when(entry['started'])}  {entry['model']} ({entry['backend']})  {entry['outcome']}")
    if entry["completion_tokens"] is not None:
        output.line(f"{entry['prompt_tokens']} + {entry['completion_tokens']} tokens in {entry['total']:.2f} s")
    for message in plain["messages"] or ():
        output.line(f"\n{message['role']}: {_text(message.get('content'))}")
    for name in ("prompt", "texts", "reasoning", "answer", "tool_calls", "error"):
        if plain[name]:
            output.line(f"\n{name}: {plain[name] if isinstance(plain[name], str) else json.dumps(plain[name])}")


def _asked(entry: dict[str, Any]) -> str:
    if entry["prompt"] is not None:
        return str(entry["prompt"])
    messages = json.loads(entry["messages"] or "[]")
    return _text(messages[-1].get("content")) if messages else str(entry["texts"] or "")


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "[image]") for part in content)
    return content or ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else f"{line[: _SHORT - 1]}…"


def _when(started: float) -> str:
    return datetime.fromtimestamp(started).astimezone().strftime("%Y-%m-%d %H:%M:%S")
