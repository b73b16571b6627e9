"""Regular expressions as terminals of a grammar."""

from __future__ import annotations


def regex_terminal(regex: str) -> str:
    """*regex* as a terminal of Lark. It matches the whole answer.

    The syntax is that of Rust's ``regex``: like Python's, without look-around and back-references.
    """
    from llguidance import regex_to_lark

    return f"/{regex_to_lark(regex, '')}/" if regex else '""'
