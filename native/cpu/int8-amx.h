// int8 products by tdpbssd: 16 rows x 64 inputs by 64 inputs x 16 columns into 16 x 16 sums, or with half the inputs.
//
// A tile of activations is a block of inputs of a block of rows, one of weights a block of inputs of half a panel, just as they
// lie in memory. Sums leave by way of memory, in which vectors then scale them: no instruction takes them there directly.
//
// Not measured on any chip. What the units need at the least, in cycles for 16 rows x 16 columns of one block, by Intel's
// optimisation manual (tdpbssd 16, two loads and one store of 64 bytes a cycle, two ports for vectors of 512 bits):
//   blocks of 32: multiply 16, store 16, loads (16 + 8 + 16 + 16) / 2 = 28, scale 16 x 3 / 2 = 24: 293 multiply-adds a cycle
//   blocks of 64: multiply 16, store 16, loads (16 + 16 + 16 + 16) / 2 = 32, scale 24:             512
//   rows:         multiply 16, loads (16 + 16) / 2 / 2 = 8 since tiles are used twice:            1024
// AVX-512-VNNI: 128 at most, and 85 with the scales of blocks of 32, by the same count.
#pragma once

#include "kernels.h"
#include "prefetch.h"
#include "vec-avx512.h"

#if defined(__MINGW32__) && !defined(__clang__) && !defined(CPU_EMULATED)
// GCC's header makes strides a long, which is half an address on Windows.
#undef _tile_loadd
#undef _tile_stored
#define _tile_loadd(tile, base, stride) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(static_cast<const void *>(base)), "r"(static_cast<long long>(stride)))
#define _tile_stored(tile, base, stride) \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(static_cast<void *>(base)), "r"(static_cast<long long>(stride)) : "memory")
#endif

namespace cpu::detail {
namespace {

#ifdef CPU_FINE_BLOCKS
constexpr int block_size = 32; // inputs that share a scale
#else
constexpr int block_size = 64;
#endif
constexpr int tile_rows     = 16;
constexpr int panel_columns = lanes * panel_vectors;

constexpr Format format = {float_rows, panel_columns, panel_columns, /*group*/ 4, block_size, /*x_max*/ 127,
                           tile_rows,  /*block_offset*/ 0, tile_rows, /*row_max*/ 127, /*row_offset*/ 0};

constexpr int group_bytes  = panel_columns * 4;
constexpr int block_bytes  = panel_columns * (block_size + 4); // codes and scales
constexpr int slice_blocks = 384 / block_size;                 // whose weights stay in the first-level cache

// As ldtilecfg reads it.
struct TileConfig {
    uint8_t  palette      = 1;
    uint8_t  rest[15]     = {};
    uint16_t row_bytes[16] = {};
    uint8_t  rows[16]     = {};

