"""The user's model file: TOML, written atomically, under a lock, readable only by its owner."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InvalidParameterError, ModelExistsError, ModelFileError, UnknownModelError
from ..formats.local import local_path
from .entry import BUILT_IN, ModelEntry

if TYPE_CHECKING:
    from .text import Contents

CONFIG_VARIABLE: Final = "LLAMAFORGE_CONFIG"
"""The environment variable with the path of the model file."""


_PATIENCE: Final = 10.0
"""Seconds to wait for another process that changes the file: that takes milliseconds."""


def default_path() -> Path:
    """The default model file: ``LLAMAFORGE_CONFIG``, or ``models.toml`` in the user's config folder."""
    if chosen := os.environ.get(CONFIG_VARIABLE):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_config_dir("llamaforge", appauthor=False)) / "models.toml"


class ModelFile:
    """The named models that a user keeps in a file.

    ::

        default = "llama"             # optional: the model that runs where none is named

        [models.llama]
        path = "~/models/llama.gguf"  # or any other reference of llamaforge.sources
        backend = "llama.cpp"         # optional, as is everything below
        sha256 = "..."

        [models.llama.parameters]     # load parameters; api_key = "env:NAME" keeps a key out of the file
        n_ctx = 4096

        [models.llama.generation]     # generation parameters
        temperature = 0.2

    Every change reads the file again under a lock, keeps comments and layout, and replaces the file atomically, with
    mode 600; a symlink is followed to the file itself. So concurrent processes lose no changes. A damaged file is
    reported with the line and never overwritten. A missing file is treated as an empty one.

    Args:
        path: the file. None: :func:`default_path`. Raises InvalidParameterError for what is no path.

    Every method raises ModelFileError if the file can't be read or written.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
        if text is not None and (not isinstance(text, str) or not text):
            raise InvalidParameterError("config_path", path, "the path of a file")
        self.path: Path = local_path(text).absolute() if text is not None else default_path()

    def __repr__(self) -> str:
        return f"ModelFile({str(self.path)!r})"

    def check(self) -> None:
        """Look whether a file can be at the path, without reading it. Raises ModelFileError."""
        from ..files import check_regular, is_null_device

        try:
            if not is_null_device(self.path):
                check_regular(self.path)
        except PermissionError:
            pass  # reading it says so
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise ModelFileError(self.path, f"it can't be read: {reason or error}") from error

    def load(self) -> dict[str, ModelEntry]:
        """The models by name, in the order of the file."""
        return dict(self._read().entries)

    @property
    def default(self) -> str | None:
        """The name of the default model; None if the file names none.

        Setting it raises UnknownModelError for a name that is neither in the file nor built in; None removes it.
        """
        return self._read().default

    @default.setter
    def default(self, name: str | None) -> None:
        from . import text

        def change(old: str, contents: Contents) -> str:
            known = {*contents.entries, *BUILT_IN}
            if name is not None and name not in known:
                raise UnknownModelError(name, known)
            return old if contents.default == name else text.with_default(old, name, self.path)

        self._change(change)

    def add(self, entry: ModelEntry, replace: bool = False) -> None:
        """Write *entry* to the file; adding the same model again changes nothing.

        Args:
            entry: the model. TOML must be able to represent its values; path objects are written as text.
            replace: replace a different model of that name.

        Raises ModelExistsError, or InvalidParameterError for a value that TOML can't represent.
        """
        from . import text
        from .values import plain, same

        wanted = changed(
            entry,
            path=plain(entry.path, "path"),
            parameters=plain(entry.parameters, "parameters"),
            generation=plain(entry.generation, "generation"),
            origin="file",
        )

        def change(old: str, contents: Contents) -> str:
            present = contents.entries.get(entry.name)
            if present is not None:
                if present.same_as(wanted) and all(
                    same(getattr(present, name), getattr(wanted, name)) for name in ("parameters", "generation")
                ):
                    return old
                if not replace:
                    raise ModelExistsError(entry.name)
            return text.with_entry(old, wanted, self.path)

        self._change(change)

    def remove(self, name: str) -> None:
        """Remove a model from the file, and ``default`` if it names that model. Raises UnknownModelError."""
        from . import text

        def change(old: str, contents: Contents) -> str:
            if name not in contents.entries:
                raise UnknownModelError(name, contents.entries)
            return text.without_entry(old, name, self.path)

        self._change(change)

    def _read(self) -> Contents:
        from .text import Contents, read

        found = self._text()
        return read(found, self.path) if found is not None else Contents({}, None)

    def _text(self) -> str | None:
        """The file's text; None: there is no file, or the null device stands for none."""
        from ..files import check_regular, is_null_device
        from .text import decode

        try:
            if is_null_device(self.path):
                return None
            check_regular(self.path)
            return decode(self.path.read_bytes(), self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ModelFileError(self.path, f"it can't be read: {error.strerror or error}") from error

    def _change(self, change: Callable[[str, Contents], str]) -> None:
        """Replace the file's text by what *change* makes of it and of what it says, unless that is the same."""
        from .text import NEW_FILE, read

        with self._locked() as target:
            found = self._text()
            old = found if found is not None else NEW_FILE
            new = change(old, read(old, self.path))
            if new != old:
                self._write(target, new)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Path]:
        """Hold the lock beside the file that the path leads to, and give that file's path."""
        from ..files import check_regular, file_lock

        with contextlib.ExitStack() as held:
            try:
                target = Path(os.path.realpath(self.path))
                check_regular(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(file_lock(target.with_name(f".{target.name}.lock"), _PATIENCE))
            except OSError as error:
                raise self._unwritable(error) from error
            yield target

    def _write(self, target: Path, text: str) -> None:
        from ..files import atomic_file

        try:
            with atomic_file(target, private=True) as file:
                file.write(text.encode("utf-8"))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ModelFileError:
        where = f" ({error.filename})" if error.filename not in (None, str(self.path)) else ""
        return ModelFileError(self.path, f"it can't be written: {error.strerror or error}{where}")
