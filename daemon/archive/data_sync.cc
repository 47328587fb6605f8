#include "daemon/archive/data_sync.h"

#include <condition_variable>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>

#include "common/unique_fd.h"

namespace backup {

// Lives as long as the longer of DataSync and its thread.
struct DataSync::Shared {
    std::mutex mutex;  // guards all below
    std::condition_variable to_thread, to_caller;
    UniqueFd wanted;
    bool is_busy = false;  // from the request until its answer
    bool is_synced = false;
    bool ends = false;

    void serve(Fs& fs) {
        std::unique_lock lock(mutex);
        for (;;) {
            to_thread.wait(lock, [this] { return ends || wanted; });
            if (ends) return;
            UniqueFd fd = std::move(wanted);
            lock.unlock();
            bool synced = fs.sync_data(fd.get()) == 0;
            fd.reset();
            lock.lock();
            is_synced = synced;
            is_busy = false;
            to_caller.notify_all();
        }
    }
};

DataSync::~DataSync() {
    if (!shared_) return;
    std::lock_guard lock(shared_->mutex);
    shared_->ends = true;
    shared_->to_thread.notify_all();
}

bool DataSync::sync(int fd, const std::stop_token& stop) {
    std::lock_guard one_at_a_time(mutex_);
    UniqueFd own(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!own || stop.stop_requested()) return false;
    if (!shared_) {
        auto shared = std::make_shared<Shared>();
        try {
            std::thread([shared, &fs = fs_] { shared->serve(fs); }).detach();
        } catch (const std::system_error&) {
            return false;  // no thread to be had now
        }
        shared_ = std::move(shared);
    }
    std::unique_lock lock(shared_->mutex);
    if (shared_->is_busy) return false;  // stuck since an earlier call
    shared_->is_busy = true;
    shared_->is_synced = false;
    shared_->wanted = std::move(own);
    shared_->to_thread.notify_all();
    // In slices: a request to stop is obeyed soon.
    Duration waited{};
    constexpr Duration kSlice = std::chrono::milliseconds(50);
    while (shared_->is_busy && waited < most_wait_ && !stop.stop_requested()) {
        shared_->to_caller.wait_for(lock, kSlice, [this] { return !shared_->is_busy; });
        waited += kSlice;
    }
    return !shared_->is_busy && shared_->is_synced;
}

}  // namespace backup
