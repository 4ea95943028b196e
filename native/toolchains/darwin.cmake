# macOS by zig, which carries what is needed of Apple's SDK: pip install ziglang. BGE_ZIG is the zig program.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_C_COMPILER $ENV{BGE_ZIG} cc -target ${ZIG_ARCH}-macos.12.0)
set(CMAKE_CXX_COMPILER $ENV{BGE_ZIG} c++ -target ${ZIG_ARCH}-macos.12.0)
set(CMAKE_OSX_SYSROOT "")
set(CMAKE_INSTALL_NAME_TOOL true) # looked for by CMake, never run: there are no rpaths
set(CMAKE_SKIP_RPATH ON)
