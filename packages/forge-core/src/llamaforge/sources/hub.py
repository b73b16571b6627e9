"""``hf:org/repo[/file][@revision]``: a repository of the Hugging Face hub, through huggingface_hub and its cache."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from ..errors import (
    DownloadError,
    InvalidReferenceError,
    LlamaForgeError,
    MissingDependencyError,
    SourceNotFoundError,
)
from .local import closest_paths, is_repository
from .redact import redact
from .reference import check_path, invalid
from .spec import Progress, Reference, ResolvedModel

_EXAMPLE = "hf:org/repo/model.gguf@main"
_OFFLINE = "it is not in the hub's local cache, and the network is switched off"


def resolve_hf(reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool) -> ResolvedModel:
    """One file of a repository as a local path; a whole repository as its id, for engines that fetch by themselves."""
    repo, file, revision = _parse(reference)
    if file is None:
        return ResolvedModel(reference.text, repo, None, revision, "hf")
    path = _fetch(reference, repo, file, revision, progress, offline, refresh)
    return ResolvedModel(reference.text, str(path), path, revision, "hf")


def pull_hf(reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool) -> ResolvedModel:
    """Like :func:`resolve_hf`, but a whole repository is downloaded too, and answered as a local folder."""
    repo, file, revision = _parse(reference)
    path = _fetch(reference, repo, file, revision, progress, offline, refresh)
    return ResolvedModel(reference.text, str(path), path, revision, "hf")


def _parse(reference: Reference) -> tuple[str, str | None, str | None]:
    target, at, revision = reference.target.rpartition("@")
    if not at:
        target, revision = reference.target, ""
    elif not revision or not target:
        raise invalid(reference.text, "after @ a branch, tag or commit is due, and before it org/repo.")
    if target.startswith("//"):
        raise invalid(reference.text, f"write it without slashes after the colon, as in {_EXAMPLE}")
    organization, _, rest = target.partition("/")
    name, slash, file = rest.partition("/")
    repo = f"{organization}/{name}"
    if not is_repository(repo):
        raise invalid(reference.text, f"{repo.rstrip('/')!r} is no repository. It needs org/repo, as in {_EXAMPLE}")
    if slash and not file:
        raise invalid(reference.text, "after the last slash a file is due.")
    if file:
        check_path(reference, file)
    return repo, file or None, revision or None


def _fetch(
    reference: Reference,
    repo: str,
    file: str | None,
    revision: str | None,
    progress: Progress | None,
    offline: bool,
    refresh: bool,
) -> Path:
    """The file, or without one the folder of the repository: from the hub's local cache first, then the network."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants, errors
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise MissingDependencyError("An hf: reference", "huggingface_hub", "pip install huggingface_hub") from None
    what = f"downloading {file.rsplit('/', 1)[-1] if file else repo}"

    def get(*, local: bool) -> Path:
        if file is None:
            call: Callable[..., Any] = hub.snapshot_download
            arguments: dict[str, Any] = {"repo_id": repo}
        else:
            call, arguments = hub.hf_hub_download, {"repo_id": repo, "filename": file}
        with _reporting(call, what, None if local else progress) as bars:
            return Path(call(**arguments, revision=revision, local_files_only=local, **bars))

    # A repository may have grown since its folder was cached, so only a file, or no network, is answered from there.
    switched_off = offline or bool(constants.HF_HUB_OFFLINE)
    try:
        if switched_off or (file is not None and not refresh):
            with contextlib.suppress(errors.LocalEntryNotFoundError):
                return get(local=True)
        if switched_off:
            switch = "offline" if offline else "HF_HUB_OFFLINE"
            raise DownloadError(reference.text, f"{_OFFLINE} ({switch}).")
        return get(local=False)
    except LlamaForgeError:
        raise
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _unreachable(reference, error) from None
        raise SourceNotFoundError(reference.text, _no_file(repo, file or "", revision)) from None
    except Exception as error:  # noqa: BLE001 - what is not of the hub or the network comes back as it is
        raise _mapped(reference, repo, revision, error) from None


