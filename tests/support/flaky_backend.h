// FlakyBackend stands before another backend and fails at call N, once or for good, or loses power
// there. For tests: run the same thing for every N until it succeeds untouched, and look at what
// the backend behind it holds. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "daemon/backend/backend.h"

namespace backup {

class FlakyBackend final : public Backend, public DeletingBackend {
  public:
    enum class Fault : std::uint8_t {
        error,        // the call fails and has done nothing
        error_after,  // the call does its work and fails all the same: the answer was lost
        power_loss,   // this call and all later ones do nothing and fail
    };
    enum class Calls : std::uint8_t { all, changing };  // which calls are counted

    explicit FlakyBackend(Backend& behind, DeletingBackend* deleting = nullptr)
        : behind_(behind), deleting_(deleting) {}

    // Call number `n` (from 0, counted anew from now) has the fault.
    void fail_at(std::uint64_t n, Fault fault, Calls calls = Calls::changing,
                 Error error = Error(ErrorKind::io, "injected fault"));
    // The fault lasts for so many calls (error and error_after).
    void fail_for(std::uint64_t calls) { lasts_ = calls; }
    void heal();
    std::uint64_t calls() const { return count_; }
    bool has_failed() const { return has_failed_; }

    BackendProperties properties() const override { return behind_.properties(); }
    Result<> put(const Handle& handle, ByteView content) override;
    Result<Bytes> get(const Handle& handle, ByteRange range = {}) override;
    Result<FileInfo> stat(const Handle& handle) override;
    Result<> list(FileType type, const std::function<void(const FileInfo&)>& each) override;
    Result<> remove_lock(const LockId& id) override;
    std::optional<SpaceInfo> space() override { return behind_.space(); }
    Result<> create() override;
    Result<> remove(const Handle& handle) override;

  private:
    // What the call that begins now is to suffer.
    std::optional<Fault> next_fault(bool is_changing);
    template <typename T, typename Call>
    Result<T> run(bool is_changing, Call call);

    Backend& behind_;
    DeletingBackend* deleting_;
    mutable std::mutex mutex_;  // guards what follows
    std::uint64_t at_ = UINT64_MAX;
    std::uint64_t lasts_ = 1;
    Fault fault_ = Fault::error;
    Calls counted_ = Calls::changing;
    Error error_{ErrorKind::io, "injected fault"};
    std::atomic<std::uint64_t> count_{0};
    std::atomic<bool> has_failed_{false};
};

}  // namespace backup
