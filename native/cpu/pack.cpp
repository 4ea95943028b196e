// Repacks weights from the model file's rows into panels. See Format in kernels.h for the layouts.
#include "file-rows.h"
#include "half.h"
#include "low-bit.h"
#include "sizes.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace cpu {

using detail::FilePanel;
using detail::Format;
using detail::LowBit;
using detail::PackedWeights;
using detail::PanelType;

namespace {

// Q8_0 as in the file: the scale in f16, then 32 codes.
constexpr int    q8_0_block = 32;
constexpr size_t q8_0_bytes = 2 + q8_0_block;

size_t row_bytes(const WeightSource & source, int n_in) {
    if (source.row_bytes != 0) {
        return source.row_bytes;
    }
    switch (source.type) {
        case SourceType::f32:   return size_t(n_in) * 4;
        case SourceType::f16:
        case SourceType::bf16:  return size_t(n_in) * 2;
        case SourceType::q8_0:  return size_t(n_in) / q8_0_block * q8_0_bytes;
        default:                break;
    }
    throw std::invalid_argument("Expected `row_bytes` of a weight source of another type");
}

detail::FileRows file_rows(const WeightSource & source, int n_in) {
    const int block = std::max(source.block, q8_0_block);
    if (source.block > detail::max_unit || n_in % block != 0) {
        throw std::invalid_argument("Expected rows of whole blocks of " + std::to_string(block) + " values, got " + std::to_string(n_in));
    }
    return {source.n_rows, source.block, row_bytes(source, n_in), source.dequantize_row};
}

PanelType panel_type(const std::vector<WeightSource> & sources, WeightMode mode) {
    if (mode == WeightMode::row_int8) {
        return PanelType::int8_row;
    }
    auto all = [&](auto is) { return std::all_of(sources.begin(), sources.end(), [&](const WeightSource & s) { return is(s.type); }); };
    if (all([](SourceType t) { return t >= SourceType::q8_0; })) {
        return PanelType::int8_block;
    }
    if (all([](SourceType t) { return t == SourceType::f16; })) {
        return PanelType::f16;
    }
    if (all([](SourceType t) { return t == SourceType::bf16; })) {
        return PanelType::bf16;
    }
    return PanelType::f32;
}

void row_to_floats(const WeightSource & source, const unsigned char * row, float * out, int n_in) {
    switch (source.type) {
        case SourceType::f32:
            std::memcpy(out, row, size_t(n_in) * sizeof(float));
            return;
        case SourceType::f16:
        case SourceType::bf16:
            for (int i = 0; i < n_in; ++i) {
                uint16_t half;
                std::memcpy(&half, row + size_t(i) * 2, sizeof(half));
                out[i] = source.type == SourceType::f16 ? f16_to_float(half) : bf16_to_float(half);
            }
            return;
        case SourceType::q8_0:
            for (int i = 0; i < n_in; ++i) {
                const unsigned char * block = row + size_t(i / q8_0_block) * q8_0_bytes;
                uint16_t              scale;
                std::memcpy(&scale, block, sizeof(scale));
                out[i] = f16_to_float(scale) * float(int8_t(block[2 + i % q8_0_block]));
            }
            return;
        default:
            source.dequantize_row(row, out, n_in);
            return;
    }
}

// Writes single rows into their column of a panel.
class RowPacker {
    static constexpr int max_parts = 2; // blocks of Q8_0 in one of the format's

public:
    // `layout` is that of the panel.
    RowPacker(const PackedWeights & w, LowBit layout)
        : w_(w), f_(w.format()), layout_(layout), floats_(size_t(w.n_blocks) * f_.block), codes_(floats_.size()),
          scales_(!layout.has_block_scales() ? 0 : size_t(w.n_blocks) * w.columns) {}

