"""GBNF, llama.cpp's grammar format."""

from __future__ import annotations


def is_gbnf(text: str) -> bool:
    """Whether *text* is GBNF and not Lark: its rules have ``::=``."""
    return "::=" in text


def to_lark(text: str) -> str:
    """*text* in Lark."""
    raise NotImplementedError
