// Panels that keep the bytes of the model file's rows, and so its size: types that ggml alone reads, and panels whose rows have several
// types. Their rows become int8 codes, as int8_block panels hold, when the products are due.
#pragma once

#include "packed-weights.h"

namespace cpu::detail {

// As many neighbouring values as a super-block has.
constexpr int max_unit = 256;

// Values of a row to codes and a scale for each 32; a scale is NaN where the values are not finite. `bytes` are a row's or a part of it.
void decode_file_values(const FileRows & rows, const uint8_t * bytes, int n, int8_t * codes, float * scales);

// How a panel's columns share it: [n_in / unit][columns present][bytes of unit values].
struct FilePanel {
    static constexpr int max_columns = 64;

    const FileRows * rows[max_columns]; // null for a column without a row
    size_t           bytes[max_columns];
    int              unit;
    size_t           unit_bytes = 0;

    FilePanel(const PackedWeights & w, int panel);
    size_t size_bytes(const PackedWeights & w) const { return unit_bytes * size_t(w.n_in / unit); }

    // Writes a row into its column. Returns whether all its values are finite.
    bool pack(const PackedWeights & w, const uint8_t * row, uint8_t * panel, int column) const;
};

// Writes a panel as Int8Tiles reads it.
void unpack_file_panel(const PackedWeights & w, int panel, uint8_t * to);

} // namespace cpu::detail
