// What small and large files have in common: opening a source file safely, and telling whether it
// stayed the same while it was read. Thread-safe.
#pragma once

#include <stop_token>

#include "common/clock.h"
#include "common/unique_fd.h"
#include "daemon/archive/data_sync.h"
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

    // `reads_unsettled`: files whose stamps are whole seconds and young are not waited for, because
    // somebody keeps account of what is not settled.
    SourceReader(Fs& fs, const Clock& clock, bool reads_unsettled, std::stop_token stop)
        : fs_(fs),
          clock_(clock),
          reads_unsettled_(reads_unsettled),
          stop_(std::move(stop)),
          sync_(fs) {}

    // Never waiting for the writer of a fifo, not changing the access time.
    static const int kFile;       // no symbolic link
    static const int kDirectory;  // no symbolic link
    static const int kDirectoryOrLink;
    // -errno on failure; EMFILE, ENFILE and ENOMEM only after they have lasted for more than a
    // second.
    int open(Place place, int flags, UniqueFd& out) const;

    // What comes between the opening of a file and its reading. `status`, its first stat, is
    // renewed where time passed. 0, or -errno of a stat.
    //
    // Waits until a later change must show in ctime. Kernels stamp with the time of the last tick:
    // a change in the same tick as the one before leaves ctime as it is, and a file read in between
    // would be taken for unchanged for ever.
    //
    // `may_be_written`: somebody may write without an event. A store to a mapped page moves ctime
    // only if the page is clean, so the pages are cleaned first; a write that is still on its way
    // moved ctime when it was submitted, so a ctime that is young proves nothing.
    //
    // `is_settled`: what is read now and seen unchanged by a stat afterwards will be seen as
    // changed by a later stat if it ever changes.
    int prepare(int fd, bool may_be_written, struct statx& status, bool& is_settled);

    // Pause before reading again for the `reading`th time.
    void pause(int reading) const;

    // Same content as far as the file system can tell.
    static bool same_state(const struct statx& before, const struct statx& after);

  private:
    void sleep_unless_stopped(Duration time) const;
    Duration age_of_change(const struct statx& status) const;
    bool cleans_pages(int fd) const;

    Fs& fs_;
    const Clock& clock_;
    const bool reads_unsettled_;
    std::stop_token stop_;
    DataSync sync_;
};

}  // namespace backup
