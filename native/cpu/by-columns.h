// Layers joined for few rows: the threads share each layer by its columns, all rows at once, in the steps of one job. With many
// rows they share the rows instead (joined.cpp), which saves the way to memory and back between the layers.
#pragma once

#include "panels.h"

namespace cpu::detail {

// Whether what lies between the layers fits.
bool fits_by_columns(const PackedWeights & up, const PackedWeights & down, int n_rows);

void feed_forward_by_columns(ThreadPool & pool, const LayerCall & up, const LayerCall & down, Workspace & workspace);
void post_norm_by_columns(ThreadPool & pool, const PostNormLayer & layer, const float * mixed, size_t mixed_stride, const float * x, size_t x_stride, int n_rows,
                          float * y, size_t y_stride, Workspace & workspace);

// Columns of a head of q, k and v lie together, so that mostly the thread that computed them reads them.
void self_attention_by_columns(ThreadPool & pool, const PackedWeights & qkv, const AttentionParams & params, const float * x, size_t x_stride, float * out,
                               Workspace & workspace);

} // namespace cpu::detail
