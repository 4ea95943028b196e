// <windows.h> without its macros min and max. MinGW's C++ library may have said so already.
#pragma once
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
