// The table of inner loops that an instruction set provides. The files that fill it are compiled with that
// set's flags, so they include plain structs only: an inline function of the standard library, compiled there and
// kept by the linker, would be an illegal instruction on an older chip.
#pragma once

#include "types.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace cpu::detail {

constexpr int usual_resident_rows = 96; // see Format

// How weights and activations lie in memory and how far their int8 codes reach.
//
// Weights lie in panels of `columns` outputs. f32: [n_in][columns]. int8: [n_in / group][columns][group], so that one load
// brings `group` neighbouring inputs of several outputs. Activations lie in blocks of rows: [n_in / x_group()][rows][x_group()].
// Chips that multiply unsigned by signed store weights + offset; the kernel starts its sums at -offset * sum(activations).
struct Format {
    int float_rows, float_columns;

    int int8_columns;
    int group;       // 4, or 8 for i8mm
    int block;       // inputs that share a scale
    int x_max;       // activations are quantised to [-x_max, x_max]; with multipliers, those of a scale per row
    int block_rows;  // int8 with a scale per block; weights reach [-127, 127]
    int block_offset;
    int row_rows;    // int8 with a scale per row
    int row_max;     // weights reach [-row_max, row_max]
    int row_offset;

    // Scales of blocks of activations keep this many bits of their mantissa, and their sums start at `sum_start`: see int8-kernels.h.
    int     scale_bits = 23;
    int32_t sum_start  = 0;

    // Words of multipliers that follow a row's codes of a block, each for as many inputs: see quantize-multiplied.h.
    int multipliers = 0;

    // Bytes of an activation. Two: it is a bf16 instead of a code, and has neither scale nor sum (see bf16-amx.h).
    int value_bytes = 1;

    // Rows of a task whose values, at most about 3000 of one, stay in the second-level cache. It is 2 MB on chips with AMX.
    int resident_rows = usual_resident_rows;
};

// Where scales keep few bits, values of 2^60 and more count as infinite, and as nothing below 2^-60.
constexpr float reach = 1.15292150e18f;

// Neighbouring inputs of a row of activations: i8mm loads 8 of two rows at once, others take 4 from anywhere.
constexpr int x_group(const Format & f) { return f.group == 4 ? f.block : f.group; }

// Bytes of a row's block of activations beside weights with a scale per block.
constexpr int x_bytes(const Format & f) { return f.block * f.value_bytes + 4 * f.multipliers; }

// How far multipliers and the codes with them reach. 32 products of 128, 127 and the largest multiplier fit an int32.
constexpr int multiplier_max = 4096, multiplied_max = 127;

// y [n_rows, n_panels * columns] = x [n_rows, n_k] times panels [n_k, columns], added to y when `accumulate`.
// Strides are in floats; x may lie either way round.
struct FloatTiles {
    const float *   x;
    ptrdiff_t       x_row, x_k;
    const float *   w;
    size_t          w_panel; // distance of two panels
    int             n_rows, n_k, n_panels;
    bool            accumulate;
    float *         y;
    size_t          y_row, y_panel;
    const uint8_t * next;      // memory to ask for meanwhile, from here on; any address will do
    size_t          next_step; // bytes of it for each of n_k
};

// How weights of 1 to 6 bits give int8 codes (low-bit.h). `parts` of a block have a factor of their own. From q2_k on 8 blocks share
// their scales, which follow them; from iq1_s on values are points of a codebook, with a bit for each sign from iq2_xxs on. Panels of
// file_rows are unpacked by file-rows.h.
struct LowBit {
    enum Kind : uint8_t { none, file_rows, affine, symmetric, iq4_table, fp4_table, q2_k, q3_k, iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s };
    Kind    kind;
    uint8_t bits, parts;

    constexpr bool is_table() const { return kind == iq4_table || kind == fp4_table; }
    constexpr bool is_super() const { return kind >= q2_k; }
    constexpr bool has_block_scales() const { return kind >= affine && !is_super(); }
    constexpr bool is_codebook() const { return kind >= iq1_s; }
    constexpr bool is_shifted() const { return kind == iq1_s || kind == iq1_m; } // values are beside their points

    // Points of a block, and values of each; bytes that hold what more than 8 bits of their numbers there are.
    constexpr int n_points() const { return kind >= iq3_xxs ? 8 : 4; }
    constexpr int point_values() const { return 32 / n_points(); }
    constexpr float codebook_unit() const { return kind == iq3_s ? 1.0f : kind == iq3_xxs ? 0.25f : 0.125f; } // of values and odd steps
    constexpr int n_high() const { return is_shifted() ? 2 : kind == iq2_xxs || kind == iq3_xxs ? 0 : 1; }

