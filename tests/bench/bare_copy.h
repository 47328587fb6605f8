// The least that can write a tree again: directories wait in one stack; whoever takes one makes it
// and copies its files with their modes and times. What restores of ours are measured by. Regular
// files and directories only.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
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

class BareCopy {
  public:
    void run(const std::string& from, const std::string& to, unsigned threads) {
        from_ = from;
        to_ = to;
        stack_ = {""};
        left_ = 1;
        std::vector<std::jthread> workers;
        for (unsigned i = 0; i < threads; ++i) workers.emplace_back([this] { work(); });
    }

  private:
    static constexpr std::size_t kPiece = std::size_t{1} << 20;

    [[noreturn]] static void die(const std::string& what) {
        std::perror(what.c_str());
        std::exit(1);
    }

    void work() {
        std::vector<char> buffer(kPiece);
        for (;;) {
            std::string directory;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [this] { return !stack_.empty() || left_ == 0; });
                if (left_ == 0) return;
                directory = std::move(stack_.back());
                stack_.pop_back();
            }
            copy_directory(directory, buffer);
            std::lock_guard lock(mutex_);
            if (--left_ == 0) wake_.notify_all();
        }
    }

    void copy_directory(const std::string& directory, std::vector<char>& buffer) {
        const std::string from = from_ + directory, to = to_ + directory;
        if (::mkdir(to.c_str(), 0755) != 0 && errno != EEXIST) die(to);
        const UniqueFd source(::open(from.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const UniqueFd target(::open(to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        DIR* list = ::opendir(from.c_str());
        if (!source || !target || list == nullptr) die(from);
        while (const dirent* entry = ::readdir(list)) {
            const std::string_view name(entry->d_name);
            if (name == "." || name == "..") continue;
            if (entry->d_type == DT_DIR) {
                std::lock_guard lock(mutex_);
                stack_.push_back(directory + "/" + entry->d_name);
                ++left_;
                wake_.notify_one();
            } else {
                copy_file(source.get(), target.get(), entry->d_name, buffer);
            }
        }
        ::closedir(list);
    }

    static void copy_file(int source, int target, const char* name, std::vector<char>& buffer) {
        const UniqueFd in(::openat(source, name, O_RDONLY | O_CLOEXEC));
        struct stat status {};
        if (!in || ::fstat(in.get(), &status) != 0) die(name);
        const UniqueFd out(
            ::openat(target, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, status.st_mode));
        if (!out) die(name);
        for (off_t left = status.st_size; left > 0;) {
            const ssize_t got = ::read(in.get(), buffer.data(), buffer.size());
            if (got <= 0) break;
            if (::write(out.get(), buffer.data(), static_cast<std::size_t>(got)) != got) die(name);
            left -= got;
        }
        const timespec times[] = {status.st_atim, status.st_mtim};
        ::futimens(out.get(), times);
    }

    std::string from_, to_;
    std::mutex mutex_;  // guards the stack and what is left
    std::condition_variable wake_;
    std::vector<std::string> stack_;  // below from_
    std::size_t left_ = 0;
};

}  // namespace backup
