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
// of the directory, too many directories become subtrees, and these keep the larger generation and
// the earlier time.
//
// For directories that were made or renamed since the last revision it keeps where they were then,
// so that a rename is one lookup and reads no file (see `origin`).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/watch/watcher.h"

namespace backup {

using VolumeId = std::string;
using Generation = std::uint64_t;

struct Mark {
    Generation generation = 0;
    Timestamp first_seen{};
    bool content = false;    // data may have changed, else names and metadata
    bool must_read = false;  // read it even if size and times are as they were
};

// Where a directory was when the last revision was made.
struct DirectoryOrigin {
    enum class Kind : std::uint8_t {
        born,     // it was not there
        at,       // `name` in `directory`, wherever that directory was then
        unknown,  // came from outside or the records do not say: look at everything below it
    };
    Kind kind{};
    ObjectHandle directory;
    std::string name;
    Generation generation = 0;  // of the last record that touched it
};

struct DirectoryMarks {
    std::map<std::string, Mark, std::less<>> names;
    std::optional<Mark> itself, listing, subtree;
};

// What one volume has waiting; a value.
struct VolumeMarks {
    std::unordered_map<ObjectHandle, DirectoryMarks> directories;
    std::unordered_map<ObjectHandle, Mark> objects;
    std::optional<Mark> everything;
    std::string everything_reason;
    std::unordered_map<ObjectHandle, DirectoryOrigin> origins;
    // A directory left what the set protects (or that cannot be ruled out): what happened to it
    // outside was not recorded, so no origin may be relied on, and every moved directory must be
    // looked at as a whole.
    std::optional<Generation> left_scope;
};

// A copy of the marks as they were when a run began. A value; may go to another thread.
struct FrozenMarks {
    Generation generation = 0;  // marks up to here are in it
    std::map<VolumeId, VolumeMarks> volumes;
    bool empty() const;
    std::uint64_t count() const;
};

// One key of the persistent form; no value: it is gone. See mark_codec.h for the layout.
struct QueueRecord {
    std::string key;
    std::optional<std::string> value;
};

struct QueueLimits {
    std::size_t names_of_directory = 1000;
    std::size_t marks = 2'000'000;
};

class ChangeQueue {
  public:
    explicit ChangeQueue(QueueLimits limits = {});
    ~ChangeQueue();
    ChangeQueue(ChangeQueue&&) noexcept;
    ChangeQueue& operator=(ChangeQueue&&) noexcept;

    // A batch whose entries all concern this set. `lost` becomes `everything`.
    void absorb(const VolumeId& volume, const WatchBatch& batch, Timestamp now);

    // Single marks, each with a generation of its own.
    void mark_name(const VolumeId& volume, const ObjectHandle& directory, std::string_view name,
                   bool content, bool must_read, Timestamp now);
    void mark_listing(const VolumeId& volume, const ObjectHandle& directory, Timestamp now);
    void mark_subtree(const VolumeId& volume, const ObjectHandle& directory, Timestamp now);
    void mark_everything(const VolumeId& volume, std::string reason, Timestamp now);
    void mark_left_scope(const VolumeId& volume);

    FrozenMarks freeze() const;
    // The revision made from `frozen` is durable, and everything that happened before it was
    // absorbed.
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

    // What changed in the persistent form since the last call. Writing all of them in one atomic
    // batch, in any order of calls, makes load() give the same queue again.
    std::vector<QueueRecord> take_records();
    bool has_records() const;
    // `corrupt` if a record cannot be understood: then everything must be scanned.
    static Result<ChangeQueue> load(const std::vector<QueueRecord>& records,
                                    QueueLimits limits = {});

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace backup
