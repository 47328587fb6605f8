// The snapshot file: what makes a revision visible. Format: compact JSON in Go's field order, see
// daemon/repository/README.md. Pure codec; no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/id.h"
#include "common/result.h"

namespace backup {

struct SnapshotSummary {
    Timestamp backup_start{}, backup_end{};
    std::uint64_t files_new = 0, files_changed = 0, files_unmodified = 0;
    std::uint64_t dirs_new = 0, dirs_changed = 0, dirs_unmodified = 0;
    std::uint64_t data_blobs = 0, tree_blobs = 0;
    std::uint64_t data_added = 0, data_added_packed = 0;
    std::uint64_t total_files_processed = 0, total_bytes_processed = 0;
};

struct Snapshot {
    Timestamp time{};
    std::string time_text;  // as read from a file: retention buckets use the zone written there.
                            // Empty: local zone
    std::optional<RevisionId> parent;
    BlobId tree;
    std::vector<std::string> paths;  // absolute, as given, in order; bytes
    std::string hostname, username;
    std::uint32_t uid = 0, gid = 0;
    std::vector<std::string> excludes, tags;
    std::optional<RevisionId> original;
    std::string program_version;
    std::optional<SnapshotSummary> summary;
};

std::string encode_snapshot(const Snapshot& snapshot);
Result<Snapshot> decode_snapshot(ByteView json);

// What makes a snapshot a revision of ours are tags in the repository, so that a fresh machine
// knows them: backupd:set=NAME, backupd:n=7, backupd:trigger=user, backupd:mode=full|incremental,
// backupd:exceptions=2, backupd:gap, backupd:pin, backupd:trash=TIME, backupd:edit=1. With the
// trigger pre-restore the first is backupd:kept-for=NAME, so that who asks another program for the
// newest with the tag of a set does not get what a restore replaced.
// Names of paths in tags are bounded: snapshots are read by everybody who lists revisions.
inline constexpr std::size_t kMostMissing = 64;
inline constexpr std::size_t kLongestMissing = 1024;

struct RevisionTags {
    std::string set;  // empty: not a revision of ours
    std::uint64_t number = 0;
    std::string trigger, mode;
    std::uint64_t exceptions = 0;
    // Paths of them, kMostMissing at most; `more_missing`: not all of them are named.
    std::vector<std::string> missing;
    bool more_missing = false;
    bool has_gap = false;              // some of it is older: a file system was missing
    bool is_pinned = false;            // no rule and no request may forget it
    std::optional<Timestamp> trashed;  // forgotten then: in the trash
    // How often what is said of it was changed. Each time the snapshot is written anew, and the
    // highest number is the one that counts; the others are leftovers.
    std::uint64_t edit = 0;
    std::vector<std::string> others;  // everything else, kept as it is
};
RevisionTags parse_revision_tags(const std::vector<std::string>& tags);
std::vector<std::string> make_tags(const RevisionTags& tags);

}  // namespace backup