    void pack(const WeightSource & source, const unsigned char * row, unsigned char * panel, int column) {
        switch (w_.type) {
            case PanelType::f32:
                row_to_floats(source, row, floats_.data(), w_.n_in);
                for (int k = 0; k < w_.n_in; ++k) {
                    finite_ = finite_ && std::isfinite(floats_[k]);
                    std::memcpy(panel + (size_t(k) * w_.columns + column) * 4, &floats_[k], 4);
                }
                return;
            case PanelType::f16:
            case PanelType::bf16: {
                const uint16_t exponent = w_.type == PanelType::f16 ? 0x7c00 : 0x7f80; // all its bits: NaN or infinite
                for (int k = 0; k < w_.n_in; ++k) {
                    uint16_t half;
                    std::memcpy(&half, row + size_t(k) * 2, sizeof(half));
                    finite_ = finite_ && (half & exponent) != exponent;
                    std::memcpy(panel + (size_t(k) * w_.columns + column) * 2, &half, sizeof(half));
                }
                return;
            }
            case PanelType::int8_block:
                layout_.kind == LowBit::none ? pack_blocks(source, row, panel, column) : pack_low_bits(source, row, panel, column);
                return;
            case PanelType::int8_row: {
                row_to_floats(source, row, floats_.data(), w_.n_in);
                const float scale = detail::to_codes(floats_.data(), int(floats_.size()), f_.row_max, codes_.data());
                const int   n     = int(codes_.size());
                finite_           = finite_ && std::isfinite(scale);
                place(codes_.data(), n, f_.row_offset, panel, column);
                std::memcpy(panel + size_t(n) * w_.columns + size_t(column) * 4, &scale, 4);
                return;
            }
        }
    }

    bool finite() const { return finite_; } // all weights so far

    // Writes the scales of a panel in fewer bits, once its rows are there. Returns their unit: they are f16, which reaches down to
    // 2^-14 in full precision, and scales of small weights are smaller.
    float finish(unsigned char * panel) const {
        float largest = 0;
        for (float scale : scales_) {
            largest = std::max(largest, std::fabs(scale));
        }
        if (!(largest > 0) || !std::isfinite(largest)) {
            return 1.0f;
        }
        int exponent;
        std::frexp(largest, &exponent);
        const float  unit     = std::ldexp(1.0f, exponent - 15);
        const size_t columns  = size_t(w_.columns), of_block = columns * size_t(layout_.block_bytes());
        for (size_t i = 0; i < scales_.size(); ++i) {
            const uint16_t half = float_to_f16(scales_[i] / unit);
            std::memcpy(panel + i / columns * of_block + of_block - columns * 2 + i % columns * 2, &half, sizeof(half));
        }
        return unit;
    }

private:
    // `n_bits` of the values 4 at once, from `first_bit` on: n * n_bits / 8 bytes hold those of a block of n, whose first value is e.
    // Returns where the bits after these begin.
    static unsigned char * add_bits(unsigned char * to, int n, int n_bits, int e, uint32_t q, int first_bit) {
        const int n_bytes = n / 8 * n_bits; // a power of two
        uint32_t  all;
        std::memcpy(&all, to + (e & (n_bytes - 1)), sizeof(all));
        all |= (q >> first_bit & 0x01010101u * ((1u << n_bits) - 1)) << e / n_bytes * n_bits;
        std::memcpy(to + (e & (n_bytes - 1)), &all, sizeof(all));
        return to + n_bytes;
    }

