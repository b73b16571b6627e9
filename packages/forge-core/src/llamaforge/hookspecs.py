"""Hooks: what a plugin may contribute.

A plugin is a module with hook implementations, named by an entry point. The entry point's group is the kind of
contribution, and its name is the contribution's name, so that listing needs no import:

=============================  ============================  ==================================================
entry-point group              hook                          returns
=============================  ============================  ==================================================
``llamaforge.backends``        ``llamaforge_backend``        :class:`llamaforge.backends.spec.BackendSpec`
``llamaforge.sources``         ``llamaforge_source``         :class:`llamaforge.sources.spec.SourceSpec`
``llamaforge.commands``        ``llamaforge_command``        :class:`click.Command`
``llamaforge.observers``       ``llamaforge_observer``       what makes a :class:`llamaforge.observers.Observer`
``llamaforge.answer_formats``  ``llamaforge_answer_format``  :class:`llamaforge.chat.OutputFormat`
=============================  ============================  ==================================================

One module may provide several names; the hook receives the requested one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable

    import click

    from .backends.spec import BackendSpec
    from .chat import OutputFormat
    from .observation import Observer
    from .sources.spec import SourceSpec

PROJECT: Final = "llamaforge"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's function as the implementation of the hook of the same name."""


@hookspec(firstresult=True)
def llamaforge_backend(name: str) -> BackendSpec | None:
    """The backend called *name*::

    @hookimpl
    def llamaforge_backend():
        return BackendSpec(
            name="my_engine",
            target="my_package.backend:MyBackend",
            config="my_package.config:MyConfig",
            summary="Models of my engine",
        )
    """


@hookspec(firstresult=True)
def llamaforge_source(name: str) -> SourceSpec | None:
    """The model source whose references begin with *name* and a colon::

    @hookimpl
    def llamaforge_source():
        return SourceSpec(scheme="s3", target="my_package.s3:resolve", description="Objects in S3 buckets")
    """


@hookspec(firstresult=True)
def llamaforge_command(name: str) -> click.Command | None:
    """The command ``llamaforge NAME``::

    @hookimpl
    def llamaforge_command():
        from my_package.cli import command

        return command
    """


@hookspec(firstresult=True)
def llamaforge_observer(name: str) -> Callable[[], Observer] | None:
    """What makes the observer *name*, as a class does: ``LLAMAFORGE_OBSERVERS=NAME`` attaches one::

    @hookimpl
    def llamaforge_observer():
        from my_package.costs import Costs

        return Costs
    """


@hookspec(firstresult=True)
def llamaforge_answer_format(name: str) -> OutputFormat | None:
    """How a family of models writes tool calls and reasoning. It is tried before those that LlamaForge knows, with
    each chat template, and taken where the template writes calls just so::

    @hookimpl
    def llamaforge_answer_format():
        return OutputFormat(
            "mine",
            CallFormat("<call>", "</call>", name_end="<args>", arguments="json"),
            ReasoningFormat("<thought>", "</thought>"),
        )
    """
