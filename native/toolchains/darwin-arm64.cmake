set(CMAKE_SYSTEM_PROCESSOR arm64)
set(ZIG_ARCH aarch64)
include(${CMAKE_CURRENT_LIST_DIR}/darwin.cmake)
