#include "backend.h"
#include "error.h"
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>

namespace bge {

static std::string lower(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
    return s;
}

// Vulkan drivers that compute on the CPU. ggml counts them as GPUs once GGML_VK_VISIBLE_DEVICES names them.
static bool is_software(const std::string & description) {
    for (const char * driver : {"llvmpipe", "lavapipe", "swiftshader", "basic render"}) {
        if (lower(description).find(driver) != std::string::npos) return true;
    }
    return false;
}

static const char * kind_of(ggml_backend_dev_t device) {
    if (is_software(ggml_backend_dev_description(device))) return "software";
    switch (ggml_backend_dev_type(device)) {
        case GGML_BACKEND_DEVICE_TYPE_CPU: return "cpu";
        case GGML_BACKEND_DEVICE_TYPE_GPU: return "gpu";
        case GGML_BACKEND_DEVICE_TYPE_IGPU: return "igpu";
        default: return "accel";
    }
}

std::vector<DeviceInfo> list_devices() {
    std::vector<DeviceInfo> out;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        DeviceInfo info;
        info.device = ggml_backend_dev_get(i);
        info.description = ggml_backend_dev_description(info.device);
        info.kind = kind_of(info.device);
        ggml_backend_dev_memory(info.device, &info.memory_free, &info.memory_total);
        std::string family = lower(ggml_backend_reg_name(ggml_backend_dev_backend_reg(info.device)));
        if (family == "mtl") family = "metal";
        const auto same = std::count_if(out.begin(), out.end(), [&](const DeviceInfo & d) { return d.name.rfind(family + ":", 0) == 0; });
        info.name = info.kind == "cpu" ? "cpu" : family + ":" + std::to_string(same);
        out.push_back(info);
    }
    return out;
}

static DeviceInfo find_device(const std::string & wanted) {
    const std::string name = lower(wanted);
    std::string known;
    for (const DeviceInfo & info : list_devices()) {
        if (info.name == name || info.name == name + ":0") return info;
        known += (known.empty() ? "" : ", ") + info.name;
    }
    throw Error("DEVICE_NOT_FOUND", "No device '" + wanted + "'; found: " + (known.empty() ? "none" : known));
}

static ggml_backend_ptr init(ggml_backend_dev_t device) {
    ggml_backend_ptr backend(ggml_backend_dev_init(device, nullptr));
    if (!backend) throw Error("DEVICE_NOT_FOUND", std::string("Device ") + ggml_backend_dev_name(device) + " does not start");
    return backend;
}

// Lets tests make a device seem smaller: bytes that graphs may take.
static size_t memory_limit() {
    const char * text = std::getenv("BGE_DEVICE_MEMORY");
    return text ? size_t(std::strtoull(text, nullptr, 10)) : SIZE_MAX;
}

Backend::Backend(const std::string & device, int n_threads, bool watched)
    : info_(find_device(device)), n_threads_(n_threads > 0 ? n_threads : cpu::physical_cores()) {
    backend_ = init(info_.device);
    if (!is_cpu()) return;
    if (watched) importance_ = std::make_unique<Importance>();
    else if (cpu::isa() != cpu::Isa::plain) kernels_ = std::make_unique<CpuKernels>(n_threads_);

    // Functions that only the CPU module has are asked for by name. With our kernels ggml keeps to one thread: its
    // own threads spin between nodes, ours sleep.
    const ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(info_.device);
    const auto set_n_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads"));
    const auto set_abort = reinterpret_cast<ggml_backend_set_abort_callback_t>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_abort_callback"));
    if (set_n_threads) set_n_threads(backend_.get(), kernels_ ? 1 : n_threads_);
    if (set_abort) set_abort(backend_.get(), [](void * flag) { return static_cast<std::atomic<bool> *>(flag)->load(); }, &stop_);
    if (kernels_) kernels_->pool.set_stop(&stop_);
}

ggml_backend_buffer_type_t Backend::buffer_type() const { return ggml_backend_dev_buffer_type(info_.device); }

