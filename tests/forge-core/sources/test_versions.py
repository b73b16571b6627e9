"""The order of versions, held against the reference implementation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from llamaforge.sources.versions import is_prerelease, matches, sort_key

VERSIONS = st.from_regex(
    r"v?([0-2]!)?[0-3](\.[0-2]){0,3}([-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?[0-2]?)?"
    r"(-[0-2]|[-_.]?(post|rev|r)[-_.]?[0-2]?)?([-_.]?dev[-_.]?[0-2]?)?(\+[a-c0-2]([-_.][a-c0-2]){0,2})?",
    fullmatch=True,
)


@given(VERSIONS, VERSIONS)
def test_versions_compare_as_pep_440_says(one: str, other: str) -> None:
    mine, theirs = sort_key(one), sort_key(other)
    assert mine is not None
    assert theirs is not None
    assert (mine < theirs) == (Version(one) < Version(other))
    assert (mine == theirs) == (Version(one) == Version(other))


@given(VERSIONS)
def test_prereleases_are_known(version: str) -> None:
    assert is_prerelease(version) == Version(version).is_prerelease


@given(VERSIONS, VERSIONS)
def test_matching_is_what_two_equal_signs_mean(version: str, wanted: str) -> None:
    assert matches(version, wanted) == SpecifierSet(f"=={wanted}").contains(version, prereleases=True)


@given(st.text(max_size=12))
def test_what_is_no_version_has_no_key(text: str) -> None:
    try:
        Version(text)
    except ValueError:
        assert sort_key(text) is None
    else:
        assert sort_key(text) is not None
