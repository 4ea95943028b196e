// Which instruction sets this chip has, which one we use, and the kernels that go with it.
#include "amx.h"
#include "cpu.h"
#include "kernels.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#if defined(__x86_64__) || defined(_M_X64)
#define CPU_X86 1
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_M_ARM64) || (defined(__aarch64__) && defined(_WIN32))
#include "windows-api.h"
#endif

namespace cpu {

namespace detail {

// Levels of the other architecture, which this build does not have.
#ifdef CPU_X86
const Kernels * neon_kernels() { return nullptr; }
const Kernels * dotprod_kernels() { return nullptr; }
const Kernels * i8mm_kernels() { return nullptr; }
#else
const Kernels * avx2_kernels() { return nullptr; }
const Kernels * avx_vnni_kernels() { return nullptr; }
const Kernels * avx512_kernels() { return nullptr; }
const Kernels * avx512_vnni_kernels() { return nullptr; }
const Kernels * amx_kernels() { return nullptr; }
#if !defined(__aarch64__) && !defined(_M_ARM64)
const Kernels * neon_kernels() { return nullptr; }
const Kernels * dotprod_kernels() { return nullptr; }
const Kernels * i8mm_kernels() { return nullptr; }
#endif
#endif

} // namespace detail

namespace {

struct Level {
    Isa          isa;
    const char * name;
    const detail::Kernels * (*kernels)();
};

// Best last, so that the search runs from the end.
constexpr Level levels[] = {
    {Isa::plain, "plain", detail::scalar_kernels},
    {Isa::scalar, "scalar", detail::scalar_kernels},
    {Isa::avx2, "avx2", detail::avx2_kernels},
    {Isa::avx_vnni, "avx-vnni", detail::avx_vnni_kernels},
    {Isa::avx512, "avx512", detail::avx512_kernels},
    {Isa::avx512_vnni, "avx512-vnni", detail::avx512_vnni_kernels},
    {Isa::amx, "amx", detail::amx_kernels},
    {Isa::neon, "neon", detail::neon_kernels},
    {Isa::dotprod, "dotprod", detail::dotprod_kernels},
    {Isa::i8mm, "i8mm", detail::i8mm_kernels},
};

#ifdef CPU_EMULATED // the tests build kernels on emulated intrinsics, which run anywhere

bool chip_has(Isa) { return true; }

#elif defined(CPU_X86)

struct CpuId {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;

