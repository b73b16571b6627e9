"""Every error that LlamaForge raises on purpose.

Each is also the builtin that a caller would guess, and carries what it knows as attributes::

    LlamaForgeError
    ├── BackendError
    │   ├── UnknownBackendError         LookupError      no such name; the closest ones
    │   ├── BackendNotInstalledError    ImportError      known name; the pip command
    │   ├── EngineNotAvailableError     ImportError      the engine's own library can't be imported
    │   ├── BrokenPluginError           ImportError      installed; what it raised, kept
    │   ├── DuplicatePluginError        RuntimeError     two distributions claim one name
    │   ├── ContractVersionError        RuntimeError     written for another API_VERSION
    │   └── NoBackendForModelError      LookupError      nothing installed takes this model
    ├── ModelError
    │   ├── UnknownModelError           LookupError      no model of that name; the closest ones
    │   ├── MemoryBudgetError           MemoryError      it doesn't fit into the memory budget
    │   ├── ModelExistsError            ValueError       the name is taken by another model
    │   ├── ModelNotLoadedError         RuntimeError     generate before load
    │   ├── ModelNotFoundError          FileNotFoundError  no such file, folder or remote model
    │   ├── InvalidModelError           ValueError       the file is damaged or is no model
    │   ├── ModelLoadError              RuntimeError     the engine could not load it
    │   └── DeviceNotAvailableError     RuntimeError     the device asked for is not there
    ├── SourceError
    │   ├── InvalidReferenceError       ValueError       a model reference that can't be read
    │   ├── SourceNotFoundError         FileNotFoundError  nothing stands under that reference
    │   ├── ChecksumError               ValueError       the SHA-256 is not the expected one
    │   ├── DownloadError               ConnectionError  the download failed or was cut off
    │   └── MissingDependencyError      ImportError      an optional package is needed; the pip command
    ├── ModelFileError                  ValueError       the user's model file is damaged; its line
    ├── RequestError
    │   ├── UnknownParameterError       ValueError       no such parameter; the closest ones
    │   ├── InvalidParameterError       ValueError       wrong type or out of range
    │   ├── ConflictingParametersError  ValueError       two parameters contradict each other
    │   ├── UnsupportedError            NotImplementedError  this backend can't do that
    │   ├── EmptyPromptError            ValueError       nothing to generate from
    │   ├── NoChatTemplateError         ValueError       the model has no chat template
    │   └── ContextOverflowError        ValueError       the prompt does not fit; both counts
    └── EngineError
        ├── GenerationError             RuntimeError     the engine failed while generating
        ├── GenerationTimeoutError      TimeoutError     the deadline passed
        ├── QueueFullError              RuntimeError     too many requests wait already
        ├── ContractError               RuntimeError     a backend broke the contract
        ├── ConnectionFailedError       ConnectionError  the server can't be reached, or went away
        │   └── ServerCrashedError      ConnectionError  a server of ours has ended by itself
        ├── ServerStartError            RuntimeError     a server of ours did not get ready; the end of its log
        │   ├── PortInUseError          RuntimeError     the port that it was to get is taken
        │   └── ServerProgramNotFoundError  FileNotFoundError  its program is not installed
        ├── AuthenticationError         PermissionError  the server refused the key
        ├── RateLimitError              RuntimeError     the server asks to slow down
        └── ServerError                 RuntimeError     the server answered with an error
"""

from __future__ import annotations

from .backend import (
    BackendError,
    BackendNotInstalledError,
    BrokenPluginError,
    ContractVersionError,
    DuplicatePluginError,
    EngineNotAvailableError,
    NoBackendForModelError,
    UnknownBackendError,
)
from .base import (
    LlamaForgeError,
    closest,
)
from .engine import (
    AuthenticationError,
    ConnectionFailedError,
    ContractError,
    EngineError,
    GenerationError,
    GenerationTimeoutError,
    QueueFullError,
    RateLimitError,
    ServerError,
)
from .model import (
    DeviceNotAvailableError,
    InvalidModelError,
    MemoryBudgetError,
    ModelError,
    ModelExistsError,
    ModelFileError,
    ModelLoadError,
    ModelNotFoundError,
    ModelNotLoadedError,
    UnknownModelError,
)
from .request import (
    ConflictingParametersError,
    ContextOverflowError,
    EmptyPromptError,
    InvalidParameterError,
    NoChatTemplateError,
    RequestError,
    UnknownParameterError,
    UnsupportedError,
)
from .server import (
    PortInUseError,
    ServerCrashedError,
    ServerProgramNotFoundError,
    ServerStartError,
)
from .source import (
    ChecksumError,
    DownloadError,
    InvalidReferenceError,
    MissingDependencyError,
    SourceError,
    SourceNotFoundError,
)

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BackendNotInstalledError",
    "BrokenPluginError",
    "ChecksumError",
    "ConflictingParametersError",
    "ConnectionFailedError",
    "ContextOverflowError",
    "ContractError",
    "ContractVersionError",
    "DeviceNotAvailableError",
    "DownloadError",
    "DuplicatePluginError",
    "EmptyPromptError",
    "EngineError",
    "EngineNotAvailableError",
    "GenerationError",
    "GenerationTimeoutError",
    "InvalidModelError",
    "InvalidParameterError",
    "InvalidReferenceError",
    "LlamaForgeError",
    "MemoryBudgetError",
    "MissingDependencyError",
    "ModelError",
    "ModelExistsError",
    "ModelFileError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelNotLoadedError",
    "NoBackendForModelError",
    "NoChatTemplateError",
    "PortInUseError",
    "QueueFullError",
    "RateLimitError",
    "RequestError",
    "ServerCrashedError",
    "ServerError",
    "ServerProgramNotFoundError",
    "ServerStartError",
    "SourceError",
    "SourceNotFoundError",
    "UnknownBackendError",
    "UnknownModelError",
    "UnknownParameterError",
    "UnsupportedError",
    "closest",
]
