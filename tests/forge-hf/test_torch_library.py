"""torch's library is linked before torch is imported, and only where that was measured."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from forge_hf.torch_library import link_early
linked = link_early()
assert "torch" not in sys.modules
if sys.platform == "linux":
    assert ("libtorch_cpu.so" in open("/proc/self/maps").read()) == linked
import torch
assert float(torch.ones(3) @ torch.ones(3)) == 3.0
assert not link_early()
print(linked, sys.platform == "linux" and torch.version.cuda is None and torch.version.hip is None)
"""


def test_torch_works_behind_it() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    linked, plain = done.stdout.split()
    assert linked == plain
