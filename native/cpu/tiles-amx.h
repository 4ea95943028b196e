// What all kernels in AMX's tiles share: configurations, and sums that come and go.
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

constexpr int tile_rows     = 16;
constexpr int tile_bytes    = 64; // of a row
constexpr int panel_columns = lanes * panel_vectors;
constexpr int group_bytes   = panel_columns * 4;

// As ldtilecfg reads it.
struct TileConfig {
    uint8_t  palette       = 1;
    uint8_t  rest[15]      = {};
    uint16_t row_bytes[16] = {};
    uint8_t  rows[16]      = {};

    void set(int tile, int n_rows, int n_bytes = tile_bytes) {
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

// Two blocks of rows by a panel: tiles 0 to 3 are sums (rows x halves of the panel), 4 and 5 activations, 6 and 7 weights, so that
// each of the latter is used twice.
inline void use_product_tiles(int n_rows) {
    TileConfig config;
    for (int i = 0; i < 2; ++i) {
        const int n = n_rows - i * tile_rows < tile_rows ? n_rows - i * tile_rows : tile_rows;
        if (n > 0) {
            config.set(2 * i, n);
            config.set(2 * i + 1, n);
            config.set(4 + i, n);
        }
        config.set(6 + i, tile_rows);
    }
    use_tiles(config);
}

// Sums of two blocks of rows or one, from and to rows of a panel's columns.
template <bool both> inline void zero_sums() {
    _tile_zero(0);
    _tile_zero(1);
    if (both) {
        _tile_zero(2);
        _tile_zero(3);
    }
}

template <bool both> inline void load_sums(const float * y) {
    _tile_loadd(0, y, panel_columns * 4);
    _tile_loadd(1, y + lanes, panel_columns * 4);
    if (both) {
        _tile_loadd(2, y + tile_rows * panel_columns, panel_columns * 4);
        _tile_loadd(3, y + tile_rows * panel_columns + lanes, panel_columns * 4);
    }
}

template <bool both> inline void store_sums(float * y) {
    _tile_stored(0, y, panel_columns * 4);
    _tile_stored(1, y + lanes, panel_columns * 4);
    if (both) {
        _tile_stored(2, y + tile_rows * panel_columns, panel_columns * 4);
        _tile_stored(3, y + tile_rows * panel_columns + lanes, panel_columns * 4);
    }
}

} // namespace
} // namespace cpu::detail
