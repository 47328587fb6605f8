#include "tests/support/flaky_backend.h"

namespace backup {

void FlakyBackend::fail_at(std::uint64_t n, Fault fault, Calls calls, Error error) {
    std::lock_guard lock(mutex_);
    at_ = n;
    fault_ = fault;
    counted_ = calls;
    error_ = std::move(error);
    count_ = 0;
    has_failed_ = false;
}

void FlakyBackend::heal() {
    std::lock_guard lock(mutex_);
    at_ = UINT64_MAX;
    lasts_ = 1;
}

std::optional<FlakyBackend::Fault> FlakyBackend::next_fault(bool is_changing) {
    std::lock_guard lock(mutex_);
    bool is_dead = fault_ == Fault::power_loss && has_failed_ && at_ != UINT64_MAX;
    if (is_dead) return Fault::power_loss;
    if (counted_ == Calls::changing && !is_changing) return std::nullopt;
    std::uint64_t number = count_++;
    if (number < at_ || number - at_ >= lasts_) return std::nullopt;
    has_failed_ = true;
    return fault_;
}

template <typename T, typename Call>
Result<T> FlakyBackend::run(bool is_changing, Call call) {
    std::optional<Fault> fault = next_fault(is_changing);
    if (!fault) return call();
    if (*fault == Fault::error_after) {
        auto done = call();
        if (!done.ok()) return done;
    }
    std::lock_guard lock(mutex_);
    return error_;
}

Result<> FlakyBackend::put(const Handle& handle, ByteView content) {
    return run<void>(true, [&] { return behind_.put(handle, content); });
}
Result<Bytes> FlakyBackend::get(const Handle& handle, ByteRange range) {
    return run<Bytes>(false, [&] { return behind_.get(handle, range); });
}
Result<FileInfo> FlakyBackend::stat(const Handle& handle) {
    return run<FileInfo>(false, [&] { return behind_.stat(handle); });
}
Result<> FlakyBackend::list(FileType type, const std::function<void(const FileInfo&)>& each) {
    return run<void>(false, [&] { return behind_.list(type, each); });
}
Result<> FlakyBackend::remove_lock(const LockId& id) {
    return run<void>(true, [&] { return behind_.remove_lock(id); });
}
Result<> FlakyBackend::create() {
    return run<void>(true, [&] { return behind_.create(); });
}
Result<> FlakyBackend::remove(const Handle& handle) {
    return run<void>(true, [&]() -> Result<> {
        if (deleting_ == nullptr) return Error(ErrorKind::denied, "this backend cannot delete");
        return deleting_->remove(handle);
    });
}

}  // namespace backup
