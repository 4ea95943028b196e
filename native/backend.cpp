#include "backend.h"
#include "error.h"
#include <algorithm>
#include <cctype>

namespace bge {

static std::string lower(std::string s) {
    std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
    return s;
}

static const char * kind_of(enum ggml_backend_dev_type type) {
    switch (type) {
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
        info.kind = kind_of(ggml_backend_dev_type(info.device));
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

Backend::Backend(const std::string & device, int n_threads) : info_(find_device(device)), n_threads_(n_threads > 0 ? n_threads : cpu::physical_cores()) {
    const DeviceInfo cpu_info = is_cpu() ? info_ : find_device("cpu");
    cpu_ = init(cpu_info.device);
    if (!is_cpu()) device_ = init(info_.device);
    if (is_cpu() && cpu::isa() != cpu::Isa::plain) kernels_ = std::make_unique<CpuKernels>(n_threads_);

    // Functions that only the CPU module has are asked for by name. With our kernels ggml keeps to one thread: its
    // own threads spin between nodes, ours sleep.
    const ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(cpu_info.device);
    const auto set_n_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads"));
    const auto set_abort = reinterpret_cast<ggml_backend_set_abort_callback_t>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_abort_callback"));
    if (set_n_threads) set_n_threads(cpu_.get(), kernels_ ? 1 : n_threads_);
    if (set_abort) set_abort(cpu_.get(), [](void * flag) { return static_cast<std::atomic<bool> *>(flag)->load(); }, &aborted_);
}

ggml_backend_buffer_type_t Backend::buffer_type() const { return ggml_backend_dev_buffer_type(info_.device); }
ggml_backend_buffer_type_t Backend::host_buffer_type() const { return ggml_backend_get_default_buffer_type(cpu_.get()); }

ggml_backend_buffer_ptr Backend::wrap_host(void * data, size_t n_bytes) const {
    const ggml_backend_dev_t device = is_cpu() ? info_.device : find_device("cpu").device;
    ggml_backend_buffer_ptr buffer(ggml_backend_dev_buffer_from_host_ptr(device, data, n_bytes, n_bytes));
    if (!buffer) throw Error("OUT_OF_MEMORY", "The CPU backend does not take mapped memory");
    ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    return buffer;
}

void Backend::release_buffers() {
    sched_.reset();
    sched_nodes_ = 0;
    if (kernels_) kernels_->workspace = {};
}

void Backend::compute(ggml_cgraph * graph, const std::function<void()> & set_inputs) {
    const size_t n_nodes = size_t(ggml_graph_n_nodes(graph)) * 2 + 256; // room for leafs and copies between devices
    if (n_nodes > sched_nodes_) {
        ggml_backend_t backends[] = {device_ ? device_.get() : cpu_.get(), cpu_.get()};
        sched_.reset();
        sched_.reset(ggml_backend_sched_new(backends, nullptr, device_ ? 2 : 1, n_nodes, /*parallel*/ false, /*op_offload*/ false));
        sched_nodes_ = n_nodes;
    }
    ggml_backend_sched_reset(sched_.get());
    if (!ggml_backend_sched_alloc_graph(sched_.get(), graph)) {
        throw Error("OUT_OF_MEMORY", "Not enough memory on " + info_.name + " for one batch; lower maxBatchTokens or maxLength");
    }
    set_inputs();
    const ggml_status status = ggml_backend_sched_graph_compute(sched_.get(), graph);
    if (status == GGML_STATUS_ALLOC_FAILED) throw Error("OUT_OF_MEMORY", "Not enough memory on " + info_.name + " for one batch; lower maxBatchTokens or maxLength");
    if (status != GGML_STATUS_SUCCESS) throw Error(aborted_ ? "CLOSED" : "COMPUTE_FAILED", "The graph did not run to its end on " + info_.name);
}

} // namespace bge
