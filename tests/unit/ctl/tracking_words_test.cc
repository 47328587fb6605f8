#include "ctl/tracking_words.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

const Timestamp kNow = from_usec(2'000'000'000);

TrackingFacts facts(const char* state, std::uint64_t pending) {
    TrackingFacts made;
    made.state = state;
    made.watching = "inotify";
    made.pending = pending;
    made.bytes = pending * 4096;
    if (pending != 0) made.oldest_usec = to_usec(kNow) - 12'500'000;
    return made;
}

TEST(TrackingWords, SayWhatWaitsAndForHowLong) {
    const Looks looks;
    EXPECT_EQ(pending_text(facts("live", 0), kNow, looks), "nothing");
    EXPECT_EQ(pending_text(facts("live", 2), kNow, looks), "2 (8.0 KiB), 13 s");
    EXPECT_EQ(pending_sentence(facts("live", 1), kNow, looks),
              "1 change waits (4.0 KiB), for 13 s");
    EXPECT_EQ(pending_sentence(facts("live", 2000), kNow, looks),
              "2,000 changes wait (7.8 MiB), the oldest for 13 s");
    EXPECT_EQ(pending_sentence(facts("live", 0), kNow, looks), "nothing waits");
}

TEST(TrackingWords, NeverSayNothingWaitsWhereNobodyKnows) {
    const Looks looks;
    for (const char* state : {"off", "scanning"}) {
        EXPECT_EQ(pending_text(facts(state, 0), kNow, looks).find("nothing"), std::string::npos);
        EXPECT_NE(pending_sentence(facts(state, 0), kNow, looks).find("not known"),
                  std::string::npos);
    }
}

TEST(TrackingWords, TellTheReason) {
    EXPECT_EQ(tracking_sentence(facts("live", 0), ""), "live (inotify)");
    EXPECT_EQ(tracking_sentence(facts("degraded", 0), "raise the limit"),
              "degraded (inotify): raise the limit");
    EXPECT_NE(tracking_sentence(facts("off", 0), "").find("compares every file"),
              std::string::npos);
    TrackingFacts gap = facts("degraded", 0);
    gap.gaps = 2;
    EXPECT_NE(tracking_sentence(gap, "").find("2 file systems"), std::string::npos);
}

TEST(TrackingWords, ADaemonThatDoesNotTellIsOff) {
    EXPECT_EQ(tracking_facts(Dict()).state, "off");
}

TEST(TrackingWords, ClocksThatWentBackGiveNoNegativeAges) {
    EXPECT_EQ(seconds_since(to_usec(kNow) + 5'000'000, kNow), 0);
    JsonObject object;
    add_tracking(object, facts("live", 1), kNow);
    EXPECT_EQ(object.text(),
              "{\"tracking\":\"live\",\"gaps\":0,\"pending\":1,\"bytes\":4096,"
              "\"oldest_seconds\":12.5}");
}

TEST(TrackingWords, EveryWordThatStandsInTheWayHasASentence) {
    for (const char* word : {"disabled", "by-hand", "tracking-off", "tracking-scanning",
                             "tracking-degraded", "held", "locked", "offline"}) {
        const std::string sentence = blocked_sentence(word, "home", "because");
        EXPECT_EQ(sentence.find("waits: "), std::string::npos) << word;
        EXPECT_FALSE(sentence.empty()) << word;
    }
    EXPECT_EQ(blocked_sentence("new\nword", "home", ""), "waits: new\\x0aword");
}

}  // namespace
}  // namespace backup
