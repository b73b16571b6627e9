"""Who asks for no constraint imports none of it."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_is_imported_without_a_constraint() -> None:
    code = (
        "import sys, llamaforge, llamaforge.engine\n"
        "forge = llamaforge.LlamaForge(); forge.add_model('m', 'm', backend='echo'); forge.load_model('m')\n"
        "assert forge.generate('one two') == 'one two'\n"
        "heavy = {'llamaforge.constraints', 'llguidance', 'jsonschema', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
