// What a PackedLinear holds.
#pragma once

#include "cpu.h"
#include "kernels.h"

namespace cpu::detail {

// How the panels are stored: f32, 16 bits that are widened on the way in, or int8 with scales per block of inputs or per row.
enum class PanelType { f32, f16, bf16, int8_block, int8_row };

inline const BlockKernels & block_kernels(const Kernels & k, WeightMode mode) { return mode == WeightMode::fast || k.fine == nullptr ? k.blocks : *k.fine; }

// Whether the products take such a panel as it lies.
inline bool is_read_as_is(const BlockKernels & blocks, LowBit layout) {
    return layout.kind == LowBit::none || (blocks.reads_low_bits && layout.kind != LowBit::file_rows && !layout.is_codebook());
}

// Rows of a source that some panels keep as they are in the file.
struct FileRows {
    int    n_rows, block; // values of a block of the type
    size_t row_bytes;
    void (*dequantize_row)(const void * row, float * out, int64_t n);
};

struct PackedWeights {
    const Kernels *      kernels; // that the layout was made for
    const BlockKernels * blocks;  // of these, for int8_block
    PanelType       type;
    int             n_in, n_out; // n_out counts gate and up rows of a gated layer once
    bool            gated;
    int             columns;     // outputs of a panel, gate and up counted apart
    int             n_panels;
    int             n_blocks;    // of block() inputs; the last one may be partly zeros
    size_t          panel_bytes; // of the largest panel

    std::vector<float> bias; // padded to whole panels, or empty
    Pages              panels;

    // Where panels lie in fewer bits, and how. Empty where all have panel_bytes.
    struct Place {
        size_t offset;
        LowBit layout;
        float  unit;
    };
    std::vector<Place>    places;
    std::vector<FileRows> file_rows; // of each source, beside places
    bool                  unpacks = false; // some panels, before their products
    bool                  unpacks_slowly = false; // some of these: codebooks and rows of the file

    bool                  is_int8() const { return type == PanelType::int8_block || type == PanelType::int8_row; }
    const Format &        format() const { return type == PanelType::int8_block ? blocks->format : kernels->format; }
    int                   block() const { return format().block; }
    int                   columns_out() const { return gated ? columns / 2 : columns; } // outputs of a panel
    unsigned char *       panel(int i) const { return panels.data() + (places.empty() ? size_t(i) * panel_bytes : places[size_t(i)].offset); }
    bool                  is_low_bit(int i) const { return !places.empty() && places[size_t(i)].layout.kind != LowBit::none; }
    size_t                int8_panel_bytes() const { return size_t(n_blocks) * columns * (block() + 4); } // of an int8_block panel
    size_t                size_bytes() const { return panels.size() + bias.size() * sizeof(float); }
};

} // namespace cpu::detail