    void set(int tile, int n_rows, int n_bytes) {
        rows[tile]      = uint8_t(n_rows);
        row_bytes[tile] = uint16_t(n_bytes);
    }
};

// Tiles stay configured to the end of a call and no longer: while they are, a switch of threads saves their 8 KiB, and nobody
// else on this thread could use them.
inline void use_tiles(const TileConfig & config) {
#if defined(__GNUC__) && !defined(__clang__)
    __asm__ volatile("" : : "r"(&config) : "memory"); // GCC believes that only the first 8 bytes are read (its bug 114098)
#endif
    _tile_loadconfig(&config);
}

// Memory to ask for meanwhile: some bytes of it for each block of inputs.
struct Next {
    const uint8_t * p;
    size_t          step;
};

// Share `share` of n_shares of the n_bytes that follow n_blocks of weights.
inline Next next_of(const uint8_t * w, size_t n_bytes, int n_blocks, int share, int n_shares) {
    return {w + n_bytes + n_bytes / size_t(n_shares) * size_t(share), n_bytes / size_t(n_shares) / size_t(n_blocks)};
}

// --- A scale per block -----------------------------------------------------------------------------

// Tiles 0, 2, 4 and 1, 3, 5 take turns: sums, activations, weights.
inline void use_block_tiles(int n_rows) {
    TileConfig config;
    for (int i = 0; i < 2; ++i) {
        config.set(i, n_rows, lanes * 4);
        config.set(2 + i, n_rows, block_size);
        config.set(4 + i, block_size / 4, lanes * 4);
    }
    use_tiles(config);
}

inline void block_sums(int turn, const int8_t * x, const uint8_t * w, int32_t * sums) {
    if (turn == 0) {
        _tile_zero(0);
        _tile_loadd(2, x, block_size);
        _tile_loadd(4, w, group_bytes);
        _tile_dpbssd(0, 2, 4);
        _tile_stored(0, sums, lanes * 4);
    } else {
        _tile_zero(1);
        _tile_loadd(3, x, block_size);
        _tile_loadd(5, w, group_bytes);
        _tile_dpbssd(1, 3, 5);
        _tile_stored(1, sums, lanes * 4);
    }
}

// Blocks of inputs [first, first + n) of a call.
struct Slice {
    int first, n;
};

// A block of rows by half a panel. The sums of the next block of inputs are on their way while those of this one are scaled.
template <bool is_full> inline void block_tile(const Int8Tiles & t, Slice slice, int first_row, int half, Next next) {
    const int       n_rows  = is_full ? tile_rows : t.n_rows - first_row;
    const size_t    scales  = size_t(first_row) * t.n_blocks + size_t(slice.first) * tile_rows;
    const int8_t *  x       = t.x + scales * block_size;
    const float *   x_scale = t.x_scale + scales;
    const uint8_t * w       = t.w + size_t(slice.first) * block_bytes + half * lanes * 4;
    float *         y       = t.y + size_t(first_row) * panel_columns + half * lanes;

    vec total[tile_rows];
    CPU_UNROLL
    for (int r = 0; r < n_rows; ++r) {
        total[r] = slice.first > 0 ? load(y + r * panel_columns) : set(0);
    }
    alignas(64) int32_t sums[2][tile_rows * lanes];
    block_sums(0, x, w, sums[0]);
    for (int b = 0; b < slice.n; ++b, x_scale += tile_rows) {
        const float * w_scale = reinterpret_cast<const float *>(w + block_size / 4 * group_bytes);
        x += tile_rows * block_size;
        w += block_bytes;
        if (b + 1 < slice.n) {
            block_sums((b + 1) % 2, x, w, sums[(b + 1) % 2]);
        }
        prefetch(next.p, next.step);
        next.p += next.step;
        const vec       of_weights = load(w_scale);
        const int32_t * of_block   = sums[b % 2];
        CPU_UNROLL
        for (int r = 0; r < n_rows; ++r) {
            total[r] = fma(to_float(load_bytes(of_block + r * lanes)), mul(of_weights, set(x_scale[r])), total[r]);
        }
    }
    CPU_UNROLL
    for (int r = 0; r < n_rows; ++r) {
        store(y + r * panel_columns, total[r]);
    }
}

// Rows [begin, end): whole blocks of rows, or what is left over of one.
template <bool is_full> void block_tiles(const Int8Tiles & t, int begin, int end) {
    if (begin == end) {
        return;
    }
    use_block_tiles(is_full ? tile_rows : end - begin);
    const int n_shares = 2 * ((t.n_rows + tile_rows - 1) / tile_rows);
    for (int first = 0; first < t.n_blocks; first += slice_blocks) {
        const Slice     slice   = {first, t.n_blocks - first < slice_blocks ? t.n_blocks - first : slice_blocks};
        const uint8_t * w       = t.w + size_t(first) * block_bytes;
        const size_t    n_bytes = size_t(slice.n) * block_bytes;
        for (int row = begin; row < end; row += tile_rows) {
            for (int half = 0; half < 2; ++half) {
                block_tile<is_full>(t, slice, row, half, next_of(w, n_bytes, slice.n, 2 * (row / tile_rows) + half, n_shares));
            }
        }
    }
}

void block_tiles(const Int8Tiles & t) {
    const int n_full = t.n_rows / tile_rows * tile_rows;
    block_tiles<true>(t, 0, n_full);
    block_tiles<false>(t, n_full, t.n_rows);
    _tile_release();
}

// --- A scale per row -------------------------------------------------------------------------------

#ifndef CPU_FINE_BLOCKS

// Two blocks of rows at a time, so that tiles of weights are used twice. Tiles 0 to 3 are sums (rows x halves of the panel), 4 and
// 5 activations, 6 and 7 weights.
inline void use_row_tiles(int n_rows) {
    TileConfig config;
    for (int i = 0; i < 2; ++i) {
        const int n = n_rows - i * tile_rows < tile_rows ? n_rows - i * tile_rows : tile_rows;
        if (n > 0) {
            config.set(2 * i, n, lanes * 4);
            config.set(2 * i + 1, n, lanes * 4);
            config.set(4 + i, n, block_size);
        }
        config.set(6 + i, block_size / 4, lanes * 4);
    }
    use_tiles(config);
}

template <bool both> inline void row_tile(const Int8Tiles & t, int first_row, int n_rows, Next next) {
    const int8_t *  x       = t.x + size_t(first_row) * t.n_blocks * block_size;
    const int8_t *  x_below = x + size_t(tile_rows) * t.n_blocks * block_size;
    const uint8_t * w       = t.w;
    float *         y       = t.y + size_t(first_row) * panel_columns;
    _tile_zero(0);
    _tile_zero(1);
    if (both) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int b = 0; b < t.n_blocks; ++b, x += tile_rows * block_size, x_below += tile_rows * block_size, w += block_size / 4 * group_bytes) {
        prefetch(next.p, next.step);
        next.p += next.step;
        _tile_loadd(6, w, group_bytes);
        _tile_loadd(4, x, block_size);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(7, w + lanes * 4, group_bytes);
        _tile_dpbssd(1, 4, 7);
        if (both) {
            _tile_loadd(5, x_below, block_size);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
    }
    _tile_stored(0, y, panel_columns * 4); // as int32, for a moment
    _tile_stored(1, y + lanes, panel_columns * 4);
    if (both) {
        _tile_stored(2, y + tile_rows * panel_columns, panel_columns * 4);
        _tile_stored(3, y + tile_rows * panel_columns + lanes, panel_columns * 4);
    }
    const float * w_scale = reinterpret_cast<const float *>(w);
    for (int r = 0; r < n_rows; ++r, y += panel_columns) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            store(y + v * lanes, mul(to_float(as_int(load(y + v * lanes))), mul(load(w_scale + v * lanes), set(t.x_scale[first_row + r]))));
        }
    }
}

void row_tiles(const Int8Tiles & t) {
    const int    at_a_time = 2 * tile_rows, n_shares = (t.n_rows + at_a_time - 1) / at_a_time;
    const size_t n_bytes = size_t(panel_columns) * (size_t(t.n_blocks) * block_size + 4);
    for (int i = 0, configured = 0; i < n_shares; ++i) {
        const int n_rows = t.n_rows - i * at_a_time < at_a_time ? t.n_rows - i * at_a_time : at_a_time;
        if (n_rows != configured) {
            use_row_tiles(n_rows);
            configured = n_rows;
        }
        const Next next = next_of(t.w, n_bytes, t.n_blocks, i, n_shares);
        n_rows > tile_rows ? row_tile<true>(t, i * at_a_time, n_rows, next) : row_tile<false>(t, i * at_a_time, n_rows, next);
    }
    _tile_release();
}

#endif

} // namespace
} // namespace cpu::detail
