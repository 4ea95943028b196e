// Times the chains of peak-*.cpp.
#include "peak.h"

#include <algorithm>
#include <ctime>

namespace cpu::bench {

static double gops(double (*run)(long)) {
    if (run == nullptr) {
        return 0;
    }
    constexpr long n    = 1000000;
    double         best = 0;
    for (int i = 0; i < 7; ++i) {
        const std::clock_t start   = std::clock();
        const double       n_mul   = run(n);
        const double       seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
        best                       = std::max(best, 2e-9 * double(n) * n_mul / seconds);
    }
    return best;
}

Peak measure_peak(Isa isa) {
    Chains chains = {nullptr, nullptr};
#if defined(__x86_64__)
    switch (isa) {
        case Isa::avx2:        chains = avx2_chains(); break;
        case Isa::avx_vnni:    chains = avx_vnni_chains(); break;
        case Isa::avx512:      chains = avx512_chains(); break;
        case Isa::avx512_vnni: chains = avx512_vnni_chains(); break;
        case Isa::amx:         chains = amx_chains(); break;
        default:               break;
    }
#else
    (void) isa;
#endif
    return {gops(chains.run_float), gops(chains.run_int8)};
}

} // namespace cpu::bench
