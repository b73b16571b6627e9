# Builds llama.cpp's library alone. llama-cpp-python switches on its helpers for command lines (llama-common), which take
# half of the time to compile and are never loaded. CMake reads this file where CMAKE_ARGS holds
# -DCMAKE_PROJECT_llama_cpp_INCLUDE=FILE; this variable goes before the cached one that the project sets.
set(LLAMA_BUILD_COMMON OFF)