    // Of a column of a block of 32 inputs: bits that lie together, bytes of its own (factors and offset; or numbers of points, what is
    // above 8 bits of these, factors), and all bytes: low bits, higher ones, those, a scale in f16.
    constexpr int low_bits() const { return bits < 2 ? bits : bits < 4 ? 2 : 4; }
    constexpr int n_factors() const {
        return is_codebook() ? n_points() + n_high() + (kind == iq1_s ? 0 : 1) : is_table() ? 0 : parts + (kind == affine ? 1 : 0);
    }
    constexpr int block_bytes() const { return bits * 4 + n_factors() + (has_block_scales() ? 2 : 0); }

    // Of a column of 8 blocks, and its scales in f16.
    constexpr int n_super_scales() const { return kind == q2_k ? 2 : is_super() ? 1 : 0; }
    constexpr int super_bytes() const { return 8 * block_bytes() + 2 * n_super_scales(); }

    constexpr size_t column_bytes(int n_blocks) const { return is_super() ? size_t(n_blocks / 8) * super_bytes() : size_t(n_blocks) * block_bytes(); }

    bool operator==(const LowBit & b) const { return kind == b.kind && bits == b.bits && parts == b.parts; }
};

// y [n_rows, columns] from blocks of quantised rows and one panel.
struct Int8Tiles {
    const Format *  format;
    const int8_t *  x;       // [ceil(n_rows / rows)][n_in / x_group][rows][x_group], or [..][n_blocks][rows][codes, multipliers]
    const float *   x_scale; // [ceil(n_rows / rows)][n_blocks][rows], or [..][rows] with a scale per row
    const int32_t * x_sum;   // likewise: -offset * sum of the codes, plus sum_start with a scale per block
    const uint8_t * w;       // blocks of inputs: codes [block / group][columns][group], then f32 scales [columns];
                             // with a scale per row: codes [n_groups][columns][group], then scales [columns]
    int             n_rows, n_blocks;
    float *         y;       // rows of `columns` floats
    LowBit          layout = {LowBit::none, 0, 0}; // of w, and the unit of its scales, for kernels that read low bits
    float           unit   = 1;
    const uint8_t * next   = nullptr; // memory to ask for meanwhile, where that is not what follows w
    size_t          next_bytes = 0;
};

// What the 16 codes of IQ4_NL and IQ4_XS, and those of MXFP4, stand for. Source: ggml-common.h.
constexpr int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int8_t fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Writes a panel as Int8Tiles reads it, from blocks of 32 inputs in fewer bits.
struct Unpack {
    const uint8_t *  from;
    uint8_t *        to;
    int              n_blocks;
    LowBit           layout;
    float            unit; // of the scales
    const uint64_t * points; // of the codebook, if there is one
};

// Quantises rows into blocks of `rows` rows, see Int8Tiles. The first row is the first of its block.
struct Quantize {
    const Format * format;
    const float *  x; // [n_rows, n]
    size_t         x_stride;
    int            n_rows, n; // the last block of values is filled with zeros
    int            rows, offset;
    int8_t *       codes; // of the first block of rows; that of the next lies block_codes further on
    float *        scale; // a row's entries are `rows` apart; the next block of rows lies block_scales further on
    int32_t *      sum;
    size_t         block_codes, block_scales;
};

// One panel of finished sums on its way to y: y = residual + scale * activation(sums + bias).
// A gated panel holds gate outputs in its first half and up outputs in its second: y = activation(gate) * up.
struct Store {
    const float * sums; // rows of `columns` floats
    int           n_rows, columns, n_valid; // n_valid outputs are stored
    const float * bias; // [columns] or null
    Activation    activation;
    bool          gated;
    float         scale;
    const float * residual; // or null
    size_t        residual_stride;
    float *       y;
    size_t        y_stride;
};

// Scores of some query rows against a tile of keys become weights, with running maximum and sum.
struct Softmax {
    float *     scores; // [n_rows][stride]; only [first, end) of a row counts, the rest of [0, n) becomes 0
    size_t      stride;
    int         n_rows, n; // n is a multiple of 16
    const int * first;
    const int * end;
    float       scale, soft_cap;
    float *     max; // running; -inf at the start
    float *     sum;
    float *     rescale; // out: what the sums so far must be multiplied with
};

// Products of 16-bit codes, two to a 32-bit lane. The sums must fit an int32. n_k counts pairs, and so do the strides of x and w.
// y [n_rows, n_panels * columns] = x [n_rows, n_k] times panels [n_k, columns], and times column_scale; or, where that is null, times
// row_scale, added to y when `accumulate`, and times `finish` where there is one.
struct PairTiles {
    const int32_t * x;
    size_t          x_row;
    const int32_t * w;
    size_t          w_panel;
    int             n_rows, n_k, n_panels;
    const float *   column_scale; // [n_panels * columns] or null
    const float *   row_scale, * finish; // [n_rows]
    bool            accumulate;
    float *         y;
    size_t          y_row;
};

