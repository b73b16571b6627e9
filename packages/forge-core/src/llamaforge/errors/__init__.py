"""Every error that LlamaForge raises on purpose.

Most are also subclasses of a matching built-in exception. Details are attributes::

    LlamaForgeError
    ├── BackendError
    │   ├── UnknownBackendError         LookupError      no such backend; the closest names
    │   ├── BackendNotInstalledError    ImportError      known, not installed; the pip command
    │   ├── EngineNotAvailableError     ImportError      the engine's own library can't be imported
    │   ├── BrokenPluginError           ImportError      installed, but raised an exception
    │   ├── DuplicatePluginError        RuntimeError     two distributions provide one name
    │   ├── ContractVersionError        RuntimeError     written for another API_VERSION
    │   └── NoBackendForModelError      LookupError      no installed backend runs this model
    ├── ModelError
    │   ├── UnknownModelError           LookupError      no such model; the closest names
    │   ├── MemoryBudgetError           MemoryError      the model doesn't fit into the memory budget
    │   ├── ModelExistsError            ValueError       the name is taken by another model
    │   ├── ModelNotLoadedError         RuntimeError     no model is loaded
    │   ├── ModelNotFoundError          FileNotFoundError  no such file, folder or remote model
    │   ├── InvalidModelError           ValueError       the file is damaged or not a model
    │   ├── ModelLoadError              RuntimeError     the engine could not load the model
    │   └── DeviceNotAvailableError     RuntimeError     the requested device doesn't exist
    ├── SourceError
    │   ├── InvalidReferenceError       ValueError       a model reference that can't be read
    │   ├── SourceNotFoundError         FileNotFoundError  the reference leads nowhere
    │   ├── ChecksumError               ValueError       the SHA-256 is not the expected one
    │   ├── DownloadError               ConnectionError  the download failed or was cut off
    │   └── MissingDependencyError      ImportError      an optional package is needed; the pip command
    ├── ModelFileError                  ValueError       the user's model file is damaged; the line
    ├── BatchFileError                  ValueError       a file of a batch can't be used; the line
    ├── LogFileError                    ValueError       the response log can't be used
    ├── RequestError
    │   ├── UnknownParameterError       ValueError       no such parameter; the closest names
    │   ├── InvalidParameterError       ValueError       wrong type or out of range
    │   ├── ConstraintError             ValueError       a constraint can't be read or enforced; the place
    │   ├── ConflictingParametersError  ValueError       parameters can't be used together
    │   ├── UnsupportedError            NotImplementedError  this backend can't do that
    │   ├── EmptyPromptError            ValueError       the prompt or conversation is empty
    │   ├── NoChatTemplateError         ValueError       the model has no chat template
    │   └── ContextOverflowError        ValueError       the prompt does not fit; both counts
    └── EngineError
        ├── GenerationError             RuntimeError     the engine failed while generating
        ├── InvalidAnswerError          ValueError       the answer breaks its constraint; the text
        ├── GenerationTimeoutError      TimeoutError     the deadline passed
        ├── QueueFullError              RuntimeError     too many requests are waiting
        ├── ContractError               RuntimeError     a backend broke the contract
        ├── ConnectionFailedError       ConnectionError  the server can't be reached, or closed the connection
        │   └── ServerCrashedError      ConnectionError  a server that we started has crashed
        ├── ServerStartError            RuntimeError     a server did not start; the end of its log
        │   ├── PortInUseError          RuntimeError     its port is in use
        │   └── ServerProgramNotFoundError  FileNotFoundError  its program is not installed
        ├── AuthenticationError         PermissionError  the server refused the key
        ├── RateLimitError              RuntimeError     the server limits the request rate
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
    InvalidAnswerError,
    QueueFullError,
    RateLimitError,
    ServerError,
)
from .model import (
    DeviceNotAvailableError,
    InvalidModelError,
    LogFileError,
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
    BatchFileError,
    ConflictingParametersError,
    ConstraintError,
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
    "BatchFileError",
    "BrokenPluginError",
    "ChecksumError",
    "ConflictingParametersError",
    "ConnectionFailedError",
    "ConstraintError",
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
    "InvalidAnswerError",
    "InvalidModelError",
    "InvalidParameterError",
    "InvalidReferenceError",
    "LlamaForgeError",
    "LogFileError",
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
