"""Named models, the built-in models, and the user's model file."""

from .entry import BUILT_IN, DEFAULT_EMBEDDING_MODEL, DEFAULT_MODEL, ModelEntry, is_on_server
from .file import CONFIG_VARIABLE, ModelFile, default_path

__all__ = [
    "BUILT_IN",
    "CONFIG_VARIABLE",
    "DEFAULT_EMBEDDING_MODEL",
    "DEFAULT_MODEL",
    "ModelEntry",
    "ModelFile",
    "default_path",
    "is_on_server",
]
