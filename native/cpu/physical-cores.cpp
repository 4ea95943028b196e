// How many threads to use: physical cores that this process may really run on.
#include "cgroup.h"
#include "cpu.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <utility>

#ifdef __linux__
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include "windows-api.h"
#endif

namespace cpu {

namespace {

int logical_cores() { return std::max(1, int(std::thread::hardware_concurrency())); }

#ifdef __linux__

// In whole cores, at least 1; a large number without a limit.
int quota_cores() {
    const double cpus = cgroup_cpus();
    return cpus > 0 ? std::max(1, int(cpus)) : 1 << 20;
}

// Cores among the CPUs we may run on; two hardware threads of one core share core id and package.
int allowed_cores() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        return logical_cores();
    }
    std::set<std::pair<int, int>> cores;
    int                           n_unknown = 0;
    for (int i = 0; i < CPU_SETSIZE; ++i) {
        if (!CPU_ISSET(i, &allowed)) {
            continue;
        }
        const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(i) + "/topology/";
        int               core = -1, package = -1;
        std::ifstream(folder + "core_id") >> core;
        std::ifstream(folder + "physical_package_id") >> package;
        if (core < 0) {
            ++n_unknown;
        } else {
            cores.insert({package, core});
        }
    }
    return std::max(1, int(cores.size()) + n_unknown);
}

#elif defined(_WIN32)

// Cores with a hardware thread we may run on. A process of several processor groups has no affinity mask (it reads 0)
// and may use all of them.
int allowed_cores() {
    DWORD n_bytes = 0;
    GetLogicalProcessorInformationEx(RelationProcessorCore, nullptr, &n_bytes);
    std::vector<char> info(n_bytes);
    if (n_bytes == 0 || !GetLogicalProcessorInformationEx(RelationProcessorCore, reinterpret_cast<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *>(info.data()), &n_bytes)) {
        return logical_cores();
    }
    DWORD_PTR process = 0, system = 0;
    USHORT    group = 0, n_groups = 1;
    GetProcessAffinityMask(GetCurrentProcess(), &process, &system);
    const bool limited = process != 0 && GetProcessGroupAffinity(GetCurrentProcess(), &n_groups, &group) && n_groups == 1;

    int n = 0;
    for (DWORD at = 0; at < n_bytes;) {
        const auto * core = reinterpret_cast<const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *>(info.data() + at);
        const auto & mask = core->Processor.GroupMask[0];
        n += !limited || (mask.Group == group && (mask.Mask & process) != 0);
        at += core->Size;
    }
    return std::max(1, n);
}

#endif

} // namespace

int physical_cores() {
#ifdef __linux__
    return std::min(allowed_cores(), quota_cores());
#elif defined(__APPLE__)
    for (const char * name : {"hw.perflevel0.physicalcpu", "hw.physicalcpu"}) {
        int    n    = 0;
        size_t size = sizeof(n);
        if (sysctlbyname(name, &n, &size, nullptr, 0) == 0 && n > 0) {
            return n;
        }
    }
    return logical_cores();
#elif defined(_WIN32)
    return allowed_cores();
#else
    return logical_cores();
#endif
}

} // namespace cpu
