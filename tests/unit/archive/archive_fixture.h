// What the tests of the archive room share: a source in a directory of its own, a repository in
// memory, and a file system that misbehaves at chosen moments.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <linux/magic.h>

#include "daemon/archive/backup.h"
#include "daemon/backend/memory_backend.h"
#include "daemon/runtime/fs.h"
#include "tests/support/temp_directory.h"

namespace backup {

// The real file system with a word in every call. Hooks get the last component of the name and run
// on the thread that calls; they return 0 or the -errno to answer with.
class ScriptedFs final : public RealFs {
  public:
    std::function<int(std::string_view name)> on_open, on_status, on_list;
    // Before each read: `number` counts the reads of this file since it was opened, from 0.
    std::function<int(std::string_view name, int number)> on_read;
    // The same before each stat of an open file.
    std::function<int(std::string_view name, int number)> on_fstat;
    std::function<int(std::string_view name)> on_sync;
    // Alters what a stat of an open file tells.
    std::function<void(std::string_view name, struct statx& status)> change_status;
    std::int64_t file_system = EXT4_SUPER_MAGIC;  // what every file is on
    // As after another mount, or below another mount point: added to the device number of
    // everything whose path matches. By any thread.
    std::function<unsigned(const std::string& path)> other_device;

    int open(int directory, const char* name, int flags) override;
    int status(int directory, const char* name, int flags, struct statx& out) override;
    ssize_t list(int directory, MutableByteView buffer) override;
    ssize_t read(int fd, MutableByteView buffer) override;
    int sync_data(int fd) override;
    std::int64_t file_system_type(int) override { return file_system; }

    // Names that were opened, looked at or listed so far, sorted, each once.
    std::vector<std::string> touched() const;
    void forget_touched();
    // The most bytes that one read asked for.
    std::size_t longest_read() const { return longest_read_; }

  private:
    void touch(std::string_view name);
    int real_status(int directory, const char* name, int flags, struct statx& out);

    struct OpenFile {
        std::string name;
        int reads = 0, stats = 0;
    };
    std::atomic<std::size_t> longest_read_{0};
    mutable std::mutex mutex_;  // guards both maps
    std::map<int, OpenFile> files_;
    std::map<std::string, int> touched_;
};

class ArchiveTest : public testing::Test {
  protected:
    ArchiveTest();

    // Below the source directory; directories above are made.
    void put(const std::string& name, std::string_view content);
    void make_directory(const std::string& name);
    std::string at(const std::string& name) const { return source_ + "/" + name; }
    static std::string random_text(std::size_t size, unsigned seed);

    // Against the revision before, if there is one. Fails the test on an error.
    BackupResult run();
    Result<BackupResult> try_run(std::stop_token stop = {});
    // All nodes of a directory of a revision, by absolute path.
    std::vector<Node> nodes(const BackupResult& result, const std::string& path);
    std::vector<std::string> names(const BackupResult& result, const std::string& path);
    std::optional<Node> node(const BackupResult& result, const std::string& path);
    BlobId tree_of_source(const BackupResult& result) { return *node(result, source_)->subtree; }
    std::string content(const Node& node);
    std::vector<std::string> exception_texts() const;

    TempDirectory folder_;
    const std::string source_;
    MemoryBackend backend_;
    SystemClock clock_;
    std::unique_ptr<Repository> repository_;
    ScriptedFs fs_;
    BackupSet set_;
    BackupRequest request_;
    std::unique_ptr<Progress> progress_;
    std::unique_ptr<ExceptionLog> exceptions_;
};

}  // namespace backup
