// A directory of its own for a test, removed with everything in it at the end. For tests only.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include <unistd.h>

namespace backup {

class TempDirectory {
  public:
    // On the disk, where syncing costs what it costs; or in memory, if there is such a place.
    enum class Where { disk, memory };
    explicit TempDirectory(Where where = Where::disk) {
        const char* base = std::getenv("TMPDIR");
        if (where == Where::memory && access("/dev/shm", W_OK | X_OK) == 0) base = "/dev/shm";
        std::string pattern = std::string(base != nullptr ? base : "/tmp") + "/backupd-test-XXXXXX";
        if (mkdtemp(pattern.data()) == nullptr) {
            std::perror("mkdtemp");
            std::abort();
        }
        path_ = pattern;
    }
    TempDirectory(const TempDirectory&) = delete;
    TempDirectory& operator=(const TempDirectory&) = delete;
    ~TempDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace backup
