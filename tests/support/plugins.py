"""Distributions made up on disk: what an installer would leave behind, without installing anything."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path


def make_distribution(
    folder: Path,
    name: str,
    entry_points: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str],
    version: str = "1.0",
) -> None:
    """Write modules and a .dist-info to *folder*, which belongs on sys.path.

    *entry_points* maps group to name to target; *modules* maps a module's name to its source.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, names in entry_points.items():
        lines.append(f"[{group}]")
        lines.extend(f"{key} = {target}" for key, target in names.items())
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(textwrap.dedent(source))


SOUND = """
    from llamaforge import BackendSpec, hookimpl
    from llamaforge.backends.echo import EchoBackend

    class SoundBackend(EchoBackend):
        "Echo under another name."

    SPEC = SoundBackend.spec = BackendSpec(
        name={name!r},
        target="{module}:SoundBackend",
        config="llamaforge.backends.echo:EchoConfig",
        summary="A sound plugin",
        capabilities=EchoBackend.spec.capabilities,
        match=lambda location: 60 if location.endswith(".{suffix}") else 0,
    )

    @hookimpl
    def llamaforge_backend():
        return SPEC
"""
"""A plugin's module that works; format it with name, module and suffix."""

CALLER = """
    import json
    from llamaforge import BackendSpec, hookimpl
    from llamaforge.backends.base import BaseBackend
    from llamaforge.backends.config import BackendConfig
    from llamaforge.backends.spec import Capabilities
    from llamaforge.results import Finished, ReasoningDelta, TextDelta, ToolCallDelta

    class CallerBackend(BaseBackend):
        "Calls the first tool with the user's words, and says what came of it."

        config_class = BackendConfig

        def load(self, model_path, config):
            pass

        def unload(self):
            pass

        def stream(self, request, cancellation):
            last = request.as_messages()[-1]
            if last.role == "tool":
                asked = [turn.reasoning_content for turn in request.as_messages() if turn.tool_calls]
                yield TextDelta(f"{last.text} after {asked[-1]}")
                yield Finished(finish_reason="stop")
            elif request.tools and last.text != "no call":
                yield ReasoningDelta("thought")
                name = request.tools[0]["function"]["name"]
                yield ToolCallDelta(index=0, id="1", name=name)
                yield ToolCallDelta(index=0, arguments=json.dumps({"city": last.text}))
                yield Finished(finish_reason="tool_calls")
            else:
                yield TextDelta(f"{request.tool_choice} {len(request.as_messages())}")
                yield Finished(finish_reason="stop")

    SPEC = CallerBackend.spec = BackendSpec(
        name="caller", target="caller:CallerBackend", config="llamaforge.backends.config:BackendConfig",
        summary="Calls", capabilities=Capabilities(parameters=frozenset({"tools", "tool_choice"})),
    )

    @hookimpl
    def llamaforge_backend():
        return SPEC
"""
"""A plugin whose model calls the tool that it is offered."""

SABOTAGED = {
    "raises_import_error": "import a_library_that_is_not_there\n",
    "exits": "import sys\nsys.exit('no licence')\n",
    "wrong_hook": """
        from llamaforge import hookimpl

        @hookimpl
        def llamaforge_bakend():
            return None
    """,
}
"""Modules of plugins that fail, each in its own way."""


def make_sound(folder: Path, name: str, module: str = "sound_plugin", suffix: str = "sound") -> None:
    """A distribution with one working backend."""
    source = SOUND.format(name=name, module=module, suffix=suffix)
    make_distribution(
        folder, f"dist-{module}".replace("_", "-"), {"llamaforge.backends": {name: module}}, {module: source}
    )


def make_sabotaged(folder: Path, groups: Iterable[str] = ("llamaforge.backends",)) -> list[str]:
    """One distribution per sabotaged plugin, which claims its name in each of the entry-point *groups*; the names.

    A source's name is the beginning of an address, which has dashes for underscores.
    """
    for name, source in SABOTAGED.items():
        dashed = name.replace("_", "-")
        claimed = {group: {dashed if group == "llamaforge.sources" else name: name} for group in groups}
        make_distribution(folder, f"dist-{dashed}", claimed, {name: source})
    return list(SABOTAGED)
