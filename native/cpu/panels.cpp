#include "panels.h"
#include "file-rows.h"
#include "low-bit.h"

#include <algorithm>

namespace cpu::detail {

void quantize(const PackedWeights & w, const QuantizedRows & q, const float * x, size_t x_stride, int n_rows, int n, int first_row, int first_input) {
    const bool   per_row = w.type == PanelType::int8_row;
    const size_t block   = size_t(first_row / q.rows);
    const size_t scale   = block * q.n_scales + (per_row ? 0 : size_t(first_input / w.block()) * q.rows);

    Quantize args;
    args.format       = &w.format();
    args.x            = x;
    args.x_stride     = x_stride;
    args.n_rows       = n_rows;
    args.n            = n;
    args.rows         = q.rows;
    args.offset       = q.offset;
    args.codes        = q.codes + block * q.code_bytes + size_t(first_input / w.block()) * q.of_block * q.rows;
    args.scale        = q.scales + scale;
    args.sum          = q.sums + scale;
    args.block_codes  = q.code_bytes;
    args.block_scales = q.n_scales;
    per_row ? w.kernels->quantize_rows(args) : w.blocks->quantize(args);
}

void int8_panel(const PackedWeights & w, const QuantizedRows & q, int first_row, int n_rows, int panel, float * sums, unsigned char * unpacked) {
    const size_t block = size_t(first_row / q.rows);

    Int8Tiles args;
    args.format   = &w.format();
    args.x        = q.codes + block * q.code_bytes;
    args.x_scale  = q.scales + block * q.n_scales;
    args.x_sum    = q.sums + block * q.n_scales;
    args.w        = w.panel(panel);
    args.n_rows   = n_rows;
    args.n_blocks = w.n_blocks;
    args.y        = sums;
    if (w.is_low_bit(panel)) {
        const PackedWeights::Place & place = w.places[size_t(panel)];
        if (is_read_as_is(*w.blocks, place.layout)) {
            args.layout = place.layout;
            args.unit   = place.unit;
        } else {
            place.layout.kind == LowBit::file_rows ? unpack_file_panel(w, panel, unpacked) : w.blocks->unpack({args.w, unpacked, w.n_blocks, place.layout, place.unit, codebook_of(place.layout)});
            args.next       = panel + 1 < w.n_panels ? w.panel(panel + 1) : args.w;
            args.next_bytes = size_t(args.next - args.w); // the next panel is as long as this one, if not of another type
            args.w          = unpacked;
        }
    }
    w.type == PanelType::int8_row ? w.kernels->row_tiles(args) : w.blocks->tiles(args);
}

void store_panel(const LayerCall & call, int first_row, int n_rows, int panel, const float * sums, float * y, size_t y_stride) {
    const PackedWeights & w       = call.w;
    const int             columns = w.columns_out();
    const int             column  = panel * columns;
    const Epilogue &      e       = call.epilogue;

    Store s;
    s.sums            = sums;
    s.n_rows          = n_rows;
    s.columns         = w.columns;
    s.n_valid         = std::min(columns, w.n_out - column);
    s.bias            = w.bias.empty() ? nullptr : w.bias.data() + column;
    s.activation      = w.is_int8() && e.activation == Activation::gelu_erf ? Activation::gelu_near : e.activation;
    s.gated           = w.gated;
    s.scale           = e.scale;
    s.residual        = e.residual != nullptr ? e.residual + size_t(first_row) * e.residual_stride + column : nullptr;
    s.residual_stride = e.residual_stride;
    s.y               = y;
    s.y_stride        = y_stride;
    call.kernels.store(s);
}

void store_panel(const LayerCall & call, int first_row, int n_rows, int panel, const float * sums) {
    store_panel(call, first_row, n_rows, panel, sums, call.y + size_t(first_row) * call.y_stride + size_t(panel) * call.w.columns_out(), call.y_stride);
}

} // namespace cpu::detail
