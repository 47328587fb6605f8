// The tracker as a whole, with a host and a clock of the test's own.
#include "daemon/tracking/tracker.h"

#include <condition_variable>
#include <mutex>

#include <gtest/gtest.h>

#include "tests/support/memory_state.h"
#include "tests/support/temp_directory.h"

namespace backup {

namespace {

// A host whose repository cannot be read until the test says so.
class Host final : public TrackerHost {
  public:
    Result<std::optional<Base>> base_of(const std::string&) override {
        std::lock_guard lock(mutex_);
        ++asked_;
        if (is_away_) return Error(ErrorKind::io, "the disk is not there");
        return std::optional<Base>();
    }
    void tracking_changed(const std::string&) override {
        std::lock_guard lock(mutex_);
        ++happenings_;
        happened_.notify_all();
    }
    void tracking_message(LogLevel, const std::string&) override {}

    void comes_back() {
        std::lock_guard lock(mutex_);
        is_away_ = false;
    }
    int asked() const {
        std::lock_guard lock(mutex_);
        return asked_;
    }
    bool wait(const std::function<bool()>& until) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        for (bool in_time = true; in_time;) {
            std::unique_lock lock(mutex_);
            const std::uint64_t seen = happenings_;
            lock.unlock();
            if (until()) return true;
            lock.lock();
            in_time = happened_.wait_until(lock, end, [&] { return happenings_ != seen; });
        }
        return false;
    }

  private:
    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable happened_;
    std::uint64_t happenings_ = 0;
    int asked_ = 0;
    bool is_away_ = true;
};

}  // namespace

// The clock stands still: the time for another try never comes by itself.
TEST(TrackerTest, AComparisonThatFailedIsTriedAtOnceWhenTheRepositoryReturns) {
    TempDirectory folder;
    Host host;
    MemoryState store;
    TestClock clock;
    auto policy = std::make_shared<Policy>();
    BackupSet& set = policy->sets["home"];
    set.id = "home";
    set.paths = {*Path::parse(folder.path())};
    TrackerOptions options;
    options.state_dir = folder.path();
    options.watching = {"scan"};
    auto tracker = Tracker::make(host, store, clock, std::move(options));
    tracker->set_policy(policy, {});
    auto reason = [&] { return tracker->status("home").reason; };
    ASSERT_TRUE(host.wait([&] { return reason().ends_with("; the disk is not there"); }))
        << reason();
    EXPECT_EQ(host.asked(), 1);
    tracker->repository_returned("another");
    host.comes_back();
    tracker->repository_returned("home");
    EXPECT_TRUE(host.wait([&] { return reason().starts_with("no revision yet"); })) << reason();
    EXPECT_EQ(host.asked(), 2);
}

}  // namespace backup
