// InotifyWatcher watches every directory below its roots by inotify, where a mark on the whole file
// system cannot be had. See watcher.h; made by watch_with_inotify().
//
// Two threads: the reader copies what the kernel has into memory; the other one takes the records
// apart, watches directories that came, and keeps the tree. So the kernel's queue, which is short,
// does not overflow while a large directory that came is walked.
//
// Records name places, not objects, and the file system is already further on when they are read.
// Who a directory is, is found by looking; what a record says about the past of a directory is only
// believed where no look came in between. Otherwise it is told as `arrived`, which claims nothing.
//
// `born` and `arrived` come with a relist of every directory below that raised no event for what is
// in it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "daemon/watch/directory_watches.h"
#include "daemon/watch/event_decoder.h"
#include "daemon/watch/mailbox.h"
#include "daemon/watch/reader_thread.h"
#include "daemon/watch/watcher.h"

namespace backup {

class InotifyWatcher : public Watcher, private EventQueue {
  public:
    InotifyWatcher(std::vector<Path> roots, std::uint64_t device, WatchOptions options);
    ~InotifyWatcher() override;
    Result<> start();

    WatchBatch take() override { return mailbox_.take(); }
    Result<WatchBatch> barrier() override;
    std::optional<std::string> path_of(const ObjectHandle& directory) override;
    // Of directories that are watched, wherever they are: no more than that. Files are not known.
    std::optional<ObjectFacts> facts_of(const ObjectHandle& object) override;
    std::vector<std::string> unwatched() override;
    void retry_unwatched() override;
    WatchStatus status() const override;
    void stall(bool stalled) override { reader_.stall(stalled); }

  private:
    using Node = WatchTree::Node;
    using Clock = std::chrono::steady_clock;
    // The first half of a rename of a directory.
    struct Departure {
        ObjectHandle object;  // empty: not known
        ObjectHandle directory;
        std::string name;
        bool is_certain = false;  // the tree was as the records say
        bool is_unclear = false;  // it could be one of two
        Clock::time_point since{};
    };
    struct Place {
        ObjectHandle directory;
        std::string name;
    };

    // Reader's thread.
    int descriptor() const override { return is_dead_ ? -1 : watches_.descriptor(); }
    std::chrono::milliseconds read_queue() override;
    void mounts_changed() override;
    void give_up(std::string_view reason) override;

    // The other thread.
    void run();
    void process(ByteView buffer);
    void collect(const InotifyRecord& record, Node node);
    void departed(Node node, const ObjectHandle& directory, const InotifyRecord& record);
    void came(Node node, const ObjectHandle& directory, const InotifyRecord& record);
    void report(DirectoryWatches::Look look);
    void do_chores();
    void retry_looks();
    void expire_departures();
    void look_at_all();
    void watch_ended(int watch);
    void start_over(std::string_view reason);

    bool wait_until_processed();
    void request_unwatched(bool wait);

    const std::vector<Path> roots_;
    const std::uint64_t device_;
    const WatchOptions options_;
    Mailbox mailbox_;
    std::atomic<std::uint64_t> readings_ = 0;  // begun
    DirectoryWatches watches_;
    std::atomic<bool> is_dead_ = false;

    // Between the two threads.
    struct Reading {
        Bytes records;
        std::uint64_t number = 0;  // of the reading; 0: it goes on
        bool is_overflow = false;
    };
    std::mutex mutex_;
    std::condition_variable work_came_, work_done_;
    std::deque<Reading> readings_done_;
    std::size_t waiting_bytes_ = 0;
    std::uint64_t pushed_ = 0, processed_ = 0;
    std::uint64_t unwatched_asked_ = 0, unwatched_done_ = 0;
    bool is_stopping_ = false;

    // The other thread only.
    std::uint64_t processed_reading_ = 0;
    std::map<std::uint32_t, Departure> departures_;  // by cookie
    std::vector<Place> later_;
    unsigned later_tries_ = 0;
    bool has_looked_ = false;
    Clock::time_point next_look_{};
    Clock::time_point next_chore_ = Clock::time_point::max();

    std::atomic<std::uint64_t> records_ = 0, overflows_ = 0, queue_bytes_ = 0;
    mutable std::mutex problem_mutex_;
    std::string problem_;
    Bytes buffer_;
    std::thread worker_;
    ReaderThread reader_;  // last: its thread uses all of the above
};

}  // namespace backup
