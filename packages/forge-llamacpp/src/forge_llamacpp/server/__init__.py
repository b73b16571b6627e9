"""The backend ``llama-server``: llama.cpp's own HTTP server, in a process of its own that we start and end.

It needs what the extra ``server`` installs: ``pip install "forge-llamacpp[server]"``.
"""

from __future__ import annotations
