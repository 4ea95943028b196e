// cpu-test: every level this machine has against the scalar twin and against double precision.
#include "check.h"

namespace test {
int n_passed = 0, n_failed = 0;
}

int main() {
    test::thread_pool();
    test::cgroup();
    for (cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx_vnni, cpu::Isa::avx512, cpu::Isa::avx512_vnni, cpu::Isa::amx,
                         cpu::Isa::neon, cpu::Isa::dotprod, cpu::Isa::i8mm}) {
        if (!cpu::isa_supported(isa)) {
            std::printf("%s: skipped, not on this machine or in this build\n", cpu::isa_name(isa));
            continue;
        }
        cpu::detail::use_isa(isa);
        const int failed_before = test::n_failed;
        test::rows(isa);
        test::linear(isa);
        test::low_bit(isa);
        test::attention(isa);
        test::joined(isa);
        test::not_finite(isa);
        if (isa == cpu::Isa::amx) {
            test::amx();
        }
        std::printf("%s: %s\n", cpu::isa_name(isa), test::n_failed == failed_before ? "ok" : "FAILED");
    }
    std::printf("%d passed, %d failed\n", test::n_passed, test::n_failed);
    return test::n_failed == 0 ? 0 : 1;
}
