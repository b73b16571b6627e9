"""Named models, the built-in model, and the user's model file."""

from .entry import DEFAULT_MODEL, ModelEntry
from .file import CONFIG_VARIABLE, ModelFile, default_path

__all__ = ["CONFIG_VARIABLE", "DEFAULT_MODEL", "ModelEntry", "ModelFile", "default_path"]
