// Marks: what of a volume must be looked at again, as plain values. Built and kept by ChangeQueue,
// read by whoever plans a run. Made to be many: a name marked in a directory of its own costs less
// than 200 bytes, whatever the allocator adds included.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "daemon/watch/handle.h"

namespace backup {

using VolumeId = std::string;
using Generation = std::uint64_t;

struct Mark {
    Generation generation : 58 = 0;  // 0: no mark
    std::uint64_t content : 1 = 0;   // data may have changed, else names and metadata
    // Read it even if size and times are as they were. Of a directory, a subtree, everything: all
    // files there.
    std::uint64_t must_read : 1 = 0;
    std::uint64_t deep : 1 = 0;  // of a name: everything below it, too
    // The queue's own: not yet in a record; in the persistent form.
    std::uint64_t is_fresh : 1 = 0;
    std::uint64_t is_stored : 1 = 0;
    Timestamp first_seen{};
};
static_assert(sizeof(Mark) == 16);

// Marked names of one directory, in no order. A vector, found by a table once there are more than a
// few. References live until the next call that is not const.
class NameMarks {
  public:
    struct Entry {
        std::string name;
        Mark mark;
    };
    NameMarks() = default;
    NameMarks(const NameMarks& other);
    NameMarks(NameMarks&&) noexcept = default;
    NameMarks& operator=(const NameMarks& other);
    NameMarks& operator=(NameMarks&&) noexcept = default;

    // nullptr: none.
    const Mark* find(std::string_view name) const;
    Mark* find(std::string_view name);
    // Inserted, without a generation, if there is none.
    Mark& at(std::string_view name);
    template <typename Predicate>
    std::size_t erase_if(Predicate predicate) {
        std::size_t erased = std::erase_if(entries_, predicate);
        if (erased != 0) forget_slack();
        return erased;
    }
    std::size_t size() const { return entries_.size(); }
    bool empty() const { return entries_.empty(); }
    std::vector<Entry>::const_iterator begin() const { return entries_.begin(); }
    std::vector<Entry>::const_iterator end() const { return entries_.end(); }
    std::vector<Entry>::iterator begin() { return entries_.begin(); }
    std::vector<Entry>::iterator end() { return entries_.end(); }
    std::size_t memory_bytes() const;

  private:
    std::size_t position(std::string_view name) const;  // size(): none
    void forget_slack();
    void build_table();
    void insert_into_table(std::size_t position);

    std::vector<Entry> entries_;
    // Open addressing; positions + 1, 0: free. A power of two of places. nullptr: few entries.
    std::unique_ptr<std::vector<std::uint32_t>> table_;
};

// What is waiting in one directory.
class DirectoryMarks {
  public:
    // Its own metadata; its entries, not deeper; everything below it.
    enum class Whole : std::uint8_t { itself, listing, subtree };
    static constexpr std::array kWholes = {Whole::itself, Whole::listing, Whole::subtree};

    NameMarks names;

    DirectoryMarks() = default;
    DirectoryMarks(const DirectoryMarks& other);
    DirectoryMarks(DirectoryMarks&&) noexcept = default;
    DirectoryMarks& operator=(const DirectoryMarks& other);
    DirectoryMarks& operator=(DirectoryMarks&&) noexcept = default;

    // nullptr: no such mark.
    const Mark* whole(Whole which) const;
    Mark* whole(Whole which);
    const Mark* itself() const { return whole(Whole::itself); }
    const Mark* listing() const { return whole(Whole::listing); }
    const Mark* subtree() const { return whole(Whole::subtree); }
    // Without a generation if there is none yet.
    Mark& make(Whole which);
    void erase(Whole which);

    bool empty() const;
    std::uint64_t count() const;
    std::size_t memory_bytes() const;  // without sizeof(*this)

  private:
    std::unique_ptr<std::array<Mark, 3>> wholes_;
};

// Where a directory was when the last revision was made.
struct DirectoryOrigin {
    enum class Kind : std::uint8_t {
        born,     // it was not there
        at,       // `name` in `directory`, wherever that directory was then
        unknown,  // came from outside or the records do not say; the fields below are a guess
    };
    Kind kind{};
    bool moved = false;                        // since it was born
    bool is_fresh = false, is_stored = false;  // as in Mark
    ObjectHandle directory;
    std::string name;
    Generation generation = 0;  // of the last record that touched it
};

// What one volume has waiting.
struct VolumeMarks {
    std::unordered_map<ObjectHandle, DirectoryMarks> directories;
    std::unordered_map<ObjectHandle, Mark> objects;
    Mark everything;  // without a generation: no such mark
    std::string everything_reason;
    std::unordered_map<ObjectHandle, DirectoryOrigin> origins;
    // Not 0: a directory left what the set protects (or that cannot be ruled out): what happened to
    // it outside was not recorded, so no origin may be relied on, and every directory that has one
    // must be looked at as a whole.
    Generation left_scope = 0;

    bool has_everything() const { return everything.generation != 0; }
    bool empty() const;  // nothing to look at; origins do not count
    std::uint64_t count() const;
};

// A copy of the marks as they were when a run began; may go to another thread. A volume that is not
// there now (unmounted) is to be taken out of it, so that its marks neither count nor are cleared.
struct FrozenMarks {
    Generation generation = 0;  // marks up to here are in it
    Timestamp newest{};         // when the last of them was made or renewed
    std::map<VolumeId, VolumeMarks> volumes;
    bool empty() const;
    std::uint64_t count() const;
};

}  // namespace backup
