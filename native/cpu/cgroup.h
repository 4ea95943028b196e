// The share of the CPUs that Linux control groups leave to this process: containers, systemd's CPUQuota=, Slurm.
#pragma once

#include <string>

namespace cpu {

// CPUs' worth of time, such as 1.5: the least that its group and those above allow, v1 or v2. 0 without a limit.
// `root` is put before every path, for tests.
double cgroup_cpus(const std::string & root = "");

} // namespace cpu
