// ChangeQueue remembers what of one set is not yet protected: marks, each saying what must be
// looked at again. It knows handles, not paths; where a directory is now is asked when a run
// begins. Pure: no I/O, no clock of its own. Not thread-safe: the tracker's thread owns it.
//
//   name       (directory, name): look this name up again
//   directory  list it again, not deeper
//   subtree    everything below it
//   object     a file of which only the handle is known: find its names
//   everything the whole volume
//
// Each mark carries the generation of the batch that made it last. A run freezes the queue, and
// when its revision is durable the marks it has seen are cleared: those whose generation is still
// the same. A mark that was renewed meanwhile stays, so a change made during its own backup is
// never lost. Repeated marks of a key cost nothing; too many names of a directory become one mark
// of the directory, too many marks become one of everything, and these keep the largest generation
// and the earliest time.
//
// For directories that were made or renamed since the last revision it keeps where they were then,
// so that a rename is one lookup and reads no file (see DirectoryOrigin). A directory that is
// renamed while a run goes on takes what is below it away from under the run: after the run its
// subtree is marked, for the run may have looked for it where it was not.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/queue/marks.h"
#include "daemon/queue/queue_record.h"
#include "daemon/watch/watcher.h"

namespace backup {

struct QueueLimits {
    // More marked names of a directory become one mark of its listing, but for names that must be
    // read.
    std::size_t names_of_directory = 1000;
    // More marks and origins than this become coarser.
    std::size_t marks = 2'000'000;
};

class ChangeQueue {
  public:
    explicit ChangeQueue(QueueLimits limits = {});
    ~ChangeQueue();
    ChangeQueue(ChangeQueue&&) noexcept;
    ChangeQueue& operator=(ChangeQueue&&) noexcept;

    // A batch whose entries all concern this set. `lost` becomes `everything`, and so does an entry
    // that cannot be understood. `gone` marks nothing.
    //
    // Moves: those from or to a directory of the set belong here, whether or not the other side
    // does; if the new place is outside (or may be), call mark_left_scope(), too. A move of a path
    // of the set itself, or of a directory above it, is not for here: mark_everything().
    void absorb(const VolumeId& volume, const WatchBatch& batch, Timestamp now);

    // Single marks, each with a generation of its own.
    void mark_name(const VolumeId& volume, const ObjectHandle& directory, std::string_view name,
                   bool content, bool must_read, Timestamp now);
    void mark_listing(const VolumeId& volume, const ObjectHandle& directory, Timestamp now);
    void mark_subtree(const VolumeId& volume, const ObjectHandle& directory, Timestamp now);
    void mark_everything(const VolumeId& volume, std::string reason, Timestamp now);
    void mark_left_scope(const VolumeId& volume);
    // Some of what happened up to now was not recorded: no origin that is known so far is relied on
    // any more, for what lies below it may differ where nothing is marked.
    void distrust_origins();

    // Stamps prove nothing any more of what waits: what is marked for its content must be read.
    // Before the first freeze().
    void read_what_is_marked();

    FrozenMarks freeze() const;
    // The revision made from `frozen` is durable, and everything that happened before it was
    // absorbed. Volumes that are not in `frozen` stay as they are.
    void clear(const FrozenMarks& frozen);
    // Marks that turned out to concern nothing of the set: gone without a revision, under the same
    // condition.
    void drop_name(const VolumeId& volume, const ObjectHandle& directory, std::string_view name,
                   Generation generation);
    void drop_directory(const VolumeId& volume, const ObjectHandle& directory,
                        Generation generation);
    void drop_object(const VolumeId& volume, const ObjectHandle& object, Generation generation);
    // Forgets all that is known of a volume that left the set.
    void forget_volume(const VolumeId& volume);

    Generation generation() const;
    std::uint64_t size() const;  // marks
    bool empty() const { return size() == 0; }
    std::optional<Timestamp> oldest() const;
    std::optional<Timestamp> newest() const;  // when the last mark was made or renewed
    const std::map<VolumeId, VolumeMarks>& volumes() const;
    std::size_t memory_bytes() const;  // an estimate

    // What changed in the persistent form since the last call, to be written in this order in one
    // atomic batch. All batches together make load() give the same queue again. If a batch could
    // not be written, drop what is stored and write all_records().
    std::vector<QueueRecord> take_records();
    std::vector<QueueRecord> all_records();
    bool has_records() const;
    // `corrupt` if a record cannot be understood or one is missing: then everything must be
    // scanned. Keys that begin with kForeignRecord are others' and are passed over.
    static Result<ChangeQueue> load(const std::vector<QueueRecord>& records,
                                    QueueLimits limits = {});

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace backup
