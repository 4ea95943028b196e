// Included before every C++ file by g++ on Linux. g++ 12 binds condition_variable::wait to a version of libstdc++ that
// RHEL 9 and Ubuntu 22.04 may lack (GLIBCXX_3.4.30, where it only became noexcept); the older one is in every libstdc++.
#include <cstddef> // defines __GLIBCXX__ and, through it, __GLIBC__
#if defined(__GLIBC__) && defined(__GLIBCXX__)
__asm__(".symver _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE, _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");
#endif
