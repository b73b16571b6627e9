"""Order the versions of Python distributions, as PEP 440 defines it."""

from __future__ import annotations

import re
from typing import Any

_VERSION = re.compile(
    r"""v?(?:(?P<epoch>[0-9]+)!)?
        (?P<release>[0-9]+(?:\.[0-9]+)*)
        (?:[-_.]?(?P<stage>alpha|a|beta|b|preview|pre|rc|c)[-_.]?(?P<stage_number>[0-9]*))?
        (?P<post>-(?P<post_bare>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>[0-9]*))?
        (?P<dev>[-_.]?dev[-_.]?(?P<dev_number>[0-9]*))?
        (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_STAGES = {"alpha": "a", "beta": "b", "preview": "rc", "pre": "rc", "c": "rc"}


def sort_key(version: str) -> tuple[Any, ...] | None:
    """A key by which versions compare as PEP 440 orders them, equal for equal ones; None for what is no version."""
    found = _VERSION.fullmatch(version.strip())
    if found is None:
        return None
    release = [int(part) for part in found["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    stage: tuple[Any, ...]
    if found["stage"]:
        name = found["stage"].lower()
        stage = (0, _STAGES.get(name, name), int(found["stage_number"] or 0))
    elif found["dev"] and not found["post"]:
        stage = (-1,)  # 1.0.dev1 comes before 1.0a1
    else:
        stage = (1,)
    post = int(found["post_bare"] or found["post_number"] or 0) if found["post"] else -1
    dev = (0, int(found["dev_number"] or 0)) if found["dev"] else (1,)
    local = tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part.lower())
        for part in (re.split(r"[-_.]", found["local"]) if found["local"] else ())
    )
    return (int(found["epoch"] or 0), tuple(release), stage, post, dev, local)


def is_prerelease(version: str) -> bool:
    """Whether *version* is an alpha, beta, release candidate or development version."""
    key = sort_key(version)
    return key is not None and (key[2][0] != 1 or key[4][0] == 0)


def matches(version: str, wanted: str) -> bool:
    """Whether *version* satisfies ``==wanted``: a local part counts only when *wanted* has one."""
    have, want = sort_key(version), sort_key(wanted)
    if have is None or want is None:
        return version == wanted
    return have == want or (not want[-1] and have[:-1] == want[:-1])
