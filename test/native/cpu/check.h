// A small test harness: CHECK counts, a failure prints its place, main() sums up.
#pragma once

#include "../../../native/cpu/cpu.h"
#include "../../../native/cpu/kernels.h"

#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

namespace test {

extern int n_passed, n_failed;

inline void check(bool ok, const char * file, int line, const std::string & what) {
    ok ? ++n_passed : ++n_failed;
    if (!ok) {
        std::printf("%s:%d: %s\n", file, line, what.c_str());
    }
}

#define CHECK(condition, what) test::check((condition), __FILE__, __LINE__, (what))

class Random {
public:
    explicit Random(unsigned seed) : engine_(seed) {}
    float              normal() { return distribution_(engine_); }
    std::vector<float> normals(size_t n) {
        std::vector<float> values(n);
        for (float & v : values) {
            v = normal();
        }
        return values;
    }

private:
    std::mt19937                    engine_;
    std::normal_distribution<float> distribution_{0.0f, 1.0f};
};

// Largest |a - b|; NaN anywhere gives infinity.
inline double difference(const std::vector<float> & a, const std::vector<float> & b) {
    double largest = a.size() == b.size() ? 0 : INFINITY;
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
        const double d = std::fabs(double(a[i]) - double(b[i]));
        largest        = d <= largest ? largest : std::isnan(d) ? INFINITY : d;
    }
    return largest;
}

inline std::string text(const char * format, double a = 0, double b = 0, double c = 0, double d = 0) {
    char buffer[256];
    std::snprintf(buffer, sizeof(buffer), format, a, b, c, d);
    return buffer;
}

void linear(cpu::Isa isa);
void low_bit(cpu::Isa isa);
void attention(cpu::Isa isa);
void joined(cpu::Isa isa);
void not_finite(cpu::Isa isa);
void rows(cpu::Isa isa);
void amx();
void thread_pool();
void cgroup();

} // namespace test
