#include "daemon/archive/read_back.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

#include "daemon/runtime/worker_pool.h"

namespace backup {

namespace {

constexpr unsigned kMostReaders = 8;
// Below it threads cost more than they save.
constexpr std::size_t kWorthAThread = 16;

struct Sample {
    BlobLocation place;
    BlobHandle blob;
};

Result<std::vector<Sample>> in_order_of_packs(const BlobSource& source,
                                              const std::vector<BlobHandle>& blobs) {
    std::vector<Sample> samples;
    samples.reserve(blobs.size());
    for (const BlobHandle& blob : blobs) {
        auto place = source.locate(blob);
        if (!place)
            return Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                         "a blob that was just stored is not in the index");
        samples.push_back({*place, blob});
    }
    std::ranges::sort(samples, [](const Sample& a, const Sample& b) {
        return std::tie(a.place.pack, a.place.offset) < std::tie(b.place.pack, b.place.offset);
    });
    return samples;
}

Result<> check(BlobSource& source, const Sample& sample) {
    auto checked = source.check(sample.blob);
    if (checked.ok()) return {};
    Error error = std::move(checked).error().during(
        "what was just stored cannot be read back from pack " + sample.place.pack.short_hex());
    const bool is_damage =
        error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
    return is_damage ? Error(ErrorKind::corrupt, ErrorCode::repository_damaged, error.message())
                     : error;
}

class ReadBack {
  public:
    ReadBack(BlobSource& source, std::vector<Sample> samples, Progress& progress,
             const std::stop_token& stop)
        : source_(source), samples_(std::move(samples)), progress_(progress), stop_(stop) {}

    // One thread's share: what no other has taken, until there is nothing left or one has failed.
    void work() {
        for (std::size_t i; !has_failed_ && (i = next_++) < samples_.size();) {
            Result<> checked =
                stop_.stop_requested()
                    ? Error(ErrorKind::cancelled, ErrorCode::cancelled, "the backup was cancelled")
                    : check(source_, samples_[i]);
            if (!checked.ok()) return fail(i, std::move(checked).error());
            ++blobs_;
            bytes_ += samples_[i].place.length;
            progress_.items_done.fetch_add(1, std::memory_order_relaxed);
        }
    }
    Result<ReadBackCounts> outcome() && {
        if (error_) return *std::move(error_);
        return ReadBackCounts{blobs_, bytes_};
    }

  private:
    // The first in order is told, whichever thread was faster.
    void fail(std::size_t at, Error error) {
        std::lock_guard lock(mutex_);
        has_failed_ = true;
        if (error_ && failed_at_ < at) return;
        failed_at_ = at;
        error_ = std::move(error);
    }

    BlobSource& source_;
    const std::vector<Sample> samples_;
    Progress& progress_;
    const std::stop_token stop_;
    std::atomic<std::size_t> next_{0};
    std::atomic<bool> has_failed_{false};
    std::atomic<std::uint64_t> blobs_{0}, bytes_{0};
    std::mutex mutex_;  // guards what follows
    std::size_t failed_at_ = 0;
    std::optional<Error> error_;
};

}  // namespace

Result<ReadBackCounts> read_back(BlobSource& source, const std::vector<BlobHandle>& blobs,
                                 unsigned connections, Progress& progress,
                                 const std::stop_token& stop) {
    if (blobs.empty()) return ReadBackCounts{};
    progress.phase = Phase::verifying;
    ReadBack reading(source, TRY(in_order_of_packs(source, blobs)), progress, stop);
    const auto others = static_cast<unsigned>(
        std::min<std::size_t>(std::min(connections, kMostReaders), blobs.size() / kWorthAThread));
    WorkerPool pool("read-back-", others > 1 ? others - 1 : 0,
                    [&reading](std::stop_token, unsigned) { reading.work(); });
    reading.work();
    pool.join();
    return std::move(reading).outcome();
}

}  // namespace backup
