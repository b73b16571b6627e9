"""``hf:org/repo[/file][@revision]``: a repository of the Hugging Face hub, through huggingface_hub and its cache."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import (
    DownloadError,
    InvalidReferenceError,
    LlamaForgeError,
    MissingDependencyError,
    SourceNotFoundError,
)
from ..installing import install_command
from .hub_progress import reporting
from .local import closest_paths, is_repository
from .network_settings import blame
from .redact import redact
from .reference import check_path, invalid
from .spec import Progress, Reference, ResolvedModel
from .split import check_first_part, parts_of

_EXAMPLE = "hf:org/repo/model.gguf@main"
_OFFLINE = "{} is not in the hub's local cache, and the network is switched off"


def resolve_hf(reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool) -> ResolvedModel:
    """One file of a repository as a local path; a whole repository as its id, for engines that fetch by themselves."""
    repo, file, revision = read_target(reference)
    if file is None:
        return ResolvedModel(reference.text, repo, None, revision, "hf")
    path = _fetch(reference, repo, file, revision, progress, offline, refresh)
    return ResolvedModel(reference.text, str(path), path, revision, "hf")


def pull_hf(reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool) -> ResolvedModel:
    """Like :func:`resolve_hf`, but a whole repository is downloaded too, and answered as a local folder."""
    repo, file, revision = read_target(reference)
    path = _fetch(reference, repo, file, revision, progress, offline, refresh)
    return ResolvedModel(reference.text, str(path), path, revision, "hf")


def read_target(reference: Reference) -> tuple[str, str | None, str | None]:
    """The repository, the file in it and the revision, as far as they are given. Raises InvalidReferenceError."""
    target, at, revision = reference.target.rpartition("@")
    if not at:
        target, revision = reference.target, ""
    elif not revision or not target:
        raise invalid(reference.text, "@ must follow org/repo and be followed by a branch, tag or commit.")
    if target.startswith("//"):
        raise invalid(reference.text, f"write it without slashes after the colon, as in {_EXAMPLE}")
    organization, _, rest = target.partition("/")
    name, slash, file = rest.partition("/")
    repo = f"{organization}/{name}"
    if not target:
        raise invalid(reference.text, f"the repository is missing. A whole reference: {_EXAMPLE}")
    if not is_repository(repo):
        raise invalid(reference.text, f"{repo.rstrip('/')!r} is not a repository. Write org/repo, as in {_EXAMPLE}")
    if slash and not file:
        raise invalid(reference.text, f"the file's name after the slash is missing. A whole reference: {_EXAMPLE}")
    if file:
        check_path(reference, file)
        check_first_part(reference, file)
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
    """The file, or without one the folder of the repository: from the hub's local cache first, then the network.

    Of a split model all parts are fetched, of one commit, and the first one's path is the answer.
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants, errors
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise MissingDependencyError(
            "An hf: reference", "huggingface_hub", install_command("huggingface_hub")
        ) from None
    switched_off = "offline" if offline else "HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else None

    def get(file: str | None, revision: str | None, progress: Progress | None, refresh: bool) -> Path:
        """One file or the whole repository."""
        what = f"downloading {file.rsplit('/', 1)[-1] if file else repo}"

        def call(*, local: bool) -> Path:
            if file is None:
                download: Callable[..., Any] = hub.snapshot_download
                arguments: dict[str, Any] = {"repo_id": repo}
            else:
                download, arguments = hub.hf_hub_download, {"repo_id": repo, "filename": file}
            with reporting(download, what, None if local else progress) as bars:
                return Path(download(**arguments, revision=revision, local_files_only=local, **bars))

        # A repository may have grown since its folder was cached, so only a file, or no network, is answered from it.
        if switched_off or (file is not None and not refresh):
            with contextlib.suppress(errors.LocalEntryNotFoundError):
                return call(local=True)
        if switched_off:
            raise DownloadError(reference.text, f"{_OFFLINE.format(file or repo)} ({switched_off}).")
        _check_cache(reference, Path(constants.HF_HUB_CACHE))
        return call(local=False)

    try:
        if file is None:
            return get(None, revision, progress, refresh)
        parts = parts_of(file)
        if len(parts) == 1:
            return get(file, revision, progress, refresh)
        counted = _Parts(progress, parts, [] if switched_off else _sizes(repo, parts, revision))
        first = get(parts[0], revision, counted, refresh)
        for part in parts[1:]:
            counted.next()
            file = part
            get(part, _commit(first) or revision, counted, refresh=False)
        return first
    except LlamaForgeError:
        raise
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _unreachable(reference, error) from None
        raise SourceNotFoundError(reference.text, _no_file(repo, file or "", revision)) from None
    except Exception as error:  # noqa: BLE001 - what is not of the hub or the network comes back as it is
        raise _mapped(reference, repo, revision, error) from None


def _check_cache(reference: Reference, cache: Path) -> None:
    """Raise DownloadError where the hub's cache can't be written: huggingface_hub would wait for its lock for ever."""
    locks = cache / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=locks):
            pass
    except OSError as error:
        reason = (
            f"the hub's cache folder {cache} can't be written: {error.strerror or error}. Make room, or name another "
            "folder in the environment variable HF_HUB_CACHE."
        )
        raise DownloadError(reference.text, reason) from error


def _commit(file: Path) -> str | None:
    """The commit that *file* in the hub's cache is of, by the name of its snapshot folder."""
    parts = file.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None


def _sizes(repo: str, files: list[str], revision: str | None) -> list[int | None]:
    """The sizes of *files* in bytes, by the hub's word; None where it does not say."""
    import huggingface_hub as hub

    found: list[int | None] = []
    for file in files:
        try:
            found.append(hub.get_hf_file_metadata(hub.hf_hub_url(repo, file, revision=revision), timeout=10).size)
        except Exception:  # noqa: BLE001 - only the progress needs them; the download itself has the error
            return []
    return found


class _Parts:
    """A Progress for each part of a model that makes one count of them all.

    Args:
        progress: is told the count.
        parts: the files.
        sizes: of the files in bytes, as far as they are known.
    """

    def __init__(self, progress: Progress | None, parts: list[str], sizes: list[int | None]) -> None:
        self._progress = progress
        self._what = f"downloading {parts[0].rsplit('/', 1)[-1]} and {len(parts) - 1} more"
        known = [size for size in sizes if size is not None]
        self._sizes = known if len(known) == len(parts) else []
        self._before = 0
        self._part = 0
        self._seen = 0

    def __call__(self, done: int, total: int | None, what: str, /) -> None:
        self._seen = max(done, total or 0)
        if self._progress is not None:
            self._progress(self._before + done, sum(self._sizes) or None, self._what)

    def next(self) -> None:
        """The next part's turn."""
        self._before += self._sizes[self._part] if self._sizes else self._seen
        self._part += 1
        self._seen = 0


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
    if isinstance(error, (OSError, _http_error())) or _is_settings(error):
        return _unreachable(reference, error)
    return error


def _is_settings(error: Exception) -> bool:
    """Whether the HTTP client refuses what an environment variable says of proxies, as it does with plain errors."""
    return isinstance(error, (ValueError, ImportError)) and bool(blame(str(error)))


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
        reference.text,
        f"it can't be fetched from the hub ({redact(reason)}), and it is not in the hub's local cache.{blame(reason)}",
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
    return f"the repository {repo} has no file {file!r}{at}.{hint}"
