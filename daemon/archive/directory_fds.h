// DirectoryFds keeps descriptors of directories open while they are needed and few of them
// otherwise: beyond the limit a directory is closed as soon as nobody uses it and found again from
// above, component by component, never through a symbolic link. Thread-safe.
#pragma once

#include <cstddef>
#include <mutex>

#include "daemon/archive/directory.h"
#include "daemon/runtime/fs.h"

namespace backup {

class DirectoryFds {
  public:
    // `most`: open directories that are kept although nobody uses them at the moment.
    DirectoryFds(Fs& fs, std::size_t most) : fs_(fs), most_(most) {}

    // The descriptor, open until unpin(); or -errno: ESTALE when another directory is there now.
    int pin(Directory& directory);
    void unpin(Directory& directory);
    // A newly opened directory, with one pin.
    void adopt(Directory& directory, UniqueFd fd);
    // `needed` more users will come, or fewer when negative. At 0 the directory is closed for good.
    void need(Directory& directory, std::ptrdiff_t more);

  private:
    int reopen(const Directory& directory, UniqueFd& out);
    UniqueFd take_if_idle(Directory& directory);

    Fs& fs_;
    const std::size_t most_;
    std::mutex mutex_;  // guards the fd members of all directories, and:
    std::size_t open_ = 0;
};

}  // namespace backup
