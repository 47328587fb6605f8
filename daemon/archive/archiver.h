// The walk: from source tree to stored trees and chunks. What run_backup() does between taking the
// lock and committing; apart from it so that tests can run it on any sink and source.
// Blocking; runs its own threads and joins them before it returns.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/archive/admission.h"
#include "daemon/archive/backup.h"
#include "daemon/archive/change_signs.h"
#include "daemon/archive/checkpoint.h"
#include "daemon/archive/source_paths.h"
#include "daemon/archive/targets.h"
#include "daemon/policy/matcher.h"
#include "daemon/repository/blob_sink.h"
#include "daemon/repository/blob_source.h"
#include "daemon/repository/zone.h"
#include "daemon/runtime/fs.h"

namespace backup {

struct MeasureRequest;
struct SurveyRequest;

struct ArchiveInput {
    Fs& fs;
    BlobSink& sink;
    BlobSource& source;  // trees of the parent revision
    const Clock& clock;
    Progress& progress;
    ExceptionLog& exceptions;

    const TargetNode& targets;
    const ExcludeRules& exclude;
    const Matcher& matcher;
    const LookAt* look_at = nullptr;
    // The walk only compares with `parent_tree` and tells what differs; nothing is read or stored.
    const SurveyRequest* survey = nullptr;
    // The walk only counts, in the order that admission.h tells; likewise.
    const MeasureRequest* measure = nullptr;
    Admission* admission = nullptr;                          // what may come in; nullptr: all
    std::function<void(const std::string& path)> unsettled;  // see BackupRequest
    const Reread* reread = nullptr;                          // likewise
    std::vector<FileIdentity> never_enter;
    std::vector<std::string> absent;  // see BackupRequest
    std::optional<BlobId> parent_tree;
    Timestamp parent_time{};  // when the parent revision began to read
    bool full = false;
    const Checkpoint* resumed = nullptr;          // of a run that was interrupted
    const CheckpointPlan* checkpoints = nullptr;  // nullptr: none are made
    double read_back_percent = 0;                 // see BackupRequest

    std::uint64_t polynomial = 0;
    GoRules rules = GoRules::go122;
    std::shared_ptr<const Zone> zone;
    unsigned threads = 0;      // 0: chosen from the machine
    bool small_first = false;  // see BackupRequest
};

struct ArchiveOutcome {
    BlobId tree;
    // The part of the counts that the walk knows; blobs and stored bytes are the session's.
    BackupCounts counts;
    // Files of the parent revision that the walk accounted for: with a LookAt, all others are in
    // the tree as they were.
    std::uint64_t files_before = 0, bytes_before = 0;
    std::uint64_t directories_before = 0;  // likewise
    std::uint64_t compared = 0;            // objects, by a survey
    Measured measured;                     // likewise, of what was looked at
    std::vector<BlobHandle> read_back;     // of the new blobs, those to be read back
    ChangeSigns signs;  // of a backup with a parent revision; files_before is not set
};

// The error is one of the sink (nothing can be stored), `cancelled`, or `io` when the process
// itself ran out of descriptors or memory; what concerns single objects goes to the exceptions.
Result<ArchiveOutcome> archive_tree(const ArchiveInput& input, std::stop_token stop);

}  // namespace backup