size_t Backend::memory_free() const {
    if (is_cpu()) return SIZE_MAX;
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(info_.device, &free, &total);
    const size_t held = allocator_ ? ggml_gallocr_get_buffer_size(allocator_.get(), 0) : 0, limit = memory_limit();
    return std::min(total > 0 ? free : SIZE_MAX, limit > held ? limit - held : 0);
}

ggml_backend_buffer_ptr Backend::wrap_host(void * data, size_t n_bytes) const {
    const ggml_backend_dev_t device = is_cpu() ? info_.device : find_device("cpu").device;
    ggml_backend_buffer_ptr buffer(ggml_backend_dev_buffer_from_host_ptr(device, data, n_bytes, n_bytes));
    if (!buffer) throw Error("OUT_OF_MEMORY", "The CPU backend does not take mapped memory");
    ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    return buffer;
}

void Backend::release_buffers() {
    allocator_.reset();
    if (kernels_) kernels_->workspace = {};
}

// What the driver and other processes may still need of the memory that is free now.
static size_t usable(size_t free) { return free == SIZE_MAX ? free : free - free / 16; }

ggml_status Backend::run(ggml_cgraph * graph) {
    if (info_.kind != "software") return ggml_backend_graph_compute(backend_.get(), graph);
    // Mesa's lavapipe (22.3) crashes when a pipeline is made while another runs, as ggml does within one graph. Each
    // node alone waits for its end.
    const ggml_context_ptr context(ggml_init({ggml_graph_overhead_custom(1, false), nullptr, /*no_alloc*/ true}));
    ggml_cgraph * single = ggml_new_graph_custom(context.get(), 1, false);
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        if (stop_) return GGML_STATUS_ABORTED;
        ggml_graph_clear(single);
        ggml_graph_add_node(single, ggml_graph_node(graph, i));
        const ggml_status status = ggml_backend_graph_compute(backend_.get(), single);
        if (status != GGML_STATUS_SUCCESS) return status;
    }
    return GGML_STATUS_SUCCESS;
}

void Backend::compute(ggml_cgraph * graph, const std::function<void()> & set_inputs) {
    if (stop_) throw stopped();
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        const ggml_tensor * node = ggml_graph_node(graph, i);
        if (supports(node)) continue;
        const std::string type = node->src[0] ? std::string(" of ") + ggml_type_name(node->src[0]->type) : std::string();
        throw Error("MODEL_UNSUPPORTED", info_.name + " cannot compute " + ggml_op_desc(node) + type + ", which this model needs: convert it to f16 or q8_0, or use another device");
    }
    const auto no_memory = [&] { return Error("OUT_OF_MEMORY", "Not enough memory on " + info_.name + " for one batch; lower maxBatchTokens or maxLength"); };
    if (!allocator_) allocator_.reset(ggml_gallocr_new(buffer_type()));
    if (!is_cpu()) {
        // Drivers may swap to host memory, or stop the process, rather than fail; so what is needed is measured first.
        size_t needed = 0;
        ggml_gallocr_ptr measured(ggml_gallocr_new(buffer_type()));
        ggml_gallocr_reserve_n_size(measured.get(), graph, nullptr, nullptr, &needed);
        const size_t held = ggml_gallocr_get_buffer_size(allocator_.get(), 0);
        if (needed > held && needed > usable(memory_free()) + held) throw no_memory();
        if (needed > held) allocator_.reset(ggml_gallocr_new(buffer_type())); // else old and new would be held at once
    }
    if (!ggml_gallocr_alloc_graph(allocator_.get(), graph)) {
        allocator_.reset();
        throw no_memory();
    }
    set_inputs();
    const ggml_status status = run(graph);
    if (status == GGML_STATUS_ALLOC_FAILED) throw no_memory();
    if (stop_) throw stopped(); // kernels may have left tasks out
    if (status != GGML_STATUS_SUCCESS) throw Error("COMPUTE_FAILED", "The graph did not run to its end on " + info_.name);
}

} // namespace bge
