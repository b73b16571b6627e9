"""An installation that was cut short, anywhere on the path, takes nobody else's plugins away."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamaforge import get_backend, list_backends
from llamaforge.plugins import damaged_distributions
from support.plugins import make_sound


@pytest.mark.parametrize(
    "files",
    [
        {"entry_points.txt": b"[llamaforge.backends]\nhalf = half\n"},
        {"entry_points.txt": b"[llamaforge.backends]\nhalf = half\n", "METADATA": b"Metadata-Version: 2.1\n"},
        {"entry_points.txt": b"\xff\xfe[llamaforge", "METADATA": b"Metadata-Version: 2.1\nName: half\nVersion: 1\n"},
        {"entry_points.txt": b"not an entry point\n", "METADATA": b"\xff\xfe"},
    ],
)
def test_damaged_metadata_harms_only_itself(plugin_folder: Path, files: dict[str, bytes]) -> None:
    info = plugin_folder / "half-1.0.dist-info"
    info.mkdir()
    for name, content in files.items():
        (info / name).write_bytes(content)
    make_sound(plugin_folder, "sound")
    assert "sound" in list_backends()
    assert get_backend("sound").__name__ == "SoundBackend"
    damaged = damaged_distributions()
    assert list(damaged) == [str(info)]
    assert damaged[str(info)]
