"""``llamaforge serve``: the models of every backend behind one server.

:func:`create_app` gives the ASGI application, to run it in a server of one's own::

    from forge_serve import create_app
    from llamaforge import LlamaForge

    app = create_app(LlamaForge())
"""

from __future__ import annotations

from ._version import __version__
from .app import create_app
from .config import ServeConfig

__all__ = ["ServeConfig", "__version__", "create_app"]
