#include "daemon/backend/rates.h"

#include <algorithm>

namespace backup {

namespace {

// Without a limit pieces are only as small as a gate needs that closes within seconds on a slow
// storage.
constexpr std::size_t kMostPiece = std::size_t{4} << 20;
constexpr std::size_t kLeastPiece = std::size_t{16} << 10;
constexpr std::uint64_t kPiecesASecond = 16;

}  // namespace

void Rates::limit(Way way, const std::string& set, std::uint64_t rate) {
    {
        std::lock_guard lock(mutex_);
        Lanes& these = lanes(way);
        TokenBucket& bucket = set.empty() ? these.all : these.by_set[set];
        bucket.set_rate(rate, clock_.monotonic());
    }
    changed_.notify_all();
}

std::uint64_t Rates::passed(Way way) const {
    std::lock_guard lock(mutex_);
    return lanes(way).passed;
}

std::shared_ptr<Rates::Gate> Rates::gate(Way way, const std::string& set) {
    return std::shared_ptr<Gate>(new Gate(shared_from_this(), way, set));
}

bool Rates::Gate::pass(std::size_t bytes) {
    std::unique_lock lock(rates_->mutex_);
    Lanes& these = rates_->lanes(way_);
    for (;;) {
        if (has_let_go_) return false;
        if (!is_open_) {
            rates_->changed_.wait(lock);
            continue;
        }
        TokenBucket& own = these.by_set[set_];
        const MonotonicTime now = rates_->clock_.monotonic();
        const Duration wait = std::max(these.all.wait(now), own.wait(now));
        if (wait > Duration::zero()) {
            rates_->changed_.wait_for(lock, wait);
            continue;
        }
        these.all.take(bytes, now);
        own.take(bytes, now);
        these.passed += bytes;
        passed_ += bytes;
        return true;
    }
}

std::size_t Rates::Gate::piece() const {
    std::lock_guard lock(rates_->mutex_);
    const Lanes& these = rates_->lanes(way_);
    std::uint64_t rate = these.all.rate();
    if (auto own = these.by_set.find(set_); own != these.by_set.end() && own->second.rate() != 0)
        rate = rate == 0 ? own->second.rate() : std::min(rate, own->second.rate());
    if (rate == 0) return kMostPiece;
    const auto piece =
        static_cast<std::size_t>(std::min<std::uint64_t>(rate / kPiecesASecond, kMostPiece));
    // Whole pages, for writes past the page cache.
    return std::max(piece / kLeastPiece * kLeastPiece, kLeastPiece);
}

void Rates::Gate::open() {
    {
        std::lock_guard lock(rates_->mutex_);
        is_open_ = true;
    }
    rates_->changed_.notify_all();
}

void Rates::Gate::close() {
    std::lock_guard lock(rates_->mutex_);
    is_open_ = false;
}

bool Rates::Gate::is_open() const {
    std::lock_guard lock(rates_->mutex_);
    return is_open_;
}

void Rates::Gate::let_go() {
    {
        std::lock_guard lock(rates_->mutex_);
        has_let_go_ = true;
    }
    rates_->changed_.notify_all();
}

std::uint64_t Rates::Gate::passed() const {
    std::lock_guard lock(rates_->mutex_);
    return passed_;
}

}  // namespace backup
