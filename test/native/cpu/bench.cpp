// cpu-bench: products and attention at real shapes, in Gop/s and as part of what this chip's own units reach.
// usage: cpu-bench [--json] [--threads n] [--rounds n] [--only text] [--types]   (BGE_CPU_ISA picks the level)
// --types: one layer in every type of few bits instead, its time as a ratio to that of Q8_0.
#include "../../../native/cpu/cpu.h"
#include "../../../native/cpu/kernels.h"
#include "peak.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

namespace {

struct Options {
    bool        json = false;
    std::string only; // names that contain this
    int  n_threads = 1;
    int  n_rounds  = 9;
    bool types     = false;
};

struct Result {
    std::string name;
    double      gops, peak; // peak of one thread times threads; 0 = none known
};

// The best of several rounds, in CPU seconds a thread: so other work on the machine shows least. (On Windows clock() is wall time.)
template <typename F> double best_time(const Options & o, const F & fn) {
    fn();
    double best = 1e30;
    for (int i = 0; i < o.n_rounds; ++i) {
        const std::clock_t start = std::clock();
        int                n     = 0;
        do {
            fn();
            ++n;
        } while (std::clock() - start < CLOCKS_PER_SEC / 100);
        best = std::min(best, double(std::clock() - start) / CLOCKS_PER_SEC / n / o.n_threads);
    }
    return best;
}

bool wanted(const Options & o, const char * name) { return o.only.empty() || std::strstr(name, o.only.c_str()) != nullptr; }

std::vector<float> values(size_t n) {
    std::vector<float> v(n);
    for (size_t i = 0; i < n; ++i) {
        v[i] = float(int((i * 2654435761u) >> 8 & 0xffff) - 32768) / 32768.0f;
    }
    return v;
}

// Q8_0 blocks: an f16 scale and 32 codes.
std::vector<unsigned char> q8_0(size_t n) {
    std::vector<unsigned char> bytes(n / 32 * 34);
    for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<unsigned char>(i % 34 == 0 ? 0 : i % 34 == 1 ? 0x10 : i * 37);
    }
    return bytes;
}

// A type of few bits whose bytes may be any but for its scales in f16.
struct FewBits {
    const char *     name;
    cpu::SourceType  type;
    int              block, bytes;
    std::vector<int> scales;
};

const FewBits few_bits[] = {
    {"q4_0", cpu::SourceType::q4_0, 32, 18, {0}},          {"q5_0", cpu::SourceType::q5_0, 32, 22, {0}},
    {"q4_k", cpu::SourceType::q4_k, 256, 144, {0, 2}},     {"q5_k", cpu::SourceType::q5_k, 256, 176, {0, 2}},
    {"q6_k", cpu::SourceType::q6_k, 256, 210, {208}},      {"iq4_xs", cpu::SourceType::iq4_xs, 256, 136, {0}},
    {"q3_k", cpu::SourceType::q3_k, 256, 110, {108}},      {"q2_k", cpu::SourceType::q2_k, 256, 84, {80, 82}},
    {"iq3_s", cpu::SourceType::iq3_s, 256, 110, {0}},      {"iq3_xxs", cpu::SourceType::iq3_xxs, 256, 98, {0}},
    {"iq2_s", cpu::SourceType::iq2_s, 256, 82, {0}},       {"iq2_xs", cpu::SourceType::iq2_xs, 256, 74, {0}},
    {"iq2_xxs", cpu::SourceType::iq2_xxs, 256, 66, {0}},   {"iq1_s", cpu::SourceType::iq1_s, 256, 50, {0}},
    {"iq1_m", cpu::SourceType::iq1_m, 256, 56, {49, 51, 53, 55}}, // a quarter of the scale in each of these bytes
};

std::vector<unsigned char> bytes_of(const FewBits & t, size_t n) {
    std::vector<unsigned char> bytes(n / t.block * t.bytes);
    for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<unsigned char>(i * 2654435761u >> 13);
    }
    for (size_t at = 0; at < bytes.size(); at += t.bytes) {
        for (int scale : t.scales) {
            bytes[at + scale] = 0x10;
            if (t.scales.size() < 4) {
                bytes[at + scale + 1] = 0x10;
            }
        }
    }
    return bytes;
}

