// cpu-test: every level this machine has against the scalar twin and against double precision.
// usage: cpu-test [part ...]   (rows, linear, low-bit, attention, joined, not-finite, amx; all by default)
#include "check.h"

#include <algorithm>
#include <cstring>

namespace test {
int n_passed = 0, n_failed = 0;
}

int main(int argc, char ** argv) {
    const auto wanted = [&](const char * part) { return argc == 1 || std::any_of(argv + 1, argv + argc, [&](const char * a) { return std::strcmp(a, part) == 0; }); };
    const auto run    = [&](const char * part, void (*fn)(cpu::Isa), cpu::Isa isa) {
        if (wanted(part)) {
            fn(isa);
        }
    };
    if (argc == 1) {
        test::thread_pool();
        test::cgroup();
    }
    for (cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx_vnni, cpu::Isa::avx512, cpu::Isa::avx512_vnni, cpu::Isa::amx,
                         cpu::Isa::neon, cpu::Isa::dotprod, cpu::Isa::i8mm}) {
        if (!cpu::isa_supported(isa)) {
            std::printf("%s: skipped, not on this machine or in this build\n", cpu::isa_name(isa));
            continue;
        }
        cpu::detail::use_isa(isa);
        const int failed_before = test::n_failed;
        run("rows", test::rows, isa);
        run("linear", test::linear, isa);
        run("low-bit", test::low_bit, isa);
        run("attention", test::attention, isa);
        run("joined", test::joined, isa);
        run("not-finite", test::not_finite, isa);
        if (isa == cpu::Isa::amx && wanted("amx")) {
            test::amx();
        }
        std::printf("%s: %s\n", cpu::isa_name(isa), test::n_failed == failed_before ? "ok" : "FAILED");
    }
    std::printf("%d passed, %d failed\n", test::n_passed, test::n_failed);
    return test::n_failed == 0 && test::n_passed > 0 ? 0 : 1;
}
