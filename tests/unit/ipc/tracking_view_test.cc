#include "daemon/ipc/tracking_view.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "tests/unit/ipc/fake_tracker.h"

namespace backup {
namespace {

std::string listing(FakeTracker* tracker, std::uint64_t limit) {
    signal(SIGPIPE, SIG_IGN);
    Pipe pipe = make_pipe().value();
    {
        PipeWriter writer(std::move(pipe.writer), {});
        LineWriter lines(writer);
        EXPECT_TRUE((QueueListing{tracker, "home", limit}(lines).ok()));
        EXPECT_TRUE(lines.flush().ok());
    }
    std::string all(65536, '\0');
    const ssize_t n = ::read(pipe.reader.get(), all.data(), all.size());
    all.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return all;
}

TEST(QueueListing, TellsEachEntryOnALineWithNamesInAnyBytes) {
    FakeTracker tracker;
    tracker.entries = {{"/a", "modified", Timestamp(), 5, true},
                       {"/b\xff", "created", Timestamp(), 0, false}};
    const std::string all = listing(&tracker, 0);
    EXPECT_NE(all.find("{\"path\":\"/a\",\"kind\":\"modified\",\"since\":\""), std::string::npos);
    EXPECT_NE(all.find("\"bytes\":5,\"held\":true}\n"), std::string::npos) << all;
    EXPECT_NE(all.find("\"path_b64\":\"L2L/\""), std::string::npos) << all;
    EXPECT_EQ(tracker.asked_limit, 0u) << "all";
    listing(&tracker, 1);
    EXPECT_EQ(tracker.asked_limit, 1u) << "names are resolved only as far as somebody asks";
}

TEST(QueueListing, WithoutATrackerIsEmpty) {
    EXPECT_EQ(listing(nullptr, 0), "");
}

TEST(TrackingView, TheWeakestWayOfWatchingIsTold) {
    TrackingStatus all, one;
    EXPECT_EQ(watching_word(all), "scan");
    one.watching = "fanotify";
    weaken(all, one);
    EXPECT_EQ(watching_word(all), "fanotify");
    one.watching = "inotify";
    weaken(all, one);
    EXPECT_EQ(watching_word(all), "inotify");
    one.watching = "fanotify";
    weaken(all, one);
    EXPECT_EQ(watching_word(all), "inotify");
    weaken(all, TrackingStatus{});
    EXPECT_EQ(watching_word(all), "scan");
}

}  // namespace
}  // namespace backup