def _mapped(reference: Reference, repo: str, revision: str | None, error: Exception) -> Exception:
    """Our error for one of huggingface_hub's, by type; ours does not chain it, because its URLs may hold a token."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return DownloadError(
            reference.text,
            f"the repository {repo} is gated: accept its terms there, then log in (`hf auth login`, or HF_TOKEN).",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return SourceNotFoundError(
            reference.text,
            f"there is no repository {repo}, or it is private: then log in (`hf auth login`, or HF_TOKEN).",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return SourceNotFoundError(reference.text, f"the repository {repo} has no branch, tag or commit {revision!r}.")
    if isinstance(error, errors.HFValidationError):
        return InvalidReferenceError(reference.text, f"the hub refuses the name {repo!r}.")
    if isinstance(error, (OSError, _http_error())):
        return _unreachable(reference, error)
    return error


def _http_error() -> type[BaseException]:
    """The base of the HTTP client's errors; which client that is differs between versions of huggingface_hub."""
    from huggingface_hub.errors import HfHubHTTPError

    return next((base for base in HfHubHTTPError.__bases__ if base is not OSError), OSError)


def _unreachable(reference: Reference, error: BaseException) -> DownloadError:
    from huggingface_hub.errors import HfHubHTTPError

    chain = [error]  # huggingface_hub wraps what went wrong in advice
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    answer = next((each for each in chain if isinstance(each, HfHubHTTPError)), None)
    if answer is not None:
        reason = f"HTTP {answer.response.status_code}"
    else:
        reason = f"{type(chain[-1]).__name__}: {_first_line(chain[-1])}"
    return DownloadError(
        reference.text, f"the hub did not give it ({redact(reason)}), and it is not in its local cache."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else "no reason given"


def _no_file(repo: str, file: str, revision: str | None) -> str:
    at = f" at {revision!r}" if revision else ""
    try:
        import huggingface_hub as hub

        near = closest_paths(file, hub.HfApi().list_repo_files(repo, revision=revision))
    except Exception:  # noqa: BLE001 - the list is a courtesy: its failure must not hide what the user needs to know
        near = []
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"the repository {repo} holds no file {file!r}{at}.{hint}"


@contextlib.contextmanager
def _reporting(call: Callable[..., Any], what: str, progress: Progress | None) -> Iterator[dict[str, Any]]:
    """Arguments that make huggingface_hub report to *progress*, as far as its version can, and draw nothing itself."""
    if progress is not None:
        progress(0, None, what)
    bars = {"tqdm_class": _bar_class(what, progress)} if "tqdm_class" in inspect.signature(call).parameters else {}
    utils: Any = importlib.import_module("huggingface_hub.utils")
    said = importlib.import_module("huggingface_hub.constants").HF_HUB_DISABLE_PROGRESS_BARS
    if said is not None or utils.are_progress_bars_disabled():  # the user or the program has decided
        yield bars
        return
    utils.disable_progress_bars()
    try:
        yield bars
    finally:
        utils.enable_progress_bars()


def _bar_class(what: str, progress: Progress | None) -> type[Any]:
    """A stand-in for tqdm's class that draws nothing and passes on the bars that count bytes.

    Downloads of a whole repository keep two of those, received and written: the one that is ahead counts.
    """
    lock = threading.RLock()
    bars: list[Bar] = []

    class Bar:
        monitor_interval = 0
        _lock: Any = lock

        def __init__(self, iterable: Any = None, **options: Any) -> None:
            self.iterable = iterable
            self.total: float | None = options.get("total")
            self.n: float = options.get("initial") or 0
            self.unit = options.get("unit")
            self.desc = options.get("desc") or ""
            self.disable = False
            with lock:
                bars.append(self)
            self.refresh()

        def __iter__(self) -> Iterator[Any]:
            for item in self.iterable or ():
                yield item
                self.update(1)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            self.close()

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            self.refresh()

        def refresh(self, *args: Any, **options: Any) -> None:
            if progress is None or self.unit != "B":
                return
            with lock:
                counted = [bar for bar in bars if bar.unit == "B"]
                done = max(bar.n for bar in counted)
                total = max(bar.total or 0 for bar in counted)
                progress(int(done), int(max(total, done)) or None, what)

        def reset(self, total: float | None = None) -> None:
            self.n = 0
            self.total = total if total is not None else self.total
            self.refresh()

        def __getattr__(self, name: str) -> Callable[..., None]:
            if name.startswith("_") or name in _ABSENT:
                raise AttributeError(name)
            return _nothing  # close, set_description, set_postfix_str and the like: drawing

        @classmethod
        def get_lock(cls) -> Any:
            return cls._lock

        @classmethod
        def set_lock(cls, new: Any) -> None:
            cls._lock = new

    return Bar


_ABSENT = frozenset({"update_transfer", "set_transfer_postfix_str"})
"""Methods that huggingface_hub looks for to keep a second count; without them it leaves it out."""


def _nothing(*args: Any, **options: Any) -> None:
    return None
