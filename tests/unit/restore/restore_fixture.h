// RestoreTest runs restores of made revisions into a directory of its own. For tests only.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/restore/restore.h"
#include "daemon/restore/temp_name.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/restore/revision_maker.h"

namespace backup {

namespace fs = std::filesystem;

inline std::string noise(std::size_t size, unsigned seed) {
    std::string text(size, '\0');
    std::uint64_t state = seed * 2654435761u + 1;
    for (char& byte : text) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        byte = static_cast<char>(state >> 56);
    }
    return text;
}

inline std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
}

inline struct stat status_of(const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
}

// Every path below a directory with its content: what must not change is compared as a whole.
inline std::map<std::string, std::string> picture(const fs::path& root) {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
        const struct stat status = status_of(entry.path());
        std::string text = std::to_string(status.st_mode) + " ";
        if (entry.is_symlink())
            text += fs::read_symlink(entry.path()).string();
        else if (entry.is_regular_file())
            text += std::to_string(status.st_mtim.tv_sec) + " " + read_file(entry.path());
        all[fs::relative(entry.path(), root).string()] = text;
    }
    return all;
}

// Needs the right to mount; unmounted with the object.
class Mount {
  public:
    Mount(const char* what, const fs::path& where, const char* type, unsigned long flags,
          const char* options = nullptr)
        : where_(where),
          is_there_(::geteuid() == 0 && ::mount(what, where.c_str(), type, flags, options) == 0) {}
    ~Mount() {
        if (is_there_) ::umount2(where_.c_str(), MNT_DETACH);
    }
    Mount(const Mount&) = delete;
    Mount& operator=(const Mount&) = delete;
    bool is_there() const { return is_there_; }

  private:
    const fs::path where_;
    const bool is_there_;
};

class RestoreTest : public ::testing::Test {
  protected:
    RestoreTest() : target_(scratch_.path() + "/target") { fs::create_directory(target_); }

    RestoreRequest request(const RevisionId& revision) {
        fd_.reset(::open(target_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        RestoreRequest request;
        request.revision = revision;
        request.target_fd = fd_.get();
        request.threads = 4;
        return request;
    }
    Result<RestoreResult> run(const RestoreRequest& request, std::stop_token stop = {}) {
        progress_ = std::make_unique<Progress>();
        log_ = std::make_unique<ExceptionLog>(*progress_);
        return run_restore(request, maker_.repository(), *progress_, *log_, stop);
    }
    RestoreCounts restore(const RestoreRequest& request) {
        Result<RestoreResult> result = run(request);
        EXPECT_TRUE(result.ok()) << result.error().message();
        return result.ok() ? result->counts : RestoreCounts{};
    }
    RestoreCounts restore(std::vector<Node> root, ConflictMode mode = ConflictMode::fail) {
        RestoreRequest wanted = request(maker_.commit(std::move(root)));
        wanted.on_conflict = mode;
        return restore(wanted);
    }
    std::vector<Exception> exceptions() const { return log_->list(); }
    void expect_no_exceptions() const {
        for (const Exception& one : exceptions())
            ADD_FAILURE() << one.path << ": " << one.error.message();
    }
    bool has_exception(const std::string& path, ErrorKind kind) const {
        for (const Exception& one : exceptions())
            if (one.path == path && one.error.kind() == kind) return true;
        return false;
    }
    void expect_no_temp_files() const {
        for (const auto& entry : fs::recursive_directory_iterator(target_))
            EXPECT_FALSE(is_temp_name(entry.path().filename().string())) << entry.path();
    }

    RevisionMaker maker_{std::size_t{64} << 10};  // small packs, so that there are several
    TempDirectory scratch_;
    fs::path target_;
    UniqueFd fd_;
    std::unique_ptr<Progress> progress_;
    std::unique_ptr<ExceptionLog> log_;
};

}  // namespace backup