// Rows of n values to codes of +-code_max, with a scale each. Value i of row r is
// x[r * x_row + i / columns * x_panel + i % columns] + bias[i]; rows from n_first on are counted from `rest`.
struct PairCodes {
    const float * x;
    size_t        x_row, x_panel;
    int           n_first;
    const float * rest;
    const float * bias; // or null
    int           n_rows, n;
    float         code_max;
    int32_t *     codes;
    size_t        panel; // pairs from one panel of codes to the next
    float *       scale; // [n_rows]
};

// As Softmax, but what is left are codes of weight * key_scale: none above 32767, in sum at most code_sum and n / 2 for rounding.
struct PairSoftmax {
    float *       scores; // overwritten
    size_t        stride;
    int           n_rows, n;
    const int *   first;
    const int *   end;
    const float * scale; // [n_rows], of the scores
    float         soft_cap;
    const float * key_scale; // [n]
    float         code_sum;
    int16_t *     codes; // [n_rows][stride]
    float *       code_scale; // out: [n_rows]
    float *       max;
    float *       sum; // of weights
    float *       rescale;
};

struct Norm {
    const float * x;
    const float * add;      // or null
    const float * weight;
    const float * bias;     // or null
    const float * residual; // or null
    float *       y;
    int           n;
    float         eps;
};

// Attention in 16-bit codes, for chips that multiply those faster than floats. Codes are integers with a scale or, with AMX, bf16 whose
// scales are not looked at.
struct PairKernels {
    int max_rows; // of PairTiles
    void (*tiles)(const PairTiles &);
    void (*rows)(const PairCodes &);   // codes [n_rows, n / 2]
    void (*panels)(const PairCodes &); // panels of pairs of rows [ceil(n_rows / 2), columns]; a row too few and columns after n are zeros
    void (*softmax)(const PairSoftmax &);
};

// int8 products with a scale per block of inputs.
struct BlockKernels {
    Format format;
    void (*tiles)(const Int8Tiles &);
    void (*quantize)(const Quantize &);
    void (*unpack)(const Unpack &); // null where blocks are not of 32 inputs
    bool reads_low_bits = false;    // `tiles` takes panels of 4 to 6 bits as they are
};

struct Kernels {
    Isa    isa;
    Format format;

    void (*float_tiles)(const FloatTiles &); // at most float_rows rows
    // to [n_columns, to_row] = from [n_rows, from_row] turned over; no float after the n_rows of a row of `to` is touched
    void (*transpose)(const float * from, size_t from_row, int n_rows, int n_columns, float * to, size_t to_row);
    // Panels [n_rows, float_columns], `panel` floats apart, of rows of n values; the last panel ends in zeros.
    void (*to_panels)(const float * from, size_t from_row, int n_rows, int n, float * to, size_t panel);
    void (*widen_f16)(const uint16_t * from, float * to, size_t n);
    void (*widen_bf16)(const uint16_t * from, float * to, size_t n);
    BlockKernels blocks;
    const BlockKernels * fine; // the same with shorter blocks and exact scales; null where `blocks` are such
    void (*row_tiles)(const Int8Tiles &);
    void (*quantize_rows)(const Quantize &);
    void (*store)(const Store &);

    void (*softmax)(const Softmax &);
    void (*scale_row)(float * x, int n, float scale);

    void (*layer_norm)(const Norm &);
    void (*rms_norm)(const Norm &);
    void (*rope_halves)(float * x, const float * cos, const float * sin, int half);
    void (*rope_pairs)(float * x, const float * cos, const float * sin, int half);
    void (*scale_add)(float scale, const float * a, const float * b, float * y, int n);
    void (*activate)(Activation activation, const float * x, float * y, int n);

    PairKernels pairs; // nulls where they would gain nothing
};

// Null where the build or the architecture lacks them; the caller has checked that the chip can run them.
extern const BlockKernels avx_vnni_fine_blocks, avx512_vnni_fine_blocks, dotprod_fine_blocks, i8mm_fine_blocks;

const Kernels * scalar_kernels();
const Kernels * avx2_kernels();
const Kernels * avx_vnni_kernels();
const Kernels * avx512_kernels();
const Kernels * avx512_vnni_kernels();
const Kernels * amx_kernels();
const Kernels * neon_kernels();
const Kernels * dotprod_kernels();
const Kernels * i8mm_kernels();

const Kernels & kernels(Isa isa);
const Kernels & active_kernels(); // of cpu::isa(), or of what use_isa() set

// For tests and benchmarks: overrides what active_kernels() gives, for layers packed from then on too.
void use_isa(Isa isa);

} // namespace cpu::detail