    void pack_low_bits(const WeightSource & source, const unsigned char * row, unsigned char * panel, int column) {
        const int n = 32 * w_.columns, bits = layout_.bits, low_bits = layout_.low_bits();
        for (int b = 0; b < w_.n_blocks; ++b) {
            detail::LowBitBlock block;
            detail::read_block(source.type, row, b, block);
            for (int k = 0; k < 32 && bits > 0; k += 4) {
                const int e = f_.group == 4 ? k * w_.columns + column * 4 : k / 8 * 8 * w_.columns + column * 8 + k % 8;
                uint32_t  q;
                std::memcpy(&q, block.q + k, sizeof(q));
                unsigned char * high = add_bits(panel, n, low_bits, e, q, 0);
                if (bits > low_bits) {
                    add_bits(high, n, bits - low_bits, e, q, low_bits);
                }
            }
            unsigned char * factors = panel + n / 8 * bits + column;
            panel += size_t(w_.columns) * size_t(layout_.block_bytes());
            if (layout_.is_super()) {
                for (int i = 0; i < layout_.n_factors(); ++i) {
                    factors[i * w_.columns] = block.factor[i];
                }
                if (b % 8 == 7) {
                    for (int i = 0; i < layout_.n_super_scales(); ++i, panel += size_t(w_.columns) * 2) {
                        finite_ = finite_ && std::isfinite(f16_to_float(block.scale[i]));
                        std::memcpy(panel + size_t(column) * 2, &block.scale[i], 2);
                    }
                }
                continue;
            }
            const detail::LowBitCodes codes = detail::codes_of(layout_, block);
            finite_                         = finite_ && std::isfinite(codes.scale);
            if (!layout_.is_table()) {
                for (int part = 0; part < layout_.parts; ++part) {
                    factors[part * w_.columns] = codes.factor[part];
                }
                if (layout_.kind == LowBit::affine) {
                    factors[layout_.parts * w_.columns] = static_cast<unsigned char>(codes.offset);
                }
            }
            scales_[size_t(b) * w_.columns + column] = codes.scale;
        }
    }

    void pack_blocks(const WeightSource & source, const unsigned char * row, unsigned char * panel, int column) {
        if (source.type != SourceType::q8_0) {
            row_to_floats(source, row, floats_.data(), w_.n_in);
        }
        const int    block       = f_.block;
        const size_t block_bytes = size_t(block + 4) * w_.columns;
        for (int first = 0; first < w_.n_in; first += block, panel += block_bytes) {
            float scale = source.type == SourceType::q8_0 ? q8_0_codes(row, first) : detail::to_codes(&floats_[size_t(first)], block, 127, codes_.data());
            finite_     = finite_ && std::isfinite(scale);
            if (std::fabs(scale) < 8.7e-19f) { // 2^-60 and less: kernels that add exponents could not tell it from others
                scale = 1.0f;
                std::fill(codes_.begin(), codes_.begin() + block, int8_t(0));
            }
            place(codes_.data(), block, f_.block_offset, panel, column);
            std::memcpy(panel + size_t(block) * w_.columns + size_t(column) * 4, &scale, 4);
        }
    }

    // Codes of the block at input `first` from the file's blocks of 32: as they are, or where several share a scale, rounded
    // to multiples of the largest. Returns it, or NaN where one is not finite.
    float q8_0_codes(const unsigned char * row, int first) {
        const int n_parts = std::min(f_.block, w_.n_in - first) / q8_0_block;
        float     scales[max_parts], largest = 0;
        for (int i = 0; i < n_parts; ++i) {
            uint16_t half;
            std::memcpy(&half, row + size_t(first / q8_0_block + i) * q8_0_bytes, sizeof(half));
            scales[i] = f16_to_float(half);
            if (!std::isfinite(scales[i])) {
                return std::numeric_limits<float>::quiet_NaN();
            }
            largest = std::max(largest, std::fabs(scales[i]));
        }
        std::fill(codes_.begin(), codes_.begin() + f_.block, int8_t(0));
        for (int i = 0; i < n_parts && largest > 0; ++i) {
            const auto * from  = reinterpret_cast<const int8_t *>(row + size_t(first / q8_0_block + i) * q8_0_bytes + 2);
            int8_t *     to    = codes_.data() + i * q8_0_block;
            const float  share = scales[i] / largest;
            if (share == 1.0f) {
                std::memcpy(to, from, q8_0_block);
                continue;
            }
            for (int k = 0; k < q8_0_block; ++k) {
                const float code = float(from[k]) * share;
                to[k]            = int8_t(std::min(127, int(code < 0 ? code - 0.5f : code + 0.5f))); // -128 times -1 has no code
            }
        }
        return largest;
    }

    void place(const int8_t * codes, int n, int offset, unsigned char * panel, int column) const {
        f_.group == 4 ? place_groups<4>(codes, n, offset, panel, column) : place_groups<8>(codes, n, offset, panel, column);
    }

