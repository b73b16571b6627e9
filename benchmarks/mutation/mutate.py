"""A module's mutants, by mutmut's operators.

Only its operators: mutmut's way to switch between mutants leaves out decorated functions, and what is no function.
"""

from __future__ import annotations

import hashlib
import types
from collections import Counter
from collections.abc import Iterator
from typing import Final

import libcst as cst
import msgspec
from libcst.metadata import CodeRange, MetadataWrapper, WhitespaceInclusivePositionProvider
from mutmut.mutation.mutators import mutation_operators

_HARMLESS: Final = {"len", "isinstance"}
"""Calls whose arguments aren't mutated: all that it gives is a TypeError. mutmut leaves them out as well."""


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one module."""

    module: str
    """The file's path from the repository's root."""
    function: str
    """The qualified name of the function or class it is in; empty for the module itself."""
    line: int
    """Where in the file, from 1 on."""
    before: str
    """The lines that change, without their common indentation."""
    after: str
    """What they become."""
    nth: int
    """Which one it is of equal changes in the function, from 1 on."""
    code: str
    """The whole module, changed."""

    @property
    def key(self) -> str:
        """The same for the same change, wherever in the file the function may stand."""
        digest = hashlib.sha256(f"{self.before}\0{self.after}".encode()).hexdigest()[:10]
        return f"{self.module}:{self.function}:{digest}:{self.nth}"


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Every mutant whose bytecode differs from the original's and from that of the mutants before it."""
    wrapped = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor()
    wrapped.visit(visitor)
    lines = source.splitlines(keepends=True)
    seen = {_meaning(compile(source, module, "exec"))}
    counts: Counter[tuple[str, str, str]] = Counter()
    found: list[Mutant] = []
    for function, place, original, mutated in visitor.changes:
        if isinstance(original, cst.BaseCompoundStatement):  # its lines are indented
            tree = wrapped.module.deep_replace(original, mutated)
            assert isinstance(tree, cst.Module)
            code = tree.code
        else:
            code = _replaced(lines, place, wrapped.module.code_for_node(mutated))
        try:
            meaning = _meaning(compile(code, module, "exec"))
        except SyntaxError:
            continue
        if meaning in seen:
            continue
        seen.add(meaning)
        line, before, after = _difference(source, code)
        counts[function, before, after] += 1
        nth = counts[function, before, after]
        found.append(
            Mutant(module=module, function=function, line=line, before=before, after=after, nth=nth, code=code)
        )
    return found


class _Visitor(cst.CSTVisitor):
    """Collects what may change: not annotations, and not what a decorator is given."""

    METADATA_DEPENDENCIES = (WhitespaceInclusivePositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[str, CodeRange, cst.CSTNode, cst.CSTNode]] = []
        self._names: list[str] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, (cst.Annotation, cst.Decorator)):
            return False
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in _HARMLESS:
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                place = self.get_metadata(WhitespaceInclusivePositionProvider, node)
                self.changes += [(".".join(self._names), place, node, mutated) for mutated in operator(node)]
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            self._names.append(node.name.value)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, (cst.FunctionDef, cst.ClassDef)):
            self._names.pop()


def _meaning(code: types.CodeType) -> str:
    """What *code* does, without the places of its lines."""
    return hashlib.sha256(repr(_parts(code)).encode()).hexdigest()


def _parts(code: types.CodeType) -> tuple[object, ...]:
    constants = tuple(
        _parts(each) if isinstance(each, types.CodeType) else (type(each).__name__, repr(each))
        for each in code.co_consts
    )
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    head = (code.co_name, code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags)
    return (*head, code.co_code, *names, constants, code.co_exceptiontable)


def _replaced(lines: list[str], place: CodeRange, code: str) -> str:
    """The text with *code* at *place*. Replacing nodes of a tree does the same, and takes fifty times as long."""
    start, end = place.start, place.end
    before = [*lines[: start.line - 1], lines[start.line - 1][: start.column]]
    after = [lines[end.line - 1][end.column :], *lines[end.line :]]
    return "".join([*before, code, *after])


def _difference(source: str, changed: str) -> tuple[int, str, str]:
    """The first line that differs, what stood there, and what stands there now."""
    old, new = source.splitlines(), changed.splitlines()
    first = next((row for row, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), len(old))
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    before, after = old[first : len(old) - last], new[first : len(new) - last]
    return first + 1, "\n".join(_dedented(before)), "\n".join(_dedented(after))


def _dedented(lines: list[str]) -> Iterator[str]:
    indentation = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return (line[indentation:].rstrip() for line in lines)
