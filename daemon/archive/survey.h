// A survey compares the source with a revision by metadata and tells what differs, without reading
// any content: the reconcile scan after a start, and the scrubber that looks for what tracking
// missed. It walks like a backup does (same order, same rules of what is excluded) and writes
// nothing. Blocking; runs its own threads and joins them before it returns.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/result.h"
#include "daemon/archive/backup.h"

namespace backup {

// One name that is not as the revision has it.
struct SurveyFinding {
    enum class Kind : std::uint8_t {
        // The revision has nothing, another kind of object, or another directory under this name.
        created,
        gone,
        content,   // size, mtime or inode differ: content may
        metadata,  // only ctime, mode, owner, link count: content cannot (as far as stamps tell)
        unproven,  // nothing, but the stamps prove nothing of this file (`reread`)
        unreadable,
    };
    Kind kind{};
    std::string directory;  // absolute path
    std::string name;
    bool is_directory = false;
};

struct SurveyRequest {
    const BackupSet* set = nullptr;
    RevisionEntry revision;
    std::vector<Path> never_enter;
    std::vector<Path> absent;        // see BackupRequest
    const Reread* reread = nullptr;  // likewise
    unsigned threads = 2;
    // Called before each directory with the number of its entries in the revision; may wait (the
    // scrubber's pace). From several threads. With it no directory stays open meanwhile: what is
    // walked slowly can be unmounted.
    std::function<void(std::uint64_t entries)> pace;
    // From several threads. What lies below a created directory is not told.
    std::function<void(const SurveyFinding& finding)> found;
    // Files whose node says that they have more than one name, told once per name.
    std::function<void(const std::string& path, std::uint64_t inode)> linked;
    // Files with content that are as the revision has them, whose inode answers true: for a closer
    // look, which must not be taken in here (the directory is open).
    std::function<bool(std::uint64_t inode)> is_sample;
    std::function<void(const std::string& path)> sample;
    const Clock* clock = nullptr;
    Fs* fs = nullptr;
};

struct SurveyCounts {
    std::uint64_t directories = 0, objects = 0, findings = 0;
};

Result<SurveyCounts> run_survey(const SurveyRequest& request, Repository& repository,
                                Progress& progress, std::stop_token stop);

}  // namespace backup
