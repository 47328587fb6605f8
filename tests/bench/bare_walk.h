// The least that can look at every object of a tree: directories wait in one stack; whoever takes
// one lists it, stats its entries and adds its subdirectories. What walks of ours are measured by.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"

namespace backup {

class BareWalk {
  public:
    // The number of objects below `root`.
    std::uint64_t run(const std::string& root, unsigned threads) {
        stack_ = {root};
        left_ = 1;
        std::vector<std::jthread> workers;
        for (unsigned i = 0; i < threads; ++i) workers.emplace_back([this] { work(); });
        workers.clear();
        return objects_;
    }

  private:
    void work() {
        std::vector<char> buffer(64 * 1024);
        for (;;) {
            std::string directory;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [this] { return !stack_.empty() || left_ == 0; });
                if (left_ == 0) return;
                directory = std::move(stack_.back());
                stack_.pop_back();
            }
            visit(directory, buffer);
            std::lock_guard lock(mutex_);
            if (--left_ == 0) wake_.notify_all();
        }
    }

    void visit(const std::string& directory, std::vector<char>& buffer) {
        UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        std::uint64_t objects = 0;
        for (;;) {
            ssize_t size = ::getdents64(fd.get(), buffer.data(), buffer.size());
            if (size <= 0) break;
            for (ssize_t at = 0; at < size;) {
                auto* record = reinterpret_cast<dirent64*>(buffer.data() + at);
                at += record->d_reclen;
                std::string_view name(record->d_name);
                if (name == "." || name == "..") continue;
                struct statx status;
                if (::statx(fd.get(), record->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS,
                            &status) != 0)
                    continue;
                ++objects;
                if (!S_ISDIR(status.stx_mode)) continue;
                std::lock_guard lock(mutex_);
                stack_.push_back(directory + "/" + std::string(name));
                ++left_;
                wake_.notify_one();
            }
        }
        objects_ += objects;
    }

    std::mutex mutex_;  // guards the stack and what is left
    std::condition_variable wake_;
    std::vector<std::string> stack_;
    std::size_t left_ = 0;
    std::atomic<std::uint64_t> objects_{0};
};

}  // namespace backup