// All types in turns, so that what else the machine does meets all of them alike.
void bench_types(const Options & o) {
    cpu::ThreadPool pool(o.n_threads);
    cpu::Workspace  workspace;
    constexpr int   k = 1024, n = 4096, max_rows = 512;
    const auto      x = values(size_t(max_rows) * k);
    std::vector<float> y(size_t(max_rows) * n);

    struct Layer {
        std::string       name;
        cpu::PackedLinear w;
        double            best;
    };
    std::vector<Layer> layers;
    const auto         q8 = q8_0(size_t(k) * n);
    layers.push_back({"q8_0", cpu::pack_linear(pool, k, {{q8.data(), cpu::SourceType::q8_0, n}}), 0});
    for (const FewBits & t : few_bits) {
        if (o.only.empty() || o.only == t.name) {
            const auto bytes = bytes_of(t, size_t(k) * n);
            layers.push_back({t.name, cpu::pack_linear(pool, k, {{bytes.data(), t.type, n, size_t(k / t.block) * t.bytes, t.block}}), 0});
        }
    }
    std::printf("%s, %d threads, %d x %d; of the time that Q8_0 takes; bytes of its memory\n%-10s", cpu::isa_name(cpu::detail::active_kernels().isa), o.n_threads, k, n, "");
    for (int m : {8, 64, 128, 512}) {
        std::printf("%8d rows", m);
    }
    std::printf("%10s\n", "bytes");
    std::vector<std::vector<double>> times;
    for (int m : {8, 64, 128, 512}) {
        for (Layer & l : layers) {
            l.best = 1e30;
        }
        Options once  = o;
        once.n_rounds = 1;
        for (int round = 0; round < o.n_rounds; ++round) {
            for (Layer & l : layers) {
                l.best = std::min(l.best, best_time(once, [&] { cpu::linear(pool, l.w, x.data(), k, m, y.data(), n, {}, workspace); }));
            }
        }
        times.emplace_back();
        for (const Layer & l : layers) {
            times.back().push_back(l.best / layers[0].best);
        }
    }
    for (size_t i = 0; i < layers.size(); ++i) {
        std::printf("%-10s", layers[i].name.c_str());
        for (const auto & of_rows : times) {
            std::printf("%13.2f", of_rows[i]);
        }
        std::printf("%10.2f\n", double(layers[i].w.size_bytes()) / double(layers[0].w.size_bytes()));
    }
}

struct Mode {
    const char *    name;
    cpu::SourceType type;
    cpu::WeightMode mode;
    bool            is_int8;
};

void bench_linear(const Options & o, const cpu::bench::Peak & peak, std::vector<Result> & results) {
    cpu::ThreadPool pool(o.n_threads);
    cpu::Workspace  workspace;
    const Mode modes[] = {{"f32", cpu::SourceType::f32, cpu::WeightMode::native, false},
                          {"bf16", cpu::SourceType::bf16, cpu::WeightMode::native, false},
                          {"q8_0", cpu::SourceType::q8_0, cpu::WeightMode::native, true},
                          {"rows", cpu::SourceType::f32, cpu::WeightMode::row_int8, true}};
    const int shapes[][3] = {{512, 1024, 4096}, {512, 4096, 1024}, {512, 768, 3072}, {64, 768, 3072}, {8, 768, 3072}, {4, 768, 3072}, {1, 768, 3072}};
    for (const int * s : shapes) {
        const int  m = s[0], k = s[1], n = s[2];
        const auto floats = values(size_t(k) * n);
        const auto quants = q8_0(size_t(k) * n);
        const auto x      = values(size_t(m) * k);
        std::vector<float> y(size_t(m) * n);
        for (const Mode & mode : modes) {
            char name[64];
            std::snprintf(name, sizeof(name), "linear %s %d x %d x %d", mode.name, m, k, n);
            if (!wanted(o, name)) {
                continue;
            }
            cpu::WeightSource source;
            source.data   = mode.type == cpu::SourceType::q8_0 ? static_cast<const void *>(quants.data()) : floats.data();
            source.type   = mode.type;
            source.n_rows = n;
            const cpu::PackedLinear w    = cpu::pack_linear(pool, k, {source}, nullptr, mode.mode);
            const double            time = best_time(o, [&] { cpu::linear(pool, w, x.data(), k, m, y.data(), n, {}, workspace); });
            results.push_back({name, 2e-9 * m * k * n / time, (mode.is_int8 ? peak.int8_gops : peak.float_gops) * o.n_threads});
        }
    }
}

