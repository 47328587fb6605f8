// StateStore remembers between runs: the job journal, what happened to each set last, locks held,
// reminders. LevelDB behind a few typed verbs. Thread-safe (one mutex). Nothing in it is precious:
// losing it costs time, never a revision.
//
// A LevelDB handle is dead after its first failed write (measured with 1.23: later synchronous
// writes report success and are gone after reopening). So on any failure the handle is closed and
// reopened with paranoid checks before the next use; if that fails the folder is moved aside
// ("state.broken-TIME") and a new one begun.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/queue/queue_record.h"

namespace backup {

// One job, begun and perhaps ended. Values are the words of the bus: kind "backup", outcome
// "complete" ...
struct JobRecord {
    std::uint64_t id = 0;
    std::string kind, set, repository, trigger, mode;
    std::uint32_t uid = 0;
    std::string parent;  // revision id, hex, or empty
    Timestamp begin{};
    std::optional<Timestamp> end;     // nothing: still running, or the daemon died
    std::string outcome;              // empty until the end
    std::string error_name, message;  // ErrorCode text and sentence
    std::string revision;
    std::uint64_t exceptions = 0;
    std::vector<std::pair<std::string, std::uint64_t>> counts;

    bool operator==(const JobRecord&) const = default;
};

// One line of a job's log or report.
struct JobLine {
    Timestamp time{};
    std::string type;    // "message", "exception", "finding"
    std::string level;   // "info" "warning" "error"; severity of a finding
    std::string object;  // path of an exception (bytes), object of a finding
    std::string kind;    // ErrorKind text of an exception
    std::string message;

    bool operator==(const JobLine&) const = default;
};

struct SetRecord {
    Timestamp last_attempt{}, last_success{}, protected_until{};
    std::string last_result, latest_revision;
    std::uint64_t last_number = 0;
    // When everything was read last, and what then differed without a change that explains it.
    Timestamp last_full{};
    std::uint64_t unexplained = 0;
    // Of the last revision: files and directories, bytes of files.
    std::uint64_t items = 0, bytes = 0;
    // What hard limits left out of it: their names ("items bytes"; "": nothing), and how much.
    std::string limits_hit;
    std::uint64_t left_out_items = 0, left_out_bytes = 0;
    std::string soft_hit;  // soft limits that it is over, in words for people
    // What of the source is not in it as it is now, for whatever reason, and the job that lists it.
    std::uint64_t unprotected = 0, unprotected_job = 0;
    // Bytes of new and changed files since then, for a day.
    Timestamp churn_since{};
    std::uint64_t churn_bytes = 0;
    // Of drills: since when there is something to try, the last that came to a verdict about files
    // chosen at random, "ok" or "failed" ("": none yet), which job that was, and the paths that
    // could not be given back.
    Timestamp drills_since{}, last_drill{};
    std::string drill_result;
    std::uint64_t drill_job = 0;
    std::vector<std::string> drill_failed;

    bool operator==(const SetRecord&) const = default;
};

struct RepositoryRecord {
    std::string repository_id;
    bool password_generated = false, sheet_tested = false;
    Timestamp last_check{};
    std::string last_check_result, key_hint;
    // Of collections: the last that came to its end (or when the repository was first seen), the
    // last that was begun, and the outcome of that one ("" before the first).
    Timestamp last_collect{}, last_collect_attempt{};
    std::string last_collect_result;
    bool emptied = false;  // a collection of ours removed the last revision that there was

    bool operator==(const RepositoryRecord&) const = default;
};

// Something that a person must answer before a set goes on as usual; see daemon/guard/guard.h.
struct GuardQuestion {
    // "vanished", "emptied", "mass-change", "foreign-writer"; empty: there is none
    std::string kind;
    std::string answer;  // "": none yet; "approved": the next run goes on with it; "rejected"
    Timestamp since{}, answered{};
    std::string message;
    std::uint64_t job = 0;   // that asked
    std::uint64_t lost = 0;  // files that are not there any more; of "vanished": places
    // The last revision from before (its first id), and whether it is pinned for the question's
    // sake.
    std::string clean;
    std::uint64_t clean_number = 0;
    bool pins = false;
    bool holds = false;  // runs make no revision until it is answered

    bool is_open() const { return !kind.empty() && answer != "approved"; }
    bool operator==(const GuardQuestion&) const = default;
};
struct GuardRecord {
    GuardQuestion source, change, line;
    // Revisions up to this number are known, whoever made them.
    std::uint64_t line_known = 0;
    // Files whose content lost its order in the runs of one day, and the revision before them.
    Timestamp window_begin{};
    std::uint64_t window_opaque = 0, window_could = 0;
    std::string window_clean;
    std::uint64_t window_number = 0;

    std::array<const GuardQuestion*, 3> questions() const { return {&source, &change, &line}; }
    bool is_open() const { return source.is_open() || change.is_open() || line.is_open(); }
    bool operator==(const GuardRecord&) const = default;
};

// A file of which the first `bytes` are stored.
struct HalfFileRecord {
    std::string path;
    std::uint64_t inode = 0, size = 0;
    std::int64_t mtime_seconds = 0, ctime_seconds = 0;
    std::uint32_t mtime_nanoseconds = 0, ctime_nanoseconds = 0;
    std::uint64_t bytes = 0;
    std::string chunks;  // their ids, 32 bytes each

