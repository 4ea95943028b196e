// AMX's tiles as plain loops, by the pseudocode of Intel's manual (Software Developer's Manual, volume 2). What would be a fault on a
// chip, or reads a tile that nobody filled, is counted and printed: a test has to end without any.
#pragma once

#include <atomic>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

namespace emulated {

struct Tile {
    int     rows = 0, row_bytes = 0;
    bool    is_filled = false;
    uint8_t bytes[16][64] = {};
};

struct Tiles {
    bool is_configured = false;
    Tile tile[8];
};

inline thread_local Tiles tiles;
inline std::atomic<int>   n_tile_faults{0};
inline std::atomic<int>   n_threads_with_tiles{0}; // configured and not released
inline std::atomic<bool>  tells_tile_faults{true};

inline bool tile_check(bool ok, const char * what) {
    if (!ok) {
        ++n_tile_faults;
        if (tells_tile_faults) {
            fprintf(stderr, "emulated AMX: %s\n", what);
        }
    }
    return ok;
}

inline void release_tiles() {
    n_threads_with_tiles -= tiles.is_configured;
    tiles = Tiles();
}

inline void configure_tiles(const void * config) {
    uint8_t bytes[64];
    memcpy(bytes, config, sizeof(bytes));
    release_tiles();
    bool ok = tile_check(bytes[0] == 1, "ldtilecfg: palette is not 1") && tile_check(bytes[1] == 0, "ldtilecfg: does not start at row 0");
    for (int i = 2; i < 16; ++i) {
        ok = ok && tile_check(bytes[i] == 0, "ldtilecfg: reserved bytes are not zero");
    }
    for (int i = 0; i < 16 && ok; ++i) {
        const int rows = bytes[48 + i], row_bytes = bytes[16 + 2 * i] | bytes[17 + 2 * i] << 8;
        ok = tile_check(rows <= 16 && row_bytes <= 64, "ldtilecfg: a tile is too large") &&
             tile_check(i < 8 || rows + row_bytes == 0, "ldtilecfg: a tile past the eighth") &&
             tile_check((rows == 0) == (row_bytes == 0), "ldtilecfg: a tile of no rows or no bytes");
        if (i < 8) {
            tiles.tile[i].rows      = rows;
            tiles.tile[i].row_bytes = row_bytes;
        }
    }
    if (!ok) {
        tiles = Tiles();
        return;
    }
    tiles.is_configured = true;
    ++n_threads_with_tiles;
}

// Tile `i`, or null where there is none.
inline Tile * tile_of(int i) {
    return tile_check(tiles.is_configured && tiles.tile[i].rows > 0, "a tile that is not configured") ? &tiles.tile[i] : nullptr;
}

inline void zero_tile(int i) {
    if (Tile * t = tile_of(i)) {
        memset(t->bytes, 0, sizeof(t->bytes));
        t->is_filled = true;
    }
}

inline void load_tile(int i, const void * from, intptr_t stride) {
    if (Tile * t = tile_of(i)) {
        zero_tile(i);
        for (int r = 0; r < t->rows; ++r) {
            memcpy(t->bytes[r], static_cast<const char *>(from) + r * stride, size_t(t->row_bytes));
        }
    }
}

inline void store_tile(int i, void * to, intptr_t stride) {
    Tile * t = tile_of(i);
    if (t != nullptr && tile_check(t->is_filled, "tilestored: nobody filled the tile")) {
        for (int r = 0; r < t->rows; ++r) {
            memcpy(static_cast<char *>(to) + r * stride, t->bytes[r], size_t(t->row_bytes));
        }
    }
}

// Each sum of a product becomes next(sum, row of a, its column's first byte in b, inputs), where the tiles fit together.
template <typename Sum, typename F> void for_sums(int i_sums, int i_a, int i_b, const F & next) {
    Tile *sums = tile_of(i_sums), *a = tile_of(i_a), *b = tile_of(i_b);
    if (sums == nullptr || a == nullptr || b == nullptr || !tile_check(i_sums != i_a && i_sums != i_b && i_a != i_b, "a product of one tile twice") ||
        !tile_check(sums->is_filled && a->is_filled && b->is_filled, "a product of a tile that nobody filled") ||
        !tile_check(sums->rows == a->rows && a->row_bytes == 4 * b->rows && sums->row_bytes == b->row_bytes && b->row_bytes % 4 == 0,
                    "a product whose shapes do not match")) {
        return;
    }
    for (int r = 0; r < sums->rows; ++r) {
        for (int c = 0; c < sums->row_bytes / 4; ++c) {
            Sum sum;
            memcpy(&sum, sums->bytes[r] + 4 * c, sizeof(sum));
            sum = next(sum, a->bytes[r], b->bytes[0] + 4 * c, a->row_bytes);
            memcpy(sums->bytes[r] + 4 * c, &sum, sizeof(sum));
        }
    }
}

// tdpbssd: sums [rows, columns] of int32 += a [rows, k] times b [k / 4, columns, 4], in signed bytes.
inline void multiply_tiles(int i_sums, int i_a, int i_b) {
    for_sums<uint32_t>(i_sums, i_a, i_b, [](uint32_t sum, const uint8_t * a, const uint8_t * b, int n_bytes) {
        for (int k = 0; k < n_bytes; ++k) {
            sum += uint32_t(int8_t(a[k]) * int8_t(b[k / 4 * 64 + k % 4]));
        }
        return sum;
    });
}

inline float from_bf16(const unsigned char * p) {
    uint16_t half;
    memcpy(&half, p, sizeof(half));
    const uint32_t bits = (half & 0x7f80) == 0 ? uint32_t(half & 0x8000) << 16 : uint32_t(half) << 16; // below the normal numbers: 0
    float          x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

// tdpbf16ps: sums [rows, columns] of f32 += a [rows, k] times b [k / 2, columns, 2], the even and the odd of k first by themselves.
inline void multiply_bf16_tiles(int i_sums, int i_a, int i_b) {
    for_sums<float>(i_sums, i_a, i_b, [](float sum, const uint8_t * a, const uint8_t * b, int n_bytes) {
        float of[2] = {0, 0};
        for (int k = 0; k < n_bytes / 2; ++k) {
            of[k % 2] = fmaf(from_bf16(a + 2 * k), from_bf16(b + k / 2 * 64 + k % 2 * 2), of[k % 2]);
        }
        return sum + (of[0] + of[1]);
    });
}

} // namespace emulated
