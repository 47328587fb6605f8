// A measuring walks the source as a backup would, reads no content, and counts: what is in the
// parent revision and stays, what is new, what a rule leaves out. One thread, in the order that
// admission.h tells, so that a plan can be made on the way. Blocking.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "common/result.h"
#include "daemon/archive/archiver.h"
#include "daemon/repository/snapshot.h"

namespace backup {

struct MeasureRequest {
    const Limits* limits = nullptr;           // of files that are counted apart
    const SnapshotSummary* parent = nullptr;  // of the parent revision, if it has one
    Admission* plan = nullptr;                // told what is new and what changed
    // An object that a rule leaves out, with all that it holds: pattern cachedir-tag (but for its
    // tag) nodump larger-than one-file-system own. Of a directory its path alone is told.
    std::function<void(const std::string& path, const char* rule)> left_out;
    // Each object that the revision would have; bytes of files.
    std::function<void(const std::string& path, bool is_file, std::uint64_t size)> taken;
};

// `walk`: the backup's own; its progress and exceptions are not touched.
Result<Measured> measure_source(const ArchiveInput& walk, const MeasureRequest& request,
                                std::stop_token stop);

}  // namespace backup
