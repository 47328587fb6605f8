// What small and large files have in common: opening a source file safely, and telling whether it
// stayed the same while it was read. Thread-safe; holds references only.
#pragma once

#include <stop_token>

#include "common/clock.h"
#include "common/unique_fd.h"
#include "daemon/runtime/fs.h"

namespace backup {

// Where an object is found: by its name in an open directory, or by absolute path (AT_FDCWD).
struct Place {
    int directory;
    const char* name;
};

class SourceReader {
  public:
    // Readings of a file that does not settle, the first one included.
    static constexpr int kMostReadings = 4;

    SourceReader(Fs& fs, const Clock& clock, std::stop_token stop)
        : fs_(fs), clock_(clock), stop_(std::move(stop)) {}

    // Never waiting for the writer of a fifo, not changing the access time.
    static const int kFile;       // no symbolic link
    static const int kDirectory;  // no symbolic link
    static const int kDirectoryOrLink;
    // -errno on failure; EMFILE, ENFILE and ENOMEM only after they have lasted for more than a
    // second.
    int open(Place place, int flags, UniqueFd& out) const;

    // Waits until a later change must show in ctime. Kernels stamp with the time of the last tick:
    // a change in the same tick as the one before leaves ctime as it is, and a file read in between
    // would be taken for unchanged for ever. `status` is renewed after waiting.
    int settle(int fd, struct statx& status) const;

    // Pause before reading again for the `reading`th time.
    void pause(int reading) const;

    // Same content as far as the file system can tell.
    static bool same_state(const struct statx& before, const struct statx& after);

  private:
    void sleep_unless_stopped(Duration time) const;

    Fs& fs_;
    const Clock& clock_;
    std::stop_token stop_;
};

}  // namespace backup
