"""Requests for vectors: the texts of a call, checked one by one as they are read, and the options."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ..errors import EmptyPromptError, InvalidParameterError, UnsupportedError
from ..validation import convert, plain_value

TextInput = str | Sequence[int]
"""A text, or its token ids."""

_MOST_CHARACTERS: Final = 2**20
"""Characters of a request's texts, about: so that memory stays constant however long the texts are."""


class EmbeddingOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parameters of ``embed``. None means that a parameter is not set."""

    dimensions: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="Use only the first components of each vector: for models that were trained for it "
                "(Matryoshka).",
            ),
        ]
        | None
    ) = None
    normalize: (
        Annotated[
            bool,
            Meta(description="True: scale each vector to length 1; False: don't. Default: as the model's files say."),
        ]
        | None
    ) = None
    prompt_name: (
        Annotated[
            str,
            Meta(min_length=1, description="The model's prompt to put before each text, such as 'query'."),
        ]
        | None
    ) = None
    truncation: (
        Annotated[
            Literal["disabled", "auto"],
            Meta(
                description="What to do with a text that is too long: 'disabled' refuses it, 'auto' uses its beginning "
                "and reports how many tokens were cut off. Default: disabled."
            ),
        ]
        | None
    ) = None

    def parameters(self) -> dict[str, Any]:
        """The parameters that are set, by name."""
        names = EmbeddingOptions.__struct_fields__
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class EmbeddingRequest(EmbeddingOptions, frozen=True, kw_only=True):
    """Some of a call's texts, and its options. A call with many texts becomes several requests."""

    inputs: tuple[str | tuple[int, ...], ...]
    """The texts, or their token ids, which are used exactly as they are."""
    first: int = 0
    """The position of the first one among the texts of the call."""

    def name_of(self, index: int) -> str:
        """What an error calls the text number *index* of this request."""
        return f"texts[{self.first + index}]"


def read_options(
    given: Mapping[str, object], *, backend: str, supported: frozenset[str], drop: object = None
) -> tuple[EmbeddingOptions, tuple[str, ...]]:
    """Check the options of a call. Returns them, and the names of those that were dropped.

    Args:
        given: the options by name; None is not set.
        backend: its name, for errors.
        supported: options that the backend honours.
        drop: ``on_unsupported`` of the call.

    Raises InvalidParameterError, or UnsupportedError unless *drop* is ``"drop"``.
    """
    if drop not in (None, "error", "drop"):
        raise InvalidParameterError("on_unsupported", drop, "one of 'error', 'drop'")
    values = {name: plain_value(value) for name, value in given.items() if value is not None}
    options: EmbeddingOptions = convert(values, EmbeddingOptions)
    unable = tuple(name for name in values if name not in supported)
    if unable and drop != "drop":
        raise UnsupportedError(
            f"the parameter{'s' if len(unable) > 1 else ''} {', '.join(unable)}",
            backend,
            'Leave it out, or pass on_unsupported="drop" to ignore it.',
        )
    return msgspec.structs.replace(options, **dict.fromkeys(unable)), unable


def read_texts(texts: TextInput | Iterable[TextInput], name: str = "texts") -> Iterator[str | tuple[int, ...]]:
    """The texts of a call, checked as they are read. One text or one list of token ids stands for itself.

    Raises InvalidParameterError or EmptyPromptError, which name the text.
    """
    if isinstance(texts, str) or _is_token_list(texts):
        yield _text(texts, name)
        return
    if isinstance(texts, bytes | bytearray | memoryview | Mapping) or not isinstance(texts, Iterable):
        raise InvalidParameterError(name, None, "a text, token ids, or an iterable of these", show_value=False)
    for index, text in enumerate(texts):
        yield _text(text, f"{name}[{index}]")


def split_requests(
    inputs: Iterator[str | tuple[int, ...]], options: EmbeddingOptions, most: int
) -> Iterator[EmbeddingRequest]:
    """Requests of at most *most* texts each. No more is read than the next one needs."""
    given = options.parameters()
    first, chunk, size = 0, [], 0
    for text in inputs:
        chunk.append(text)
        size += len(text)
        if len(chunk) >= most or size >= _MOST_CHARACTERS:
            yield EmbeddingRequest(inputs=tuple(chunk), first=first, **given)
            first, chunk, size = first + len(chunk), [], 0
    if chunk:
        yield EmbeddingRequest(inputs=tuple(chunk), first=first, **given)


def _is_token_list(texts: object) -> bool:
    if hasattr(texts, "dtype") and getattr(texts, "ndim", None) == 1:  # an array
        return getattr(texts, "dtype").kind in "iu"  # noqa: B009
    return isinstance(texts, list | tuple | range) and len(texts) > 0 and _is_id(texts[0])


def _is_id(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _text(value: object, name: str) -> str | tuple[int, ...]:
    if isinstance(value, str):
        check_text(value, name)
        return value if type(value) is str else str.__str__(value)
    if not isinstance(value, bytes | bytearray | memoryview | Mapping) and isinstance(value, Iterable):
        tokens = tuple(value.tolist() if hasattr(value, "tolist") else value)
        if not tokens:
            raise EmptyPromptError(f"{name} has no tokens.")
        if all(_is_id(token) and 0 <= int(token) < 2**31 for token in tokens):
            return tuple(map(int, tokens))
    raise InvalidParameterError(name, None, "a text, or a list of token ids", show_value=False)


def check_text(value: str, name: str) -> None:
    """Raise EmptyPromptError for a text without content, and InvalidParameterError for one that has no UTF-8."""
    if not value or value.isspace():
        raise EmptyPromptError(f"{name} is empty.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{name} contains {value[error.start : error.end]!r}, half of a surrogate pair, not a character."
        raise InvalidParameterError(name, None, "valid Unicode", show_value=False, message=message) from None