    CpuId(uint32_t leaf, uint32_t subleaf) {
#if defined(_MSC_VER) && !defined(__clang__)
        int r[4];
        __cpuidex(r, int(leaf), int(subleaf));
        eax = uint32_t(r[0]), ebx = uint32_t(r[1]), ecx = uint32_t(r[2]), edx = uint32_t(r[3]);
#else
        __cpuid_count(leaf, subleaf, eax, ebx, ecx, edx);
#endif
    }
};

// The register state that the operating system saves: a chip may have AVX-512 while the system does not.
uint64_t enabled_state() {
#if defined(_MSC_VER) && !defined(__clang__)
    return _xgetbv(0);
#else
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return uint64_t(high) << 32 | low;
#endif
}

bool chip_has(Isa isa) {
    auto bit = [](uint32_t word, int i) { return (word >> i & 1) != 0; };

    const uint32_t max_leaf = CpuId(0, 0).eax;
    const CpuId    one(1, 0);
    if (max_leaf < 7 || !bit(one.ecx, 27)) {
        return false;
    }
    const CpuId    seven(7, 0);
    const CpuId    seven_one = seven.eax >= 1 ? CpuId(7, 1) : CpuId(0x80000000, 0);
    const uint64_t state     = enabled_state();

    const bool avx2     = (state & 0x06) == 0x06 && bit(one.ecx, 12) && bit(one.ecx, 29) && bit(seven.ebx, 5);
    const bool avx_vnni = avx2 && seven.eax >= 1 && bit(seven_one.eax, 4);
    const bool avx512   = avx2 && (state & 0xe6) == 0xe6 && bit(seven.ebx, 16) && bit(seven.ebx, 17) && bit(seven.ebx, 30) && bit(seven.ebx, 31);
    const bool vnni     = avx512 && bit(seven.ecx, 11);
    const bool tiles    = (state & 0x60000) == 0x60000 && bit(seven.edx, 22) && bit(seven.edx, 24) && bit(seven.edx, 25); // bf16, tiles, int8
    const bool amx      = vnni && tiles && bit(seven_one.eax, 5); // and bf16 in vectors
    switch (isa) {
        case Isa::avx2:        return avx2;
        case Isa::avx_vnni:    return avx_vnni;
        case Isa::avx512:      return avx512;
        case Isa::avx512_vnni: return vnni;
        case Isa::amx:         return amx && detail::amx_permitted();
        default:               return false;
    }
}

#elif defined(__aarch64__) && defined(__linux__)

bool chip_has(Isa isa) {
    switch (isa) {
        case Isa::neon:    return true;
        case Isa::dotprod: return (getauxval(AT_HWCAP) >> 20 & 1) != 0;                       // HWCAP_ASIMDDP
        case Isa::i8mm:    return (getauxval(AT_HWCAP2) >> 13 & 1) != 0 && chip_has(Isa::dotprod); // HWCAP2_I8MM
        default:           return false;
    }
}

#elif defined(__aarch64__) && defined(__APPLE__)

bool chip_has(Isa isa) {
    auto feature = [](const char * name) {
        int    value = 0;
        size_t size  = sizeof(value);
        return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
    };
    switch (isa) {
        case Isa::neon:    return true;
        case Isa::dotprod: return feature("hw.optional.arm.FEAT_DotProd");
        case Isa::i8mm:    return feature("hw.optional.arm.FEAT_I8MM") && chip_has(Isa::dotprod);
        default:           return false;
    }
}

#elif defined(_M_ARM64) || defined(__aarch64__)

bool chip_has(Isa isa) {
#ifdef _WIN32
    return isa == Isa::neon || (isa == Isa::dotprod && IsProcessorFeaturePresent(43 /* PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE */));
#else
    return isa == Isa::neon;
#endif
}

#else

bool chip_has(Isa) { return false; }

#endif

const Level & level(Isa isa) {
    for (const Level & l : levels) {
        if (l.isa == isa) {
            return l;
        }
    }
    return levels[0];
}

std::string supported_names() {
    std::string names;
    for (const Level & l : levels) {
        if (isa_supported(l.isa)) {
            names += (names.empty() ? "" : ", ") + std::string(l.name);
        }
    }
    return names;
}

// Whether a level is chosen by itself. On Windows AMX has never run, and there a process may have to ask for it.
bool is_tried(Isa isa) {
#ifdef _WIN32
    return isa != Isa::amx;
#else
    (void) isa;
    return true;
#endif
}

Isa choose() {
    const char * forced = std::getenv("BGE_CPU_ISA");
    if (forced != nullptr && *forced != '\0') {
        for (const Level & l : levels) {
            if (std::strcmp(l.name, forced) == 0 && isa_supported(l.isa)) {
                return l.isa;
            }
        }
        throw std::invalid_argument("Expected BGE_CPU_ISA to be one of " + supported_names() + ", got `" + forced + "`");
    }
    Isa best = Isa::plain; // without vector kernels of ours, stock ggml is the better choice
    for (const Level & l : levels) {
        if (l.isa != Isa::scalar && is_tried(l.isa) && isa_supported(l.isa)) {
            best = l.isa;
        }
    }
    return best;
}

std::atomic<const detail::Kernels *> overridden{nullptr};

} // namespace

Isa isa() {
    static const Isa chosen = choose();
    return chosen;
}

bool isa_supported(Isa isa) {
    return isa == Isa::plain || isa == Isa::scalar || (level(isa).kernels() != nullptr && chip_has(isa));
}

const char * isa_name(Isa isa) { return level(isa).name; }

namespace detail {

const Kernels & kernels(Isa isa) { return *level(isa).kernels(); }

const Kernels & active_kernels() {
    const Kernels * k = overridden.load(std::memory_order_relaxed);
    return k != nullptr ? *k : kernels(isa());
}

void use_isa(Isa isa) { overridden = &kernels(isa); }

} // namespace detail

} // namespace cpu
