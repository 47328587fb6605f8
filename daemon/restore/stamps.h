// ObjectStamps remembers which objects were there when a restore was planned, so that what changed
// since, or was put in their place, is recognised and left alone. 16 bytes for each. add() from any
// thread; seal() once, then is_same() from any thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/stat.h>

namespace backup {

class ObjectStamps {
  public:
    void add(std::string_view path, const struct stat& status);
    void seal();
    bool contains(std::string_view path) const;
    // It was added, and is what it was then. Of a directory only which one it is counts: its times
    // move with its entries. So does the ctime of a file that had several names, each time one
    // goes.
    bool is_same(std::string_view path, const struct stat& status) const;

  private:
    struct Stamp {
        std::uint64_t path, state;
        auto operator<=>(const Stamp&) const = default;
    };
    const Stamp* find(std::string_view path) const;

    std::mutex mutex_;  // guards stamps_ until seal()
    std::vector<Stamp> stamps_;
};

// True when a process has it open for writing or mapped so that it can write. Unknown is no: not
// ours, a file system without leases. Asks for a lease and gives it back at once; for files that
// are about to be replaced or removed, not for reading (see the decision about the census).
bool is_open_for_writing(int directory_fd, const char* name);

}  // namespace backup
