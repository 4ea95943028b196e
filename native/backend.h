// Backend: one device that computes graphs. On the CPU it also owns the threads and scratch memory of our kernels.
#pragma once
#include "cpu/cpu.h"
#include "error.h"
#include "ggml-runtime.h"
#include "importance.h"
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace bge {

struct DeviceInfo {
    std::string name;        // as users write it: cpu, cuda:0, vulkan:1, metal
    std::string description;
    std::string kind;        // cpu, gpu, igpu, accel, or software: a GPU's interface computed by the CPU
    size_t memory_free = 0, memory_total = 0; // bytes
    ggml_backend_dev_t device = nullptr;
};

std::vector<DeviceInfo> list_devices();

// What our CPU kernels run on.
struct CpuKernels {
    explicit CpuKernels(int n_threads) : pool(n_threads) {}
    cpu::ThreadPool pool;
    cpu::Workspace workspace;
};

class Backend {
public:
    // Throws Error DEVICE_NOT_FOUND. n_threads below 1 = physical cores; CPU only. `watched`: linear layers keep the importance of
    // their inputs, and ggml computes, since our kernels join layers.
    Backend(const std::string & device, int n_threads, bool watched = false);

    const DeviceInfo & info() const { return info_; }
    bool is_cpu() const { return info_.kind == "cpu"; }
    // Our kernels, or null where stock ggml computes (other devices, BGE_CPU_ISA=plain).
    CpuKernels * kernels() const { return kernels_.get(); }
    Importance * importance() const { return importance_.get(); } // null unless it is watched

    ggml_backend_buffer_type_t buffer_type() const; // where weights live
    bool supports(const ggml_tensor * op) const { return ggml_backend_dev_supports_op(info_.device, op); }
    // Bytes of device memory that are free now. SIZE_MAX where the device does not tell, and on the CPU.
    size_t memory_free() const;
    // Host memory as a buffer of the CPU backend, without copying.
    ggml_backend_buffer_ptr wrap_host(void * data, size_t n_bytes) const;

    // Allocates and runs a graph, all of it on this device: a node it cannot compute is refused, not moved to the CPU.
    // `set_inputs` is called in between: the allocator may reuse an input's memory after its last reader, so inputs are
    // set before every run. Throws MODEL_UNSUPPORTED, OUT_OF_MEMORY (before anything ran) or COMPUTE_FAILED.
    void compute(ggml_cgraph * graph, const std::function<void()> & set_inputs);
    // Frees the memory that computing took; the next compute() allocates it anew.
    void release_buffers();
    // Makes a compute() in progress on another thread fail with CANCELLED, until resume(): on the CPU before the next task of a
    // kernel or the next node of stock ggml, elsewhere at its end.
    void interrupt() { stop_ = true; }
    void resume() {
        stop_ = false;
        if (aborted_) stop_ = true; // after, so that an abort() in between is not lost
    }
    // Likewise with CLOSED, and all later ones too.
    void abort() {
        aborted_ = true;
        stop_ = true;
    }

private:
    DeviceInfo info_;
    int n_threads_;
    std::unique_ptr<CpuKernels> kernels_;
    std::unique_ptr<Importance> importance_;
    ggml_backend_ptr backend_;
    ggml_gallocr_ptr allocator_; // of the graphs' memory; null until there is one
    std::atomic<bool> stop_{false}, aborted_{false};

    ggml_status run(ggml_cgraph * graph);
    Error stopped() const { return aborted_ ? Error("CLOSED", "The model is closed") : Error("CANCELLED", "The call was cancelled"); }
};

} // namespace bge
