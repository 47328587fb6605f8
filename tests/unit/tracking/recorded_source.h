// RecordedSource changes a small tree of its own and writes down what a watcher would tell of each
// step: names by directory handle, moves of directories, and objects where no name is told. So
// tests decide how the records are cut into batches and when they are taken. For tests only.
#pragma once

#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "daemon/tracking/look_at_changes.h"
#include "daemon/watch/watcher.h"
#include "tests/support/temp_directory.h"

namespace backup {

class RecordedSource {
  public:
    RecordedSource();

    // What is protected, and what is not.
    const std::string& inside() const { return inside_; }
    const std::string& outside() const { return outside_; }
    std::string in(const std::string& name) const { return inside_ + "/" + name; }
    std::string out(const std::string& name) const { return outside_ + "/" + name; }

    // Absolute paths. False: it could not be done, and nothing was recorded. A write or a change of
    // metadata may be told by the object's handle alone (`by_handle`).
    bool write(const std::string& path, const std::string& content, bool by_handle = false);
    bool make_directory(const std::string& path);
    bool rename(const std::string& from, const std::string& to);
    bool exchange(const std::string& a, const std::string& b);
    bool link(const std::string& from, const std::string& to);
    bool symlink(const std::string& target, const std::string& path);
    bool change_mode(const std::string& path, bool by_handle = false);
    bool remove(const std::string& path);  // with everything below
    // One step of any kind, somewhere.
    void random_step(std::mt19937_64& random);

    // What a moved directory is told as: its handle left out, or its old place.
    bool hide_moved_objects = false, hide_old_places = false;
    // The resolver gives paths below inside() only.
    bool hide_outside = false;

    // The records since the last call.
    WatchBatch take();
    // Records whose directory is not inside (any more) are left out, as a tracker does; but not
    // those of files that have other names. True: a directory left, or may have.
    bool keep_inside(WatchBatch& batch) const;

    std::optional<std::string> path_of(const ObjectHandle& directory) const;
    std::optional<Watcher::ObjectFacts> facts_of(const ObjectHandle& object) const;
    HandleResolver resolver() const;
    static ObjectHandle handle(const std::string& path);

    std::vector<std::string> directories() const;  // all, outside included
    std::vector<std::string> log;                  // steps, for a person

  private:
    enum class Where { inside, outside, unknown };
    Where where(const ObjectHandle& directory) const;
    void record_name(const std::string& path, bool content);
    void record_object(const std::string& path);
    void record_move(const std::string& from, const std::string& to, const ObjectHandle& object);
    void record_other_names(const std::string& path);
    std::string random_entry(std::mt19937_64& random) const;
    std::string new_entry(std::mt19937_64& random) const;

    TempDirectory folder_;
    std::string base_, inside_, outside_;
    WatchBatch batch_;
    int written_ = 0;
};

}  // namespace backup
