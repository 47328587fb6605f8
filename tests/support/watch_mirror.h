// WatchMirror does what a consumer of a Watcher does, as simply as can be: it remembers every
// directory by its handle with what stat says about each entry, and looks again at what the batches
// name, and nowhere else. After the last batch it must equal the tree; what differs was missed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/watch/watcher.h"

namespace backup {

class WatchMirror {
  public:
    WatchMirror(Watcher& watcher, std::string root);

    void scan();  // everything
    void apply(const WatchBatch& batch);
    // What is not as it is now: empty if nothing was missed.
    std::vector<std::string> differences() const;

  private:
    struct Entry {
        std::uint64_t inode = 0, size = 0;
        std::int64_t changed = 0;  // ctime
        ObjectHandle directory;    // of a directory: its handle

        bool operator==(const Entry&) const = default;
    };
    using Entries = std::map<std::string, Entry>;

    // Of the directory itself, wherever it is by now: a path is old as soon as it is told.
    UniqueFd open_directory(const ObjectHandle& handle) const;
    static bool look(int directory, const std::string& name, Entry& entry);
    static bool list(int directory, Entries& entries);
    void look_at_name(const ObjectHandle& directory, const std::string& name);
    void look_at_all(int parent, const std::string& name);
    void list_one(int directory, bool deep);

    Watcher& watcher_;
    const std::string root_;
    std::map<ObjectHandle, Entries> directories_;
};

}  // namespace backup
