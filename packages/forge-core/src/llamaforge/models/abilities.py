"""What a model's chat template can do, found without loading the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..chat import BrokenTemplateError, ChatTemplate, read_template
from ..errors import EngineNotAvailableError, LlamaForgeError
from ..formats.chat_template import read_templates


def template_capabilities(model: Path, parameters: Mapping[str, object]) -> dict[str, Any] | str:
    """The capabilities of the template of the model at *model*, by name; or a word that says why there are none.

    The load parameter ``chat_template`` among *parameters* takes precedence, as it does when the model is loaded.
    """
    given = parameters.get("chat_template")
    try:
        templates: Any = read_template(given) if isinstance(given, str) else read_templates(model)
        if not templates:
            return "none"
        capabilities = ChatTemplate(templates, model=str(model)).capabilities
    except BrokenTemplateError as error:
        return f"broken: {error}"
    except EngineNotAvailableError:
        return "not looked at, because jinja2 is not installed"
    except LlamaForgeError as error:
        return str(error)
    found: dict[str, Any] = msgspec.to_builtins(capabilities)
    return found
