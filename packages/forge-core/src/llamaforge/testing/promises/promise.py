"""One promise of the documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAGES: Final = {"C": "contract.md", "P": "parameters.md", "E": "engines.md", "V": "embeddings.md"}
"""The pages of docs/, by the letter with which the ids of their promises begin."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise, and what holds a backend to it."""

    id: str
    """The number that docs/ shows beside the sentence: C12 in contract.md, P7 in parameters.md, E3 in engines.md. It
    stays when the sentence is worded otherwise."""
    says: str
    """The sentence in a few words."""
    checks: tuple[str, ...] = ()
    """The kit's checks. Empty where nothing of it can be seen from outside a backend; the page marks it with °."""
    own: tuple[str, ...] = ()
    """Files of LlamaForge's own tests, for what the kit can't check."""
    capability: str | None = None
    """The capability that it defines: a parameter's name or a field of
    :class:`llamaforge.backends.spec.Capabilities`."""

    @property
    def page(self) -> str:
        """The page of docs/ that has it."""
        return PAGES[self.id[0]]

    @property
    def link(self) -> str:
        """Where it stands, within docs/."""
        return f"{self.page}#{self.id.lower()}"
