// SlowBackend is a storage at the end of a slow line, for tests: what goes there and comes from
// there takes one of a few connections, each of a bounded rate, in small chunks, and a line is
// written for each chunk that arrived. Behind it is another backend. Thread-safe; calls block.
//
// On when BACKUPD_SLOW_STORAGE is set in the environment: "connections=4 rate=15728640
// latency-ms=20 log=/file"; the rate is of each connection, in bytes a second.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/unique_fd.h"
#include "daemon/backend/backend.h"
#include "daemon/backend/stride.h"

namespace backup {

struct SlowLine {
    unsigned connections = 4;
    std::uint64_t rate = std::uint64_t{1} << 20;
    Duration latency{};  // before each file
    // For each chunk "MICROSECONDS up|down CONNECTION TYPE BYTES", of the monotonic clock.
    std::string log;

    static Result<SlowLine> parse(std::string_view text);
};

class SlowBackend final : public Backend {
  public:
    SlowBackend(std::unique_ptr<Backend> behind, SlowLine line);

    BackendProperties properties() const override;
    Result<> put(const Handle& handle, ByteView content) override;
    Result<> put_paced(const Handle& handle, ByteView content, Pace& pace) override;
    Result<Bytes> get(const Handle& handle, ByteRange range) override;
    Result<FileInfo> stat(const Handle& handle) override { return behind_->stat(handle); }
    Result<> list(FileType type, const std::function<void(const FileInfo&)>& each) override {
        return behind_->list(type, each);
    }
    Result<> remove_lock(const LockId& id) override { return behind_->remove_lock(id); }
    std::optional<SpaceInfo> space() override { return behind_->space(); }
    Result<> create() override { return behind_->create(); }

  private:
    class Connection;
    // Blocks for as long as the line takes.
    void transfer(const char* way, FileType type, std::size_t bytes);
    void note(const char* way, unsigned connection, FileType type, std::size_t bytes);

    const std::unique_ptr<Backend> behind_;
    const SlowLine line_;
    UniqueFd log_;
    Stride stride_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<unsigned> free_;
};

}  // namespace backup
