// QueueState is what a ChangeQueue holds: the marks, and which of them the persistent form lacks.
// The steps that keep counts and records right stand here, so that the rules in change_queue.cc
// need not think of them. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/queue/change_queue.h"
#include "daemon/queue/mark_codec.h"
#include "daemon/queue/marks.h"

namespace backup::queue {

using Whole = DirectoryMarks::Whole;

// What a new record says of a mark.
struct Touch {
    Generation generation = 0;
    Timestamp now{};
    bool content = false, must_read = false, deep = false;
};

class QueueState {
  public:
    // A volume's marks and what of them must still be written.
    struct Volume {
        VolumeMarks& marks;
        std::uint16_t number = 0;
        bool is_stored = false, left_scope_fresh = false, left_scope_stored = false;
        std::unordered_set<ObjectHandle> fresh_directories, fresh_objects, fresh_origins;
    };

    // Made if there is none.
    Volume& volume(const VolumeId& id);
    Volume* find_volume(const VolumeId& id);
    const std::map<VolumeId, VolumeMarks>& volumes() const { return marks_; }
    std::vector<Volume*> all_volumes();

    void touch_name(Volume& volume, const ObjectHandle& directory, std::string_view name,
                    const Touch& touch);
    void touch_whole(Volume& volume, const ObjectHandle& directory, Whole which,
                     const Touch& touch);
    void touch_object(Volume& volume, const ObjectHandle& object, const Touch& touch);
    void touch_everything(Volume& volume, std::string reason, const Touch& touch);
    DirectoryOrigin& touch_origin(Volume& volume, const ObjectHandle& directory,
                                  Generation generation);
    void set_left_scope(Volume& volume, Generation generation);  // 0: none

    // True from `predicate`: the mark goes. Directories left without any go, too.
    template <typename Predicate>
    void erase_names(Volume& volume, const ObjectHandle& handle, DirectoryMarks& directory,
                     Predicate predicate) {
        directory.names.erase_if([&](NameMarks::Entry& entry) {
            if (!predicate(entry)) return false;
            forget_mark(entry.mark, RecordKind::name, volume, handle, entry.name);
            return true;
        });
    }
    void erase_whole(Volume& volume, const ObjectHandle& handle, DirectoryMarks& directory,
                     Whole which);
    void erase_object(Volume& volume, const ObjectHandle& object);
    void erase_everything(Volume& volume);
    void erase_origin(Volume& volume, const ObjectHandle& directory);
    void forget_volume(const VolumeId& id);
    void read_what_is_marked();

    // What is left of the volume was renewed after `time`, and only that is still waiting.
    void raise_first_seen(Volume& volume, Timestamp time);

    std::uint64_t count() const { return count_; }
    std::uint64_t origins() const { return origins_; }
    std::optional<Timestamp> oldest() const;
    std::optional<Timestamp> newest() const;
    void forget_oldest() { is_oldest_known_ = false; }
    std::size_t memory_bytes() const;

    std::vector<QueueRecord> take_records(Generation generation);
    std::vector<QueueRecord> all_records(Generation generation);
    bool has_records() const;
    void note_generation_moved() { is_header_fresh_ = true; }
    // The generation; nothing if there are no records.
    Result<std::optional<Generation>> load(const std::vector<QueueRecord>& records);

  private:
    void apply(Mark& mark, const Touch& touch);
    void forget_mark(const Mark& mark, RecordKind kind, const Volume& volume,
                     std::string_view handle, std::string_view name = {});
    void put(std::vector<QueueRecord>& out, bool& is_stored, std::string key, std::string value);
    void put_mark(std::vector<QueueRecord>& out, Mark& mark, std::string key, std::string value);
    void put_volume(std::vector<QueueRecord>& out, const VolumeId& id, Volume& volume);
    void remove_key(std::string key);
    Result<> load_record(const RecordKey& key, std::string_view value,
                         std::map<std::uint16_t, Volume*>& by_number, Generation& newest);

    std::map<VolumeId, VolumeMarks> marks_;
    std::map<VolumeId, Volume> books_;
    std::vector<std::string> removed_;  // keys
    std::uint64_t count_ = 0, origins_ = 0;
    std::uint64_t stored_ = 0, stored_sum_ = 0;
    bool is_header_fresh_ = false;
    std::optional<Timestamp> newest_;
    mutable std::optional<Timestamp> oldest_;
    mutable bool is_oldest_known_ = true;
};

}  // namespace backup::queue
