// Function-pointer view of the ggml C API. The addon is not linked against ggml: ggml_runtime::open() loads the
// prebuilt libraries by absolute path and fills one pointer per function (with BGE_GGML_LINKED, ggml is compiled in and
// the pointers are filled by the linker). Engine code lives in namespace bge, where
// an ordinary call such as `ggml_init(params)` finds the pointer (a variable, which also turns argument-dependent
// lookup off), so it reads like any ggml code.
#pragma once
#include "ggml/ggml.h"
#include "ggml/ggml-alloc.h"
#include "ggml/ggml-backend.h"
#include "ggml/ggml-cpu.h"
#include "ggml/gguf.h"
#include <memory>
#include <string>
#include <vector>

// Functions of libggml-base that we call. Add a name here to use it.
#define BGE_GGML_BASE_FUNCTIONS(X) \
    X(ggml_version) X(ggml_commit) X(ggml_log_set) X(ggml_init) X(ggml_free) X(ggml_time_us) \
    X(ggml_new_tensor) X(ggml_new_tensor_1d) X(ggml_new_tensor_2d) X(ggml_new_tensor_3d) X(ggml_set_name) X(ggml_get_name) \
    X(ggml_set_input) X(ggml_set_output) X(ggml_nbytes) X(ggml_nelements) X(ggml_nrows) X(ggml_row_size) X(ggml_type_name) \
    X(ggml_type_size) X(ggml_blck_size) X(ggml_is_quantized) X(ggml_tensor_overhead) X(ggml_get_first_tensor) \
    X(ggml_get_next_tensor) X(ggml_get_tensor) X(ggml_n_dims) X(ggml_get_type_traits) X(ggml_quantize_chunk) \
    X(ggml_quantize_requires_imatrix) X(ggml_fp32_to_fp16_row) X(ggml_fp32_to_bf16_row) X(ggml_fp16_to_fp32_row) \
    X(ggml_bf16_to_fp32_row) X(ggml_element_size) X(ggml_is_contiguous) \
    X(ggml_mul_mat) X(ggml_mul_mat_set_prec) X(ggml_add) X(ggml_sub) X(ggml_mul) X(ggml_scale) X(ggml_norm) X(ggml_rms_norm) \
    X(ggml_gelu) X(ggml_gelu_erf) X(ggml_silu) X(ggml_tanh) X(ggml_sqr) X(ggml_relu) X(ggml_sigmoid) X(ggml_sum_rows) X(ggml_soft_max_ext) X(ggml_get_rows) \
    X(ggml_rope_ext) X(ggml_flash_attn_ext) X(ggml_flash_attn_ext_set_prec) X(ggml_custom_4d) X(ggml_map_custom1) \
    X(ggml_cont) X(ggml_cont_2d) X(ggml_permute) X(ggml_transpose) X(ggml_reshape_1d) X(ggml_reshape_2d) X(ggml_reshape_3d) \
    X(ggml_view_1d) X(ggml_view_2d) X(ggml_view_3d) X(ggml_cast) X(ggml_cpy) X(ggml_concat) X(ggml_repeat) X(ggml_set_rows) \
    X(ggml_new_graph_custom) X(ggml_build_forward_expand) X(ggml_graph_overhead_custom) X(ggml_graph_n_nodes) \
    X(ggml_gallocr_new) X(ggml_gallocr_free) X(ggml_gallocr_alloc_graph) X(ggml_gallocr_reserve) X(ggml_gallocr_get_buffer_size) \
    X(ggml_backend_alloc_ctx_tensors_from_buft) X(ggml_backend_buffer_free) X(ggml_backend_buffer_get_size) X(ggml_backend_buffer_get_base) \
    X(ggml_backend_buffer_set_usage) X(ggml_backend_buffer_is_host) X(ggml_backend_buft_alloc_buffer) X(ggml_backend_buft_get_alignment) X(ggml_backend_buft_is_host) \
    X(ggml_backend_buft_get_alloc_size) X(ggml_backend_buft_get_max_size) X(ggml_backend_buft_name) \
    X(ggml_backend_tensor_alloc) X(ggml_backend_view_init) X(ggml_backend_tensor_set) X(ggml_backend_tensor_get) X(ggml_backend_free) X(ggml_backend_name) \
    X(ggml_backend_synchronize) X(ggml_backend_graph_compute) X(ggml_backend_supports_op) X(ggml_backend_get_default_buffer_type) \
    X(ggml_backend_sched_free) X(ggml_graph_node) X(ggml_graph_add_node) X(ggml_graph_clear) X(ggml_op_desc) X(ggml_gallocr_reserve_n_size) X(ggml_backend_dev_name) X(ggml_backend_dev_description) X(ggml_backend_dev_memory) \
    X(ggml_backend_dev_init) X(ggml_backend_dev_buffer_type) X(ggml_backend_dev_type) X(ggml_backend_dev_get_props) \
    X(ggml_backend_dev_buffer_from_host_ptr) X(ggml_backend_dev_supports_op) X(ggml_backend_dev_backend_reg) \
    X(ggml_backend_reg_name) X(ggml_backend_reg_get_proc_address) X(ggml_backend_reg_dev_count) X(ggml_backend_reg_dev_get) \
    X(gguf_init_empty) X(gguf_init_from_file) X(gguf_free) X(gguf_type_name) X(gguf_get_version) X(gguf_get_alignment) \
    X(gguf_get_data_offset) X(gguf_get_n_kv) X(gguf_find_key) X(gguf_get_key) X(gguf_get_kv_type) X(gguf_get_arr_type) \
    X(gguf_get_val_u8) X(gguf_get_val_i8) X(gguf_get_val_u16) X(gguf_get_val_i16) X(gguf_get_val_u32) X(gguf_get_val_i32) \
    X(gguf_get_val_f32) X(gguf_get_val_u64) X(gguf_get_val_i64) X(gguf_get_val_f64) X(gguf_get_val_bool) X(gguf_get_val_str) \
    X(gguf_get_arr_n) X(gguf_get_arr_data) X(gguf_get_arr_str) X(gguf_get_n_tensors) X(gguf_find_tensor) \
    X(gguf_get_tensor_offset) X(gguf_get_tensor_name) X(gguf_get_tensor_type) X(gguf_get_tensor_size) \
    X(gguf_set_val_u8) X(gguf_set_val_i8) X(gguf_set_val_u16) X(gguf_set_val_i16) X(gguf_set_val_u32) X(gguf_set_val_i32) \
    X(gguf_set_val_f32) X(gguf_set_val_u64) X(gguf_set_val_i64) X(gguf_set_val_f64) X(gguf_set_val_bool) X(gguf_set_val_str) \
    X(gguf_set_arr_data) X(gguf_set_arr_str) X(gguf_add_tensor) X(gguf_write_to_file) X(gguf_get_meta_size)

