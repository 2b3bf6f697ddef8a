# Read by CMake before llama.cpp's own project: its helper library, half of the build, is used by nothing here.
set(LLAMA_BUILD_COMMON OFF)
