#include "file-rows.h"
#include "low-bit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cpu::detail {

namespace {

constexpr int block = 32; // values that share a scale

// A column's codes into a block of a panel, `group` neighbours at a time.
template <int group> void place_codes(const int8_t * codes, uint64_t flip, uint8_t * to, size_t run) {
    for (int k = 0; k < block; k += 8) {
        uint64_t eight;
        std::memcpy(&eight, codes + k, sizeof(eight));
        eight ^= flip;
        if (group == 8) {
            std::memcpy(to, &eight, 8);
        } else {
            const uint32_t first = uint32_t(eight), second = uint32_t(eight >> 32);
            std::memcpy(to, &first, 4);
            std::memcpy(to + run, &second, 4);
        }
        to += run * (8 / group);
    }
}

void place(const Format & f, int columns, const int8_t * codes, float scale, uint8_t * to, int column) {
    const size_t   run  = size_t(columns) * f.group;
    const uint64_t flip = f.block_offset == 0 ? 0 : 0x8080808080808080; // to add 128
    f.group == 8 ? place_codes<8>(codes, flip, to + size_t(column) * 8, run) : place_codes<4>(codes, flip, to + size_t(column) * 4, run);
    std::memcpy(to + size_t(block) * columns + size_t(column) * 4, &scale, sizeof(scale));
}

} // namespace

void decode_file_values(const FileRows & rows, const uint8_t * bytes, int n, int8_t * codes, float * scales) {
    float values[max_unit];
    rows.dequantize_row(bytes, values, n);
    for (int i = 0; i < n; i += block) {
        scales[i / block] = to_codes(values + i, block, 127, codes + i);
    }
}

FilePanel::FilePanel(const PackedWeights & w, int panel) : unit(block) {
    std::fill(rows, rows + max_columns, nullptr);
    const int begin = panel * w.columns_out(), end = begin + w.columns_out();
    int       first = 0, half = 0;
    for (const FileRows & of_source : w.file_rows) {
        const int from = std::max(begin, first), to = std::min(end, first + of_source.n_rows);
        for (int i = from; i < to; ++i) {
            rows[i - begin + half] = &of_source;
        }
        if (from < to) {
            unit = std::max(unit, of_source.block);
        }
        first = w.gated ? 0 : first + of_source.n_rows;
        half += w.gated ? w.columns_out() : 0;
    }
    for (int c = 0; c < w.columns; ++c) {
        bytes[c] = rows[c] == nullptr ? 0 : rows[c]->row_bytes / size_t(w.n_in / unit);
        unit_bytes += bytes[c];
    }
}

bool FilePanel::pack(const PackedWeights & w, const uint8_t * row, uint8_t * panel, int column) const {
    for (int c = 0; c < column; ++c) {
        panel += bytes[c];
    }
    bool finite = true;
    for (int first = 0; first < w.n_in; first += unit, row += bytes[column], panel += unit_bytes) {
        int8_t codes[max_unit];
        float  scales[max_unit / block];
        decode_file_values(*rows[column], row, unit, codes, scales);
        finite = finite && std::all_of(scales, scales + unit / block, [](float s) { return std::isfinite(s); });
        std::memcpy(panel, row, bytes[column]);
    }
    return finite;
}

void unpack_file_panel(const PackedWeights & w, int panel, uint8_t * to) {
    const FilePanel p(w, panel);
    const uint8_t * from        = w.panel(panel);
    const size_t    block_bytes = size_t(block + 4) * w.columns;
    int8_t          codes[max_unit] = {};
    float           scales[max_unit / block];
    for (int first = 0; first < w.n_in; first += p.unit, to += size_t(p.unit / block) * block_bytes) {
        for (int c = 0; c < w.columns; ++c) {
            if (p.rows[c] == nullptr) {
                std::fill(scales, scales + p.unit / block, 0.0f); // whatever the codes
            } else {
                decode_file_values(*p.rows[c], from, p.unit, codes, scales);
            }
            from += p.bytes[c];
            for (int b = 0; b < p.unit / block; ++b) {
                place(w.format(), w.columns, codes + b * block, scales[b], to + size_t(b) * block_bytes, c);
            }
        }
    }
}

} // namespace cpu::detail
