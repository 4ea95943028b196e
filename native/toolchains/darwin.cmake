# macOS by zig, which carries what is needed of Apple's SDK (pip install ziglang), and LLVM's linker (apt install lld-19).
# BGE_ZIG and BGE_LLD are the programs.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_C_COMPILER $ENV{BGE_ZIG} cc -target ${ZIG_ARCH}-macos.12.0)
set(CMAKE_CXX_COMPILER $ENV{BGE_ZIG} c++ -target ${ZIG_ARCH}-macos.12.0)
set(CMAKE_CXX_LINKER_LAUNCHER node ${CMAKE_CURRENT_LIST_DIR}/darwin-link.mjs)
set(CMAKE_OSX_SYSROOT "")
set(CMAKE_INSTALL_NAME_TOOL true) # looked for by CMake, never run: there are no rpaths
set(CMAKE_SKIP_RPATH ON)
