// CPU quotas as Docker, systemd, Slurm and nested groups leave them in /proc and /sys.
#include "check.h"
#include "../../../native/cpu/cgroup.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace test {

namespace {

namespace fs = std::filesystem;

struct File {
    const char * path;
    const char * text;
};

double cpus_with(const std::vector<File> & files) {
    static int     n    = 0;
    const fs::path root = fs::temp_directory_path() / ("bge-cgroup-" + std::to_string(std::rand()) + "-" + std::to_string(n++));
    for (const File & file : files) {
        const fs::path path = root / (file.path + 1);
        fs::create_directories(path.parent_path());
        std::ofstream(path) << file.text;
    }
    const double cpus = cpu::cgroup_cpus(root.string());
    fs::remove_all(root);
    return cpus;
}

constexpr const char * v2 = "25 1 0:22 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char * v1 = "30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
                            "34 30 0:30 / /sys/fs/cgroup/cpuset rw shared:10 - cgroup cgroup rw,cpuset\n";
constexpr const char * v1_container = "933 930 0:29 /docker/4f2 /sys/fs/cgroup/cpu,cpuacct ro master:9 - cgroup cgroup rw,cpu,cpuacct\n";

} // namespace

void cgroup() {
#ifndef _WIN32
    const File mounts_2{"/proc/self/mountinfo", v2}, mounts_1{"/proc/self/mountinfo", v1};
    CHECK(cpus_with({}) == 0, "no /proc at all");
    CHECK(cpus_with({mounts_2, {"/proc/self/cgroup", "0::/\n"}}) == 0, "v2 without a limit");
    CHECK(cpus_with({mounts_2, {"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "150000 100000\n"}}) == 1.5, "v2 in a container");
    CHECK(cpus_with({mounts_2, {"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "max 100000\n"}}) == 0, "v2, max");
    CHECK(cpus_with({mounts_2,
                     {"/proc/self/cgroup", "0::/system.slice/rerank.service\n"},
                     {"/sys/fs/cgroup/system.slice/cpu.max", "max 100000\n"},
                     {"/sys/fs/cgroup/system.slice/rerank.service/cpu.max", "200000 100000\n"}}) == 2,
          "systemd's CPUQuota=200%");
    CHECK(cpus_with({mounts_2,
                     {"/proc/self/cgroup", "0::/a/b/c\n"},
                     {"/sys/fs/cgroup/a/cpu.max", "300000 100000\n"},
                     {"/sys/fs/cgroup/a/b/cpu.max", "100000 100000\n"},
                     {"/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n"}}) == 1,
          "v2, a group between allows least");
    CHECK(cpus_with({mounts_2, {"/proc/self/cgroup", "0::/../../other\n"}, {"/sys/fs/cgroup/cpu.max", "250000 50000\n"}}) == 5, "v2, outside of the namespace");
    CHECK(cpus_with({mounts_1,
                     {"/proc/self/cgroup", "12:cpuset:/\n4:cpu,cpuacct:/slurm/uid_0/job_7/step_0\n0::/init\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/slurm/uid_0/job_7/cpu.cfs_quota_us", "400000\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/slurm/uid_0/job_7/cpu.cfs_period_us", "100000\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/slurm/uid_0/job_7/step_0/cpu.cfs_quota_us", "-1\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/slurm/uid_0/job_7/step_0/cpu.cfs_period_us", "100000\n"}}) == 4,
          "v1, Slurm limits the job");
    CHECK(cpus_with({{"/proc/self/mountinfo", v1_container},
                     {"/proc/self/cgroup", "4:cpu,cpuacct:/docker/4f2/inner\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"}}) == 0.5,
          "v1 in a container that sees its own group as the root");
    CHECK(cpus_with({{"/proc/self/mountinfo", v1_container}, {"/proc/self/cgroup", "4:cpu,cpuacct:/elsewhere\n"}, {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"}}) == 0,
          "v1 without a limit");
#endif
}

} // namespace test