    bool operator==(const HalfFileRecord&) const = default;
};

// What an interrupted backup of a set has left. See daemon/archive/checkpoint.h.
struct CheckpointRecord {
    std::string repository_id, tree;  // tree: hex
    std::uint64_t job = 0;
    Timestamp begin{}, kept{};  // of the job; when this was written
    std::string trigger;
    std::uint64_t files = 0, bytes = 0;
    std::vector<std::string> unsettled;  // paths
    std::vector<HalfFileRecord> half;

    bool operator==(const CheckpointRecord&) const = default;
};

// A pack that a backup stored, or was about to store, and that no index file names yet.
struct PackRecord {
    std::string pack;   // its id, 32 bytes
    std::string owner;  // the set
    std::uint64_t size = 0;
    Timestamp since{};

    bool operator==(const PackRecord&) const = default;
};

// A copy of a blob that turned out to be damaged, or all of a pack.
struct DamageRecord {
    std::string pack;  // its id, 32 bytes
    std::string blob;  // 'd' or 't' and its id, 33 bytes; empty: the whole pack
    bool operator==(const DamageRecord&) const = default;
};

class StateStore {
  public:
    virtual ~StateStore() = default;

    // Takes the lock of the folder: `conflict`/busy names the folder when another daemon holds it.
    // A store written by a newer version is refused (`invalid`/unsupported), never touched.
    // `recovered` tells that a damaged one was moved aside.
    static Result<std::unique_ptr<StateStore>> open(const std::string& directory,
                                                    const Clock& clock, bool* recovered = nullptr);

    // Durable on return. begin_job gives the number: it only grows, also over a lost store's
    // remains.
    virtual Result<std::uint64_t> begin_job(JobRecord record) = 0;
    virtual Result<> end_job(const JobRecord& record) = 0;
    // Newest first, at most `limit`, ids below `before` (0: from the newest).
    virtual Result<std::vector<JobRecord>> jobs(std::size_t limit, std::uint64_t before = 0) = 0;
    virtual Result<std::optional<JobRecord>> job(std::uint64_t id) = 0;
    // Records without an end, at start: the daemon that began them died.
    virtual Result<std::vector<JobRecord>> unfinished_jobs() = 0;
    // Not synced: lines lost in a crash are only messages.
    virtual Result<> append_lines(std::uint64_t job, const std::vector<JobLine>& lines) = 0;
    // False from `each` ends it.
    virtual Result<> each_line(std::uint64_t job,
                               const std::function<bool(const JobLine&)>& each) = 0;
    // Drops the oldest ended jobs beyond `keep`, with their lines.
    virtual Result<> trim_jobs(std::size_t keep) = 0;

    virtual Result<SetRecord> set_record(const std::string& set) = 0;
    // Outlives the process; durable with the next write that is.
    virtual Result<> put_set_record(const std::string& set, const SetRecord& record) = 0;
    virtual Result<GuardRecord> guard_record(const std::string& set) = 0;
    // Durable on return.
    virtual Result<> put_guard_record(const std::string& set, const GuardRecord& record) = 0;
    virtual Result<RepositoryRecord> repository_record(const std::string& name) = 0;
    virtual Result<> put_repository_record(const std::string& name,
                                           const RepositoryRecord& record) = 0;

    // One per set, durable on return. One that cannot be read counts as none.
    virtual Result<> put_checkpoint(const std::string& set, const CheckpointRecord& record) = 0;
    virtual Result<std::optional<CheckpointRecord>> checkpoint(const std::string& set) = 0;
    virtual Result<std::vector<std::pair<std::string, CheckpointRecord>>> checkpoints() = 0;
    virtual Result<> drop_checkpoint(const std::string& set) = 0;

    // Locks of ours in repositories, by repository id; they outlive the process, not a power cut.
    virtual Result<> remember_lock(const std::string& repository_id,
                                   const std::string& lock_hex) = 0;
    virtual Result<> forget_lock(const std::string& repository_id, const std::string& lock_hex) = 0;
    virtual Result<std::vector<std::string>> remembered_locks(const std::string& repository_id) = 0;

    // Packs of ours that no index file names yet, by repository id. Durable on return if `sync`;
    // else they outlive the process, not a power cut.
    virtual Result<> put_pack(const std::string& repository_id, const PackRecord& record,
                              bool sync) = 0;
    virtual Result<> drop_packs(const std::string& repository_id,
                                const std::vector<std::string>& packs) = 0;
    virtual Result<std::vector<PackRecord>> packs(const std::string& repository_id) = 0;

    // What is known to be damaged, by repository id; durable on return.
    virtual Result<> put_damage(const std::string& repository_id,
                                const std::vector<DamageRecord>& records) = 0;
    // All that is known of these packs.
    virtual Result<> drop_damage(const std::string& repository_id,
                                 const std::vector<std::string>& packs) = 0;
    virtual Result<std::vector<DamageRecord>> damage(const std::string& repository_id) = 0;

    // What of a set is not yet protected, and what the tracker keeps with it: keys and values that
    // mean nothing here. One batch is written whole or not at all, in its order, and is durable on
    // return.
    virtual Result<> write_queue(const std::string& set,
                                 const std::vector<QueueRecord>& records) = 0;
    // In the order of keys. `corrupt`: the store was damaged; nothing of the queue is left, and
    // everything must be scanned.
    virtual Result<std::vector<QueueRecord>> load_queue(const std::string& set) = 0;
    virtual Result<> drop_queue(const std::string& set) = 0;
};

}  // namespace backup
