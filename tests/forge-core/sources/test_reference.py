"""Taking references apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.errors import ConflictingParametersError, InvalidReferenceError
from llamaforge.sources import resolve
from llamaforge.sources.reference import parse, path_reference

SUM = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.mark.parametrize(
    ("text", "scheme", "target"),
    [
        ("model.gguf", "path", "model.gguf"),
        ("./a/b.gguf", "path", "./a/b.gguf"),
        ("~/b.gguf", "path", "~/b.gguf"),
        (r"C:\models\x.gguf", "path", r"C:\models\x.gguf"),
        ("c:/models/x.gguf", "path", "c:/models/x.gguf"),
        ("path:odd:name.gguf", "path", "odd:name.gguf"),
        ("pkg:a/b", "pkg", "a/b"),
        ("PyPI:a/b", "pypi", "a/b"),
        ("hf:org/repo@refs/pr/1", "hf", "org/repo@refs/pr/1"),
        ("s3+x:bucket", "s3+x", "bucket"),
        ("modèles/été.gguf", "path", "modèles/été.gguf"),
    ],
)
def test_scheme_and_target(text: str, scheme: str, target: str) -> None:
    reference = parse(text)
    assert (reference.text, reference.scheme, reference.target, reference.sha256) == (text, scheme, target, None)


def test_a_checksum_is_taken_off_and_folded_to_lower_case() -> None:
    reference = parse(f"pypi:a/b#sha256={SUM.upper()}")
    assert (reference.target, reference.sha256) == ("a/b", SUM)


def test_a_checksum_can_come_from_outside_and_must_agree() -> None:
    assert parse("pypi:a/b", SUM.upper()).sha256 == SUM
    assert parse(f"pypi:a/b#sha256={SUM}", SUM).sha256 == SUM
    with pytest.raises(InvalidReferenceError, match="differs from the expected sha256"):
        parse(f"pypi:a/b#sha256={SUM}", SUM[::-1])
    with pytest.raises(InvalidReferenceError, match="64 hexadecimal digits"):
        parse("pypi:a/b", "abc")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a\nb", "control character"),
        ("a\x00b", "control character"),
        ("#sha256=" + SUM, "before the checksum is missing"),
        ("a#sha256=", "64 hexadecimal digits"),
        ("a#sha256=" + SUM[:-1], "64 hexadecimal digits"),
        ("a#sha256=" + SUM[:-1] + "g", "64 hexadecimal digits"),
    ],
)
def test_what_no_reference_is(text: str, reason: str) -> None:
    with pytest.raises(InvalidReferenceError, match=reason) as caught:
        parse(text)
    assert caught.value.reference == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pypi:", "the distribution and the file in it are missing.*: pypi:"),
        ("pypi:name", "path of the file, after name/, is missing.*: pypi:"),
        ("pypi:name/", "path of the file, after name/, is missing"),
        ("pypi:/file", "the distribution is missing"),
        ("pypi:name>=1/file", "not a distribution's name"),
        ("pypi:name[extra]/file", "not a distribution's name"),
        ("pypi:-r/file", "not a distribution's name"),
        ("pypi:name==/file", "is not a version"),
        ("pypi:name==1.*/file", "is not a version"),
        ("pypi:name==--pre/file", "is not a version"),
        ("pypi:name/../file", r"\.\."),
        ("pypi:name/a/../../file", r"\.\."),
        ("pypi:name//etc/passwd", "relative"),
        ("pypi:name/C:/x", "relative"),
        ("pypi:name/a\\..\\b", "relative"),
        ("pypi:name/a//b", "empty part"),
        ("pypi:name/./b", "just a dot"),
        ("pkg:name", "path of the file, after name/, is missing.*: pkg:"),
        ("pkg:name/../x", r"\.\."),
        ("pkg:name//etc/passwd", "relative"),
        ("hf:", "org/repo"),
        ("hf:name", "org/repo"),
        ("hf:name/", "org/repo"),
        ("hf:/name", "org/repo"),
        ("hf://org/repo", "without slashes"),
        ("hf:org/repo/", "file's name after the slash is missing.*: hf:"),
        ("hf:org/repo/a/../b", r"\.\."),
        ("hf:org/repo@", "branch, tag or commit"),
        ("hf:@main", "branch, tag or commit"),
        ("hf:org/re--po", "not a repository"),
        ("hf:or g/repo", "not a repository"),
        ("hf:org/repo.", "not a repository"),
        ("path:", "the path is missing.*: path:"),
        ("nosuchuser-scheme:thing", "no source"),
        ("https://example.org/x.gguf", "URLs are not fetched"),
    ],
)
def test_each_kind_says_what_is_missing(text: str, reason: str) -> None:
    with pytest.raises(InvalidReferenceError, match=reason) as caught:
        resolve(text, offline=True)
    assert caught.value.reference == text


def test_an_unknown_scheme_names_the_closest() -> None:
    with pytest.raises(InvalidReferenceError, match=r"Did you mean pypi:\?"):
        resolve("pypy:name/file")
    with pytest.raises(InvalidReferenceError, match="Known: path, pkg, pypi, hf"):
        resolve("zzzzzz:name/file")


def test_credentials_in_a_url_are_not_repeated() -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        resolve("https://me:canary@example.org/x?token=canary")
    assert "canary" not in f"{caught.value} {caught.value!r} {caught.value.reference}"


def test_offline_and_refresh_contradict_each_other() -> None:
    with pytest.raises(ConflictingParametersError):
        resolve("pypi:name/file", offline=True, refresh=True)


@given(st.text(max_size=40), st.none() | st.just(SUM))
def test_any_text_is_taken_apart_or_refused_and_nothing_else(text: str, expected: str | None) -> None:
    try:
        reference = parse(text, expected)
    except InvalidReferenceError:
        return
    assert reference.text == text
    assert reference.target in text
    assert reference.sha256 == expected


@given(st.from_regex(r"[a-z][a-z0-9]{1,5}", fullmatch=True), st.from_regex(r"[^\x00-\x1f\x7f#]{1,20}", fullmatch=True))
def test_a_reference_is_put_together_again(scheme: str, target: str) -> None:
    reference = parse(f"{scheme}:{target}#sha256={SUM}")
    assert (reference.scheme, reference.target, reference.sha256) == (scheme, target, SUM)


def test_a_path_object_is_a_path_whatever_it_holds() -> None:
    assert path_reference("pypi:x#sha256=1").target == "pypi:x#sha256=1"