    // The size of a group is known here, so that it is written at once.
    template <int group> void place_groups(const int8_t * codes, int n, int offset, unsigned char * panel, int column) const {
        unsigned char * to = panel + size_t(column) * group;
        for (int k = 0; k < n; k += group, to += size_t(w_.columns) * group) {
            unsigned char bytes[group];
            for (int i = 0; i < group; ++i) {
                bytes[i] = static_cast<unsigned char>(codes[k + i] + offset);
            }
            std::memcpy(to, bytes, group);
        }
    }

    const PackedWeights & w_;
    const Format &        f_;
    const LowBit          layout_;
    std::vector<float>    floats_; // one row, zeros after n_in
    std::vector<int8_t>   codes_;
    std::vector<float>    scales_; // of a panel in fewer bits, [n_blocks, columns]
    bool                  finite_ = true;
};

size_t panel_bytes(const PackedWeights & w) {
    const size_t columns = size_t(w.columns);
    const size_t padded  = size_t(w.n_blocks) * w.block();
    switch (w.type) {
        case PanelType::f32:        return columns * w.n_in * 4;
        case PanelType::f16:
        case PanelType::bf16:       return columns * w.n_in * 2;
        case PanelType::int8_block: return columns * w.n_blocks * (w.block() + 4);
        case PanelType::int8_row:   return columns * (padded + 4);
    }
    return 0;
}

// Where output `i` of source list position `half` lies: its panel and column.
struct Place {
    int panel, column;
};

Place place_of(const PackedWeights & w, int i, int half) {
    const int n = w.columns_out();
    return {i / n, i % n + half * n};
}

// How a panel's rows lie in it: in fewer bits where they all have few, and as in the file where those differ.
LowBit layout_of(const PackedWeights & w, const std::vector<WeightSource> & sources, int panel) {
    const int begin = panel * w.columns_out(), end = begin + w.columns_out();
    LowBit    layout{LowBit::none, 0, 0};
    int       first = 0, n_found = 0;
    for (const WeightSource & source : sources) {
        if (first < end && first + source.n_rows > begin) {
            const LowBit own = detail::low_bit_of(source);
            if (own.kind == LowBit::none) {
                return own;
            }
            layout = n_found++ > 0 && !(own == layout) ? LowBit{LowBit::file_rows, 0, 0} : own;
        }
        first = w.gated ? 0 : first + source.n_rows;
    }
    return layout;
}

// Places of panels in fewer bits; none where no panel is such. Returns the bytes of all.
size_t place_panels(PackedWeights & w, const std::vector<WeightSource> & sources) {
    if (w.type == PanelType::int8_block && w.blocks->unpack != nullptr) {
        size_t offset = 0;
        bool   any    = false;
        for (int p = 0; p < w.n_panels; ++p) {
            const LowBit layout = layout_of(w, sources, p);
            any                 = any || layout.kind != LowBit::none;
            w.unpacks           = w.unpacks || !is_read_as_is(*w.blocks, layout);
            w.unpacks_slowly    = w.unpacks_slowly || layout.kind == LowBit::file_rows || layout.is_codebook();
            w.places.push_back({offset, layout, 1.0f});
            offset += layout.kind == LowBit::none        ? w.panel_bytes
                      : layout.kind == LowBit::file_rows ? aligned(FilePanel(w, p).size_bytes(w))
                                                         : aligned(size_t(w.columns) * layout.column_bytes(w.n_blocks));
        }
        if (any) {
            return offset;
        }
        w.places.clear();
    }
    return size_t(w.n_panels) * w.panel_bytes;
}

std::unique_ptr<PackedWeights> pack(ThreadPool & pool, int n_in, const std::vector<WeightSource> & sources, const float * bias,
                                    WeightMode mode, bool gated) {
    auto w       = std::make_unique<PackedWeights>();
    w->kernels   = &detail::active_kernels();
    const bool any_low = std::any_of(sources.begin(), sources.end(), [](const WeightSource & s) { return detail::low_bit_of(s).kind != LowBit::none; });
    w->blocks          = &block_kernels(*w->kernels, any_low ? WeightMode::native : mode);
    w->type      = panel_type(sources, mode);
    w->n_in      = n_in;
    w->gated     = gated;
    w->n_out     = 0;
    for (const WeightSource & source : sources) {
        if (source.type == SourceType::q8_0 && n_in % q8_0_block != 0) {
            throw std::invalid_argument("Expected the rows of a Q8_0 weight to be multiples of 32 long, got " + std::to_string(n_in));
        }
        if (any_low) {
            w->file_rows.push_back(file_rows(source, n_in));
        }
        w->n_out += source.n_rows;
    }
    if (gated) {
        w->n_out /= 2;
    }
    const Format & f     = w->format();
    w->columns           = w->is_int8() ? f.int8_columns : f.float_columns;
    w->n_panels          = ceil_div(w->n_out, w->columns_out());
    w->n_blocks          = ceil_div(n_in, w->block());
    w->panel_bytes       = aligned(panel_bytes(*w));

    w->panels = Pages(place_panels(*w, sources));
    if (bias != nullptr) {
        w->bias.assign(size_t(w->n_panels) * w->columns, 0.0f);
        std::copy(bias, bias + w->n_out, w->bias.begin());
    }

    // A panel is one task. It takes its rows from the sources in order, so that each thread walks through the file.
    // Columns without a row, and inputs after n_in, stay zero.
    std::atomic<bool> finite{true};
    pool.parallel_for(w->n_panels, [&](int p, int) {
        const LowBit      layout = !w->places.empty() ? w->places[size_t(p)].layout : LowBit{LowBit::none, 0, 0};
        unsigned char *   panel  = w->panel(p);
        const FilePanel   file(*w, p);
        RowPacker         packer(*w, layout);
        int               first = 0; // of this source among the outputs
        for (size_t s = 0; s < sources.size(); ++s) {
            const WeightSource & source = sources[s];
            const int            half   = gated ? int(s) : 0;
            const int            from   = std::max(first, p * w->columns_out());
            const int            to     = std::min(first + source.n_rows, (p + 1) * w->columns_out());
            const size_t         stride = row_bytes(source, n_in);
            for (int i = from; i < to; ++i) {
                const auto * row    = static_cast<const unsigned char *>(source.data) + size_t(i - first) * stride;
                const int    column = place_of(*w, i, half).column;
                if (layout.kind != LowBit::file_rows) {
                    packer.pack(source, row, panel, column);
                } else if (!file.pack(*w, row, panel, column)) {
                    finite = false;
                }
            }
            first = gated ? 0 : first + source.n_rows;
        }
        if (layout.has_block_scales()) {
            w->places[size_t(p)].unit = packer.finish(panel);
        }
        if (!packer.finite()) {
            finite = false;
        }
    });
    if (!finite) {
        throw NotFinite();
    }
    return w;
}

} // namespace

