// ReplacedFs shows directories of one place under the names of another: a snapshot of a volume, or
// a dump, where the live directory would be. What lies there has the device number of the live
// directory, so that what is stored of it is what it would be without. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/path.h"
#include "common/result.h"
#include "daemon/runtime/fs.h"

namespace backup {

struct Replacement {
    Path path, with;
    bool operator==(const Replacement&) const = default;
};

class ReplacedFs final : public Fs {
  public:
    // `base` outlives it. The error: what stands for a path is not there, or of another kind.
    static Result<std::unique_ptr<ReplacedFs>> make(Fs& base,
                                                    const std::vector<Replacement>& replacements);

    int open(int directory, const char* name, int flags) override;
    ssize_t list(int directory, MutableByteView buffer) override;
    int status(int directory, const char* name, int flags, struct statx& out) override;
    ssize_t read(int fd, MutableByteView buffer) override { return base_.read(fd, buffer); }
    std::int64_t seek(int fd, std::int64_t offset, int whence) override {
        return base_.seek(fd, offset, whence);
    }
    int sync_data(int fd) override;
    std::int64_t file_system_type(int fd) override { return base_.file_system_type(fd); }
    void advise(int fd, std::int64_t offset, std::int64_t length, int advice) override {
        base_.advise(fd, offset, length, advice);
    }
    ssize_t read_link(int directory, const char* name, MutableByteView buffer) override;
    ssize_t list_xattrs(int fd, MutableByteView buffer) override {
        return base_.list_xattrs(fd, buffer);
    }
    ssize_t get_xattr(int fd, const char* xattr, MutableByteView buffer) override {
        return base_.get_xattr(fd, xattr, buffer);
    }
    ssize_t list_xattrs_at(int directory, const char* name, bool follow,
                           MutableByteView buffer) override;
    ssize_t get_xattr_at(int directory, const char* name, bool follow, const char* xattr,
                         MutableByteView buffer) override;

  private:
    struct Place {
        std::string path, with;
        std::uint32_t device_major = 0, device_minor = 0;  // of what is at `with`
        std::uint32_t live_major = 0, live_minor = 0;      // of what is at `path`
    };
    struct Where {
        std::string name;              // empty: as it was asked for
        const Place* place = nullptr;  // that it lies in
    };
    explicit ReplacedFs(Fs& base) : base_(base) {}
    Where where(int directory, const char* name);

    Fs& base_;
    std::vector<Place> places_;
    std::mutex mutex_;                              // guards opened_
    std::unordered_map<int, const Place*> opened_;  // descriptors that lie in a place
};

}  // namespace backup
