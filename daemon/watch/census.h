// The writer census: which files are open for writing or mapped shared and writable by some
// process, or back a loop device. Such writers can change a file without any event (libaio, stores
// through a mapping, loop devices), so these files are looked at by stat until they are let go.
//
// One pass reads /proc of every process that we may see; a process of somebody else is skipped
// without privileges. Blocking; some 8 us per descriptor. Several passes may run at once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/result.h"

namespace backup {

struct HeldFile {
    // As /proc shows it now, bytes; of a process in another mount namespace: where we see the file,
    // if we do. A hint: the name may be gone (" (deleted)") while another one stays. Device and
    // inode are certain.
    std::string path;
    std::uint64_t device = 0, inode = 0;
    bool is_mapped = false;
};

struct CensusOptions {
    std::string proc = "/proc", sys = "/sys";
    // False: not of interest, and no further call is made for it.
    std::function<bool(const std::string& path)> wanted;
    std::int32_t own_pid = 0;  // left out; 0: nobody is
};

struct CensusResult {
    std::vector<HeldFile> files;  // each (device, inode) once, by path
    std::uint64_t processes = 0, processes_denied = 0, descriptors = 0;
};

Result<CensusResult> take_census(const CensusOptions& options);

}  // namespace backup
