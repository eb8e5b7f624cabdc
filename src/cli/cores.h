// How many threads are worth starting: no more than the processors that this process may use.
//
// The affinity mask (taskset, a container's cpuset, a NUMA binding by numactl) is one limit, the control groups' quota
// (`docker run --cpus`, a Kubernetes limit) the other: beyond it threads only wait for each other, and a team of them
// for the one that the kernel has stopped.
#ifndef INFENCLAVE_CLI_CORES_H_
#define INFENCLAVE_CLI_CORES_H_

#include <string>

namespace infenclave {

// At least 1.
int AvailableCores();

// The smallest quota on the way from the process's group to the root, in whole processors, rounded up; 0 if there is
// none. `groups` is the text of /proc/self/cgroup, `mount` where the hierarchies are (versions 1 and 2).
int QuotaOf(const std::string& groups, const std::string& mount);

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_CORES_H_
