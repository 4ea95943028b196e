#include "cgroup.h"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

namespace cpu {

namespace {

// Where a hierarchy is mounted, and which of its groups that shows: in a container often its own, so that paths begin there.
struct Mount {
    std::string point, group;
    bool        v2;
};

bool has_word(const std::string & list, const std::string & word) { // of words between commas
    return ("," + list + ",").find("," + word + ",") != std::string::npos;
}

// See proc(5): ... id parent major:minor ROOT POINT options [fields] - TYPE source OPTIONS
std::vector<Mount> read_mounts(const std::string & root) {
    std::vector<Mount> mounts;
    std::ifstream      file(root + "/proc/self/mountinfo");
    for (std::string line; std::getline(file, line);) {
        const size_t dash = line.find(" - ");
        if (dash == std::string::npos) {
            continue;
        }
        std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
        std::string        skipped, group, point, type, options;
        before >> skipped >> skipped >> skipped >> group >> point;
        after >> type >> skipped >> options;
        if (type == "cgroup2" || (type == "cgroup" && has_word(options, "cpu"))) {
            mounts.push_back({point, group, type == "cgroup2"});
        }
    }
    return mounts;
}

// This process's group in the hierarchy of v2, or of v1's cpu controller; empty without one. Lines are ID:CONTROLLERS:PATH.
std::string own_group(const std::string & root, bool v2) {
    std::ifstream file(root + "/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) {
            continue;
        }
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (v2 ? controllers.empty() : has_word(controllers, "cpu")) {
            return line.substr(second + 1);
        }
    }
    return {};
}

// 0 = no limit.
double cpus_of(const std::string & folder, bool v2) {
    std::string quota;
    double      period = 0;
    if (v2) {
        std::ifstream(folder + "/cpu.max") >> quota >> period; // "max 100000" or "150000 100000"
    } else {
        std::ifstream(folder + "/cpu.cfs_quota_us") >> quota; // -1 = none
        std::ifstream(folder + "/cpu.cfs_period_us") >> period;
    }
    const double microseconds = std::atof(quota.c_str()); // of "max": 0
    return microseconds > 0 && period > 0 ? microseconds / period : 0;
}

} // namespace

double cgroup_cpus(const std::string & root) {
    double least = 0;
    for (const Mount & mount : read_mounts(root)) {
        std::string       group  = own_group(root, mount.v2);
        const std::string shown  = mount.group == "/" ? "" : mount.group;
        const bool        inside = group.compare(0, shown.size(), shown) == 0 && (group.size() == shown.size() || group[shown.size()] == '/');
        group                    = inside ? group.substr(shown.size()) : "";
        // From the own group up to where the hierarchy is mounted. What lies outside of a namespace reads /..
        for (group = group == "/" || group.compare(0, 3, "/..") == 0 ? "" : group;; group.resize(group.find_last_of('/'))) {
            const double cpus = cpus_of(root + mount.point + group, mount.v2);
            least             = cpus > 0 && (least == 0 || cpus < least) ? cpus : least;
            if (group.empty()) {
                break;
            }
        }
    }
    return least;
}

} // namespace cpu