PackedLinear::PackedLinear()                                    = default;
PackedLinear::~PackedLinear()                                   = default;
PackedLinear::PackedLinear(PackedLinear &&) noexcept            = default;
PackedLinear & PackedLinear::operator=(PackedLinear &&) noexcept = default;

int    PackedLinear::n_in() const { return weights_->n_in; }
int    PackedLinear::n_out() const { return weights_->n_out; }
bool   PackedLinear::is_gated() const { return weights_->gated; }
bool   PackedLinear::is_int8() const { return weights_->is_int8(); }
size_t PackedLinear::size_bytes() const { return weights_->size_bytes(); }

PackedLinear pack_linear(ThreadPool & pool, int n_in, const std::vector<WeightSource> & sources, const float * bias, WeightMode mode) {
    PackedLinear linear;
    linear.weights_ = pack(pool, n_in, sources, bias, mode, false);
    return linear;
}

PackedLinear pack_linear_gated(ThreadPool & pool, int n_in, const WeightSource & gate, const WeightSource & up, WeightMode mode) {
    if (gate.n_rows != up.n_rows) {
        throw std::invalid_argument("Expected gate and up to have as many rows, got " + std::to_string(gate.n_rows) + " and " +
                                    std::to_string(up.n_rows));
    }
    PackedLinear linear;
    linear.weights_ = pack(pool, n_in, {gate, up}, nullptr, mode, true);
    return linear;
}

} // namespace cpu