// Functions of libggml, the registry of backends.
#define BGE_GGML_REGISTRY_FUNCTIONS(X) \
    X(ggml_backend_register) X(ggml_backend_dev_count) X(ggml_backend_dev_get)

namespace bge {

#define BGE_DECLARE(f) extern decltype(&::f) f;
BGE_GGML_BASE_FUNCTIONS(BGE_DECLARE)
BGE_GGML_REGISTRY_FUNCTIONS(BGE_DECLARE)
#undef BGE_DECLARE

// ggml's own smart pointers, read inside our namespace so that their deleters call the table.
#include "ggml/ggml-cpp.h"

namespace ggml_runtime {

struct Libraries {
    std::string base, ggml; // absolute paths of libggml-base and libggml
    std::string version;    // what ggml_version() must answer
};

struct Opened {
    std::string version, commit, from; // from: the file libggml-base really came from
    bool shared;                       // another user of ggml opened it first: its log sink is not ours to set
};

struct Module {
    std::string path;
    int score = 0;     // 0 = this processor cannot run it
    std::string error; // why it does not load
};

// The libggml-base that a library loaded now would be bound to by its name.
struct Held {
    std::string version, from; // from: its file; both empty when the process holds none
    bool ours;                 // it is the one open() chose
};

// Asked before anything is loaded: a libggml bound to the wrong base could not be taken out of the process again.
Held held(const std::string & base);
// Opens the libraries once per process; later calls return the first result. Throws Error GGML_NOT_FOUND or GGML_VERSION.
Opened open(const Libraries & libraries);
bool is_open();
// Score of a backend module, as ggml itself rates it. The module stays unloaded.
Module probe(const std::string & path);
// Maps a library for good, so that a module which needs one of its name finds it. Returns why it does not load, or "".
std::string preload(const std::string & path);
// Registers a backend module (once per process and path) and returns its devices' names.
std::vector<std::string> load_module(const std::string & path);

} // namespace ggml_runtime
} // namespace bge
