"""The contract, kept with llama.cpp's own server."""

from __future__ import annotations

from typing import Any, Final

from forge_openai.server import OpenAIServerBackend
from llamaforge.chat import read_template
from llamaforge.engine.context import context_length
from llamaforge.formats.gguf import DamagedFileError, read_header
from llamaforge.formats.local import local_path
from llamaforge.installing import install_command

from ..model_check import check_model_file, trained_for
from .config import LlamaServerConfig
from .plugin import SPEC

_USUAL_CONTEXT: Final = 4096
"""Tokens for each request where the caller says nothing."""


class LlamaServerBackend(OpenAIServerBackend[LlamaServerConfig]):
    """A GGUF model behind a server of its own: ``llama-server`` where it is installed, else the one in xllamacpp."""

    spec = SPEC
    program_module = "forge_llamacpp.server"
    program_advice = f"Install llama.cpp's llama-server, or: {install_command('forge-llamacpp[server]')}"

    def build_launch_command(self) -> list[str]:
        """The flags of ``llama-server``, which :mod:`forge_llamacpp.server.__main__` understands as well."""
        config = self.config
        command = ["llama-server", "--model", str(local_path(config.model or "")), "--alias", self.served_model]
        command += ["--host", config.host, "--port", str(config.port)]
        command += ["--ctx-size", str(self._context(config) * config.n_parallel), "--parallel", str(config.n_parallel)]
        command += ["--n-gpu-layers", str(config.n_gpu_layers if config.n_gpu_layers >= 0 else 999)]
        command += ["--batch-size", str(config.n_batch), "--jinja", "--no-webui"]
        if config.n_threads is not None:
            command += ["--threads", str(config.n_threads)]
        if config.n_threads_batch is not None:
            command += ["--threads-batch", str(config.n_threads_batch)]
        if config.flash_attn is not None:
            command += ["--flash-attn", "on" if config.flash_attn else "off"]
        if config.chat_template is not None:
            command += ["--chat-template", read_template(config.chat_template)]
        return command

    def _context(self, config: LlamaServerConfig) -> int:
        """Tokens for each request; 0 leaves them to the server."""
        if config.n_ctx is not None:
            return config.n_ctx
        try:
            trained = trained_for(read_header(local_path(config.model or "")))
        except (OSError, DamagedFileError):  # the server says what it makes of such a file
            trained = None
        return context_length(None, trained, usual=_USUAL_CONTEXT)

    def launch_environment(self) -> dict[str, str]:
        """The key, which is not for a command line."""
        key = self.config.api_key
        return {} if key is None else {"LLAMA_API_KEY": key.reveal()}

    def check_model(self, model_path: str, config: Any) -> None:
        """Refuse what is no sound GGUF model, where we are to load it, a context that the model was not trained for,
        and a broken chat template."""
        if config.endpoint is None:
            context_length(config.n_ctx, trained_for(check_model_file(model_path)))
            if config.chat_template is not None:
                read_template(config.chat_template)
        super().check_model(model_path, config)