void bench_attention(const Options & o, const cpu::bench::Peak & peak, std::vector<Result> & results) {
    cpu::ThreadPool pool(o.n_threads);
    cpu::Workspace  workspace;
    struct Shape {
        int  n_sequences, n, n_head, head_dim;
        bool causal;
    };
    for (const Shape & s : {Shape{1, 512, 12, 64, false}, Shape{8, 128, 12, 64, false}, Shape{1, 64, 12, 64, false}, Shape{1, 512, 8, 256, true}}) {
        char name[64];
        std::snprintf(name, sizeof(name), "attention %d x %d, %d heads of %d%s", s.n_sequences, s.n, s.n_head, s.head_dim, s.causal ? ", causal" : "");
        if (!wanted(o, name)) {
            continue;
        }
        const size_t width = size_t(s.n_head) * s.head_dim;
        const auto   qkv   = values(3 * width * s.n_sequences * s.n);
        std::vector<float> out(width * s.n_sequences * s.n);
        std::vector<cpu::AttentionSequence> sequences;
        for (int i = 0; i < s.n_sequences; ++i) {
            sequences.push_back({i * s.n, s.n, 0, 0, i * s.n, s.n, 0});
        }
        cpu::AttentionParams p;
        p.n_head = p.n_head_kv = s.n_head;
        p.head_dim             = s.head_dim;
        p.scale                = 0.125f;
        p.causal               = s.causal;
        p.q_stride = p.k_stride = p.v_stride = 3 * width;
        p.out_stride                         = width;
        p.sequences                          = sequences.data();
        p.n_sequences                        = s.n_sequences;
        const double time = best_time(o, [&] {
            cpu::attention(pool, p, qkv.data(), qkv.data() + width, qkv.data() + 2 * width, out.data(), workspace);
        });
        const double ops = 4e-9 * s.n_sequences * s.n * s.n * double(width) * (s.causal ? 0.5 : 1);
        results.push_back({name, ops / time, peak.float_gops * o.n_threads});
    }
}

void print(const Options & o, const cpu::bench::Peak & peak, const std::vector<Result> & results) {
    const char * isa = cpu::isa_name(cpu::detail::active_kernels().isa);
    if (!o.json) {
        std::printf("%s, %d threads; one thread's peak: f32 %.0f, int8 %.0f Gop/s\n", isa, o.n_threads, peak.float_gops, peak.int8_gops);
        for (const Result & r : results) {
            std::printf("%-44s %8.1f Gop/s  %3.0f %%\n", r.name.c_str(), r.gops, r.peak > 0 ? 100 * r.gops / r.peak : 0);
        }
        return;
    }
    std::printf("{\"isa\":\"%s\",\"threads\":%d,\"peak\":{\"f32\":%.1f,\"int8\":%.1f},\"results\":[", isa, o.n_threads, peak.float_gops, peak.int8_gops);
    for (size_t i = 0; i < results.size(); ++i) {
        const Result & r = results[i];
        std::printf("%s{\"name\":\"%s\",\"gops\":%.2f,\"peak\":%.2f}", i > 0 ? "," : "", r.name.c_str(), r.gops, r.peak);
    }
    std::printf("]}\n");
}

} // namespace

int main(int argc, char ** argv) {
    Options o;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--json") == 0) {
            o.json = true;
        } else if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
            o.n_threads = std::atoi(argv[++i]);
        } else if (std::strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
            o.n_rounds = std::atoi(argv[++i]);
        } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            o.only = argv[++i];
        } else if (std::strcmp(argv[i], "--types") == 0) {
            o.types = true;
        } else {
            std::fprintf(stderr, "usage: cpu-bench [--json] [--threads n] [--rounds n] [--only text] [--types]\n");
            return 2;
        }
    }
    if (o.types) {
        bench_types(o);
        return 0;
    }
    const cpu::bench::Peak peak = cpu::bench::measure_peak(cpu::detail::active_kernels().isa);
    std::vector<Result>    results;
    bench_linear(o, peak, results);
    bench_attention(o, peak, results);
    print(o, peak, results);
}
