"""The openai SDK, as much of it as is used here.

``import openai`` runs modules for every resource of the API, hundreds of them; most of that time is spent on types
that nothing here touches. So three of its packages are put off: their modules are there, and the first attribute that
anybody asks of one, in this program or in another library, runs it as ever.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from llamaforge.backends.base import import_engine

if TYPE_CHECKING:
    import openai

_PUT_OFF: Final = ("openai", "openai.lib", "openai.types", "openai.types.shared")
_OURS: Final = ("openai._client", "openai._exceptions", "openai._base_client", "openai._constants", "openai._types")
_PATIENCE: Final = 10.0
"""Seconds that another thread's import is waited for."""

_lock = threading.RLock()


def load_sdk() -> None:
    """Import what :func:`sdk` gives out. Raises EngineNotAvailableError where that fails."""
    with _lock:
        if "openai" not in sys.modules:
            try:
                with _put_off():
                    for name in _OURS:
                        importlib.import_module(name)
            except Exception:  # noqa: BLE001 - a release that is built otherwise is imported whole
                for name in [name for name in sys.modules if name.partition(".")[0] == "openai"]:
                    del sys.modules[name]
        import_engine("openai", backend="openai", advice="Reinstall it with: pip install --force-reinstall openai")


@contextmanager
def _put_off() -> Iterator[None]:
    spec = importlib.util.find_spec("openai")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("There is no package openai.", name="openai")
    root = Path(spec.submodule_search_locations[0])
    packages = [_LazyPackage(name, root.joinpath(*name.split(".")[1:])) for name in _PUT_OFF]
    try:
        yield
    finally:
        for package in packages:
            package.importer = None


class _LazyPackage:
    """A package whose module runs when the first attribute is asked of it.

    Submodules can be imported meanwhile, which doesn't need the package to have run.
    """

    def __init__(self, name: str, folder: Path) -> None:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(name)
        self.importer: int | None = threading.get_ident()
        """The thread that imports submodules now: it gets them, and nothing runs."""
        self._loader = spec.loader
        self._module = importlib.util.module_from_spec(spec)
        self._module.__getattr__ = self._get  # type: ignore[method-assign]
        sys.modules[name] = self._module
        parent, _, short = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], short, self._module)

    def _get(self, name: str) -> Any:
        if self.importer == threading.get_ident():
            raise AttributeError(name)
        # Not for ever: who has the lock may be waiting for a module that this thread is running.
        locked = _lock.acquire(timeout=_PATIENCE)
        try:
            if self._module.__dict__.pop("__getattr__", None) is not None:
                self._loader.exec_module(self._module)
        finally:
            if locked:
                _lock.release()
        return getattr(self._module, name)


class _Sdk:
    """Names of the SDK, from the modules where it has them, so that the package as a whole need not run."""

    def __getattr__(self, name: str) -> Any:
        load_sdk()
        for module in _OURS:
            found: ModuleType | None = sys.modules.get(module)
            if found is not None and name in found.__dict__:
                value = found.__dict__[name]
                break
        else:
            value = getattr(importlib.import_module("openai"), name)
        self.__dict__[name] = value
        return value


if TYPE_CHECKING:
    sdk = openai
else:
    sdk = _Sdk()
    """The SDK: ``sdk.OpenAI`` is ``openai.OpenAI``. Nothing is imported before the first name is asked for."""
