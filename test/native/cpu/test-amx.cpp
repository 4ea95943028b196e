// The AMX level beside AVX-512-VNNI's: the same codes, so the same bits. And the emulated tiles themselves.
#include "check.h"

#include <cstdlib>
#include <cstring>

#ifdef CPU_EMULATED
#include "emulated/tiles.h"
#endif

namespace test {

namespace {

using cpu::SourceType;
using cpu::WeightMode;

struct Case {
    SourceType type;
    WeightMode mode;
};

// Blocks of 32 weights: an f16 scale, then any bytes.
std::vector<unsigned char> blocks_of(Random & random, size_t n_blocks, size_t block_bytes) {
    std::vector<unsigned char> bytes(n_blocks * block_bytes);
    for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<unsigned char>(i % block_bytes == 1 ? 0x14 + i / block_bytes % 5 : int(random.normal() * 1000));
    }
    return bytes;
}

std::vector<float> product(cpu::Isa isa, cpu::ThreadPool & pool, const cpu::WeightSource & source, WeightMode mode, const std::vector<float> & x, int n_rows) {
    cpu::detail::use_isa(isa);
    const int               n_in = int(x.size()) / n_rows;
    const cpu::PackedLinear w    = cpu::pack_linear(pool, n_in, {source}, nullptr, mode);
    cpu::Workspace          workspace;
    std::vector<float>      y(size_t(n_rows) * source.n_rows);
    cpu::linear(pool, w, x.data(), size_t(n_in), n_rows, y.data(), size_t(source.n_rows), {}, workspace);
    return y;
}

void same_bits(Random & random, cpu::ThreadPool & pool, Case c, int n_rows, int n_in, int n_out) {
    const auto        x      = random.normals(size_t(n_rows) * n_in);
    const auto        floats = random.normals(size_t(n_out) * n_in);
    const size_t      bytes  = c.type == SourceType::q8_0 ? 34 : 18;
    const auto        blocks = blocks_of(random, size_t(n_out) * n_in / 32, bytes);
    cpu::WeightSource source;
    source.data      = c.type == SourceType::f32 ? static_cast<const void *>(floats.data()) : blocks.data();
    source.type      = c.type;
    source.n_rows    = n_out;
    source.row_bytes = c.type == SourceType::f32 ? 0 : size_t(n_in) / 32 * bytes;
    const auto vnni  = product(cpu::Isa::avx512_vnni, pool, source, c.mode, x, n_rows);
    const auto tiles = product(cpu::Isa::amx, pool, source, c.mode, x, n_rows);
    CHECK(vnni == tiles, text("amx differs from avx512-vnni by %g: %.0f x %.0f x %.0f", difference(vnni, tiles), n_rows, n_in, n_out));
}

#ifdef CPU_EMULATED

// Configurations and operations that a chip refuses, and the emulation has to.
void catches_misuse() {
    using namespace emulated;
    uint8_t config[64], memory[1024] = {};
    auto    reset = [&](int tile_bytes) { // tiles 0 to 2 of 4 rows
        std::memset(config, 0, sizeof(config));
        config[0] = 1;
        for (int i = 0; i < 3; ++i) {
            config[16 + 2 * i] = uint8_t(tile_bytes);
            config[48 + i]     = 4;
        }
    };
    auto refused = [&](const char * what, auto && misuse) {
        const int before = n_tile_faults;
        misuse();
        CHECK(n_tile_faults > before, std::string("the emulation lets pass ") + what);
        release_tiles();
    };
    auto configured_with = [&](int at, int value) {
        return [&, at, value] {
            reset(16);
            config[at] = uint8_t(value);
            configure_tiles(config);
        };
    };
    auto filled = [&](int tile_bytes) {
        reset(tile_bytes);
        configure_tiles(config);
        for (int i = 0; i < 3; ++i) {
            load_tile(i, memory, 64);
        }
    };
    tells_tile_faults = false;
    refused("palette 2", configured_with(0, 2));
    refused("reserved bytes", configured_with(9, 1));
    refused("17 rows", configured_with(48, 17));
    refused("65 bytes", configured_with(16, 65));
    refused("a ninth tile", configured_with(56, 4));
    refused("rows without bytes", configured_with(51, 4));
    refused("tiles before their configuration", [&] { load_tile(0, memory, 64); });
    refused("a tile left out of it", [&] { filled(16), zero_tile(3); });
    refused("tiles after their release", [&] { filled(16), release_tiles(), store_tile(0, memory, 64); });
    refused("tiles that nobody filled", [&] { reset(16), configure_tiles(config), multiply_tiles(0, 1, 2); });
    refused("one tile twice", [&] { filled(16), multiply_tiles(0, 1, 1); });
    refused("inputs that do not match", [&] { filled(32), multiply_tiles(0, 1, 2); });
    tells_tile_faults = true;
    n_tile_faults     = 0;

    // And one product by hand: rows of 16 inputs, all r + 1, by weights that are all -3.
    filled(16);
    for (int i = 0; i < 64; ++i) {
        memory[i]       = uint8_t(i / 16 + 1);
        memory[64 + i]  = uint8_t(-3);
        memory[128 + i] = 0;
    }
    zero_tile(0);
    load_tile(1, memory, 16);
    load_tile(2, memory + 64, 16);
    multiply_tiles(0, 1, 2);
    multiply_tiles(0, 1, 2);
    store_tile(0, memory + 128, 16);
    release_tiles();
    int32_t sums[16];
    std::memcpy(sums, memory + 128, sizeof(sums));
    for (int i = 0; i < 16; ++i) {
        CHECK(sums[i] == -2 * 3 * 16 * (i / 4 + 1), text("emulated product %.0f is %.0f", i, sums[i]));
    }
}

#endif

} // namespace

void amx() {
    const char * asked = std::getenv("BGE_CPU_ISA");
    CHECK((cpu::isa() == cpu::Isa::amx) == (asked != nullptr && std::strcmp(asked, "amx") == 0), "amx is chosen without being asked for");
    Random          random(5);
    cpu::ThreadPool pool(3);
    for (Case c : {Case{SourceType::q8_0, WeightMode::native}, Case{SourceType::q4_0, WeightMode::native}, Case{SourceType::q4_0, WeightMode::fast},
                   Case{SourceType::f32, WeightMode::row_int8}}) {
        same_bits(random, pool, c, 1, 32, 1);
        same_bits(random, pool, c, 16, 416, 32);
        same_bits(random, pool, c, 17, 96, 33);
        same_bits(random, pool, c, 47, 800, 70);
        same_bits(random, pool, c, 200, 384, 100);
    }
    cpu::detail::use_isa(cpu::Isa::amx);
#ifdef CPU_EMULATED
    CHECK(emulated::n_tile_faults == 0, text("%.0f misuses of tiles", emulated::n_tile_faults));
    CHECK(emulated::n_threads_with_tiles == 0, text("%.0f threads keep their tiles", emulated::n_threads_with_tiles));
    catches_misuse();
#endif
}

} // namespace test
