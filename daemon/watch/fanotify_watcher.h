// FanotifyWatcher watches one whole file system with one mark, by fanotify records that name
// objects by their handles. Needs CAP_SYS_ADMIN for the mark and CAP_DAC_READ_SEARCH to find out
// where a handle is. See watcher.h; made by watch_with_fanotify().
//
// No descriptor on the file system is held between calls, so that it can be unmounted.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/watch/event_decoder.h"
#include "daemon/watch/kernel_handle.h"
#include "daemon/watch/mailbox.h"
#include "daemon/watch/reader_thread.h"
#include "daemon/watch/watcher.h"

namespace backup {

// A group and what it was possible to ask for.
struct FanotifyGroup {
    UniqueFd fd;
    unsigned init_flags = 0;
    std::uint64_t mask = 0;
};

// The best group that this kernel gives, marked for the file system of `root`.
Result<FanotifyGroup> make_fanotify_group(const Path& root);
// The marks of a group, by device as fdinfo shows it. False: not on this device, or not to be seen.
bool is_marked(int group, std::uint64_t device);

class FanotifyWatcher : public Watcher, private EventQueue {
  public:
    FanotifyWatcher(const std::vector<Path>& roots, std::uint64_t device, WatchOptions options);
    ~FanotifyWatcher() override;
    Result<> start(UniqueFd inherited);

    WatchBatch take() override { return mailbox_.take(); }
    Result<WatchBatch> barrier() override;
    std::optional<std::string> path_of(const ObjectHandle& directory) override;
    std::optional<ObjectFacts> facts_of(const ObjectHandle& object) override;
    UniqueFd open_directory(const ObjectHandle& directory) override;
    std::vector<std::string> unwatched() override { return {}; }
    void retry_unwatched() override {}
    WatchStatus status() const override;
    UniqueFd group() const override;
    void stop() override { reader_.stop(); }
    void stall(bool stalled) override { reader_.stall(stalled); }

  private:
    int descriptor() const override { return group_.fd.get(); }
    std::chrono::milliseconds read_queue() override;
    void mounts_changed() override;
    void give_up(std::string_view reason) override;

    std::uint64_t queued_records() const;
    void decode(ByteView buffer, Collector& collector, std::uint64_t& records);
    void collect(const FanotifyRecord& record, Collector& collector);
    void start_over(std::uint64_t queued);
    // A place to begin, with the device that stat shows for it.
    struct Root {
        Path path;
        std::uint64_t device = 0;
    };
    // Not open: it is not there any more, or not on this file system.
    UniqueFd open_root(const Root& root);
    UniqueFd open_object(const UniqueFd& root, KernelHandle& kernel);
    // Through any of the roots.
    UniqueFd open_object(const ObjectHandle& handle);
    void lose_object(int error);
    std::optional<std::string> path_through(const Root& root, const ObjectHandle& handle);

    std::vector<Root> roots_;
    const std::uint64_t device_;
    const WatchOptions options_;
    Mailbox mailbox_;
    const UniqueFd links_;  // /proc/self/fd
    // Reader only, but for the descriptor's copy in group().
    FanotifyGroup group_;
    mutable std::mutex group_mutex_;
    Bytes buffer_;
    ObjectHandle scratch_, scratch_object_;
    std::atomic<std::uint64_t> records_ = 0, overflows_ = 0, queue_bytes_ = 0;
    mutable std::mutex problem_mutex_;
    std::string problem_;
    ReaderThread reader_;  // last: its thread uses all of the above
};

}  // namespace backup
