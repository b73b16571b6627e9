"""Named models: what is known of one, the model that is built in, and the user's model file."""

from .entry import DEFAULT_MODEL, ModelEntry
from .file import CONFIG_VARIABLE, ModelFile, default_path

__all__ = ["CONFIG_VARIABLE", "DEFAULT_MODEL", "ModelEntry", "ModelFile", "default_path"]
