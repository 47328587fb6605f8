#include "daemon/tracking/tracked_set.h"

#include <map>

#include <gtest/gtest.h>

#include "daemon/tracking/look_at_changes.h"

namespace backup {

namespace {

using Move = WatchBatch::DirectoryMove;

class TrackedSetTest : public testing::Test {
  protected:
    TrackedSetTest() : tracked_(definition(), *Scope::make(definition(), {})) {
        resolver_.path_of = [this](const ObjectHandle& handle) -> std::optional<std::string> {
            auto found = paths_.find(handle);
            if (found == paths_.end()) return std::nullopt;
            return found->second;
        };
        resolver_.exists = [](const ObjectHandle&) { return true; };
        resolver_.has_other_names = [](const ObjectHandle&) { return false; };
    }
    static BackupSet definition() {
        BackupSet set;
        set.id = "set";
        set.paths.push_back(*Path::parse("/top/set"));
        return set;
    }
    void absorb(const WatchBatch& batch) { tracked_.absorb("v", batch, resolver_, Timestamp{}); }
    void rename(const ObjectHandle& object, const std::string& from, const std::string& to) {
        WatchBatch batch;
        batch.moves.push_back({Move::Kind::moved, object, "S", "S", from, to});
        absorb(batch);
        paths_[object] = "/top/set/" + to;
    }
    // What a run would do now.
    std::unique_ptr<LookAtChanges> look() {
        frozen_ = tracked_.queue().freeze();
        LookAtInput input;
        input.marks = &frozen_;
        input.resolver.path_of = [this](const VolumeId&, const ObjectHandle& handle) {
            return resolver_.path_of(handle);
        };
        input.paths = definition().paths;
        return std::move(*LookAtChanges::build(input));
    }

    // What the next daemon finds in the store.
    TrackedSet started_again() {
        TrackedSet again(definition(), *Scope::make(definition(), {}));
        EXPECT_TRUE(again.load(tracked_.all_records()).ok());
        return again;
    }

    std::map<ObjectHandle, std::string> paths_{{"S", "/top/set"}, {"D", "/top/set/a"}};
    TrackedSet::Resolver resolver_;
    TrackedSet tracked_;
    FrozenMarks frozen_;
};

}  // namespace

TEST_F(TrackedSetTest, ARenamedDirectoryIsLookedAtAsAWholeAfterALoss) {
    rename("D", "a", "b");
    EXPECT_EQ(look()->directory("/top/set/b"), LookAt::Directory::untouched);
    WatchBatch lost;
    lost.lost = "the queue overflowed";
    absorb(lost);
    ASSERT_TRUE(tracked_.needs_scan());
    tracked_.compared(tracked_.losses());
    EXPECT_FALSE(tracked_.needs_scan());
    EXPECT_EQ(look()->directory("/top/set/b"), LookAt::Directory::all);
    EXPECT_EQ(look()->directory("/top/set/b/below"), LookAt::Directory::all);
    EXPECT_EQ(look()->was_at("/top/set/b"), "/top/set/a");
}

TEST_F(TrackedSetTest, WhatHappensInADirectoryOnItsWayIsKept) {
    paths_.erase("D");
    WatchBatch batch;
    batch.names.push_back({"D", "file", true, false, {}});
    batch.moves.push_back({Move::Kind::moved, "E", "D", "D", "e", "f"});
    absorb(batch);
    EXPECT_TRUE(tracked_.queue().empty()) << "it is gone";
    resolver_.is_on_its_way = [](const ObjectHandle& handle) { return handle == "D"; };
    batch.moves[0].object = "F";
    absorb(batch);
    paths_["D"] = "/top/set/b";
    paths_["F"] = "/top/set/b/f";
    auto found = look();
    EXPECT_EQ(found->directory("/top/set/b"), LookAt::Directory::entries);
    EXPECT_EQ(found->entries("/top/set/b"), (std::vector<std::string>{"e", "f", "file"}));
    EXPECT_EQ(found->directory("/top/set/b/f"), LookAt::Directory::all)
        << "from where it came is not sure";
}

TEST_F(TrackedSetTest, AFileWrittenThroughANameThatIsGoneIsLookedForByItself) {
    std::string has_name = "F";  // what "file" leads to; nothing when empty
    resolver_.leads_to = [&](const ObjectHandle&, const std::string&, const ObjectHandle& object) {
        return object == has_name;
    };
    auto objects = [&] {
        auto marks = tracked_.queue().volumes().find("v");
        return marks == tracked_.queue().volumes().end() ? 0 : marks->second.objects.size();
    };
    WatchBatch batch;
    batch.names.push_back({"D", "file", true, false, "F"});
    absorb(batch);
    EXPECT_EQ(objects(), 0u) << "its name tells all";
    has_name = "another";
    absorb(batch);
    EXPECT_EQ(objects(), 1u);
    EXPECT_FALSE(look()->entries("/top/set/a").empty()) << "and the name is looked at as well";
    // A temporary file that is gone altogether.
    resolver_.exists = [](const ObjectHandle&) { return false; };
    batch.names[0].object = "G";
    absorb(batch);
    EXPECT_EQ(objects(), 1u);
}

TEST_F(TrackedSetTest, AComparisonThatALossOvertookCountsForNothing) {
    tracked_.need_scan("tracking begins", Timestamp{});
    const std::uint64_t losses = tracked_.losses();
    tracked_.need_scan("the queue overflowed", Timestamp{});
    tracked_.compared(losses);
    EXPECT_TRUE(tracked_.needs_scan());
}

TEST_F(TrackedSetTest, AComparisonOfTheSetAsItWasDefinedBeforeCountsForNothing) {
    tracked_.need_scan("tracking begins", Timestamp{});
    TrackedSet anew(definition(), *Scope::make(definition(), {}));
    anew.need_scan("the definition of the set changed", Timestamp{});
    anew.compared(tracked_.losses());
    EXPECT_TRUE(anew.needs_scan());
    anew.compared(anew.losses());
    EXPECT_FALSE(anew.needs_scan());
}

// The run took a renamed directory over as it was before the loss, and the comparison with the
// revision before it told of the rename only.
TEST_F(TrackedSetTest, AComparisonDuringARunThatMetALossCountsForNothing) {
    rename("D", "a", "b");
    FrozenMarks frozen = tracked_.queue().freeze();
    const std::uint64_t losses = tracked_.losses();
    tracked_.need_scan("the queue overflowed", Timestamp{});
    tracked_.compared(tracked_.losses());
    tracked_.queue().clear(frozen);
    tracked_.superseded(losses, Timestamp{});
    EXPECT_TRUE(tracked_.needs_scan());
    tracked_.compared(tracked_.losses());
    tracked_.superseded(tracked_.losses(), Timestamp{});
    EXPECT_FALSE(tracked_.needs_scan());
}

TEST_F(TrackedSetTest, APathOfTheSetThatMustBeReadIsRead) {
    paths_["P"] = "/top";
    tracked_.queue().mark_name("v", "P", "set", true, true, Timestamp{});
    tracked_.queue().mark_name("v", "P", "stranger", true, true, Timestamp{});
    auto found = look();
    EXPECT_TRUE(found->must_read("/top/set"));
    EXPECT_FALSE(found->must_read("/top/stranger"));
    ASSERT_EQ(found->items().size(), 1u);
    EXPECT_EQ(found->items()[0].path, "/top/set");
}

TEST_F(TrackedSetTest, AllRecordsAreWhatAllBatchesTogetherWouldBe) {
    tracked_.base().revision = "0123";
    tracked_.base_changed();
    tracked_.queue().mark_name("v", "D", "name", true, false, Timestamp{});
    (void)tracked_.take_records();  // a batch that could not be written
    tracked_.queue().mark_name("v", "D", "later", true, false, Timestamp{});
    TrackedSet again(definition(), *Scope::make(definition(), {}));
    ASSERT_TRUE(again.load(tracked_.all_records()).ok());
    EXPECT_EQ(again.queue().size(), 2u);
    EXPECT_EQ(again.base().revision, "0123");
    EXPECT_FALSE(tracked_.has_records());
}

TEST_F(TrackedSetTest, AnotherBootWithoutACleanStopLeavesNothingProven) {
    using Unproven = TrackedSet::Base::Unproven;
    const auto at = [](int seconds) { return Timestamp(std::chrono::seconds(seconds)); };
    tracked_.begin_serving("boot 1", at(500));
    EXPECT_FALSE(tracked_.base().unproven) << "nothing is known of it yet";
    tracked_.base().revision = "0123";
    tracked_.base().began = at(1000);
    tracked_.queue().mark_name("v", "D", "written", true, false, at(1100));
    tracked_.queue().mark_name("v", "D", "chmod", false, false, at(1100));
    tracked_.begin_serving("boot 1", at(1200));
    EXPECT_FALSE(tracked_.base().unproven) << "killed, and the machine went on";
    TrackedSet clean = started_again();
    clean.stop_serving();
    clean.begin_serving("boot 2", at(1300));
    EXPECT_FALSE(clean.base().unproven);

    TrackedSet crashed = started_again();
    crashed.base().held["/top/set/held"] = {};
    crashed.begin_serving("boot 2", at(1300));
    const Unproven expected{at(880), {"/top/set/held"}};
    EXPECT_EQ(crashed.base().unproven, expected);
    const NameMarks& names = crashed.queue().volumes().at("v").directories.at("D").names;
    EXPECT_TRUE(names.find("written")->must_read);
    EXPECT_FALSE(names.find("chmod")->must_read);

    // Kept until somebody says that it is done, whatever happens to the daemon and the machine.
    TrackedSet after(definition(), *Scope::make(definition(), {}));
    ASSERT_TRUE(after.load(crashed.all_records()).ok());
    after.begin_serving("boot 2", at(1400));
    EXPECT_EQ(after.base().unproven, expected);
    EXPECT_TRUE(
        after.queue().volumes().at("v").directories.at("D").names.find("written")->must_read);
    after.base().began = at(1350);
    after.begin_serving("boot 3", at(1500));
    EXPECT_EQ(after.base().unproven, expected) << "the earlier one is the wider";
    after.base().unproven.reset();
    TrackedSet done(definition(), *Scope::make(definition(), {}));
    ASSERT_TRUE(done.load(after.all_records()).ok());
    EXPECT_FALSE(done.base().unproven);
    EXPECT_EQ(done.base().began, at(1350));
}

TEST_F(TrackedSetTest, AClockThatWasSetBackMovesWhatIsUnprovenBack) {
    tracked_.base().revision = "0123";
    tracked_.base().boot = "boot 1";
    tracked_.base().began = Timestamp(std::chrono::seconds(5000));
    tracked_.begin_serving("boot 2", Timestamp(std::chrono::seconds(1000)));
    EXPECT_EQ(tracked_.base().unproven->since, Timestamp(std::chrono::seconds(880)));
}

TEST_F(TrackedSetTest, RecordsThatKnowNothingOfBootsAreUnderstood) {
    tracked_.base().revision = "0123";
    tracked_.base().boot = "boot 1";
    tracked_.base_changed();
    std::vector<QueueRecord> records = tracked_.all_records();
    std::erase_if(records, [](const QueueRecord& record) {
        return record.key == "!boot" || record.key == "!unproven";
    });
    TrackedSet again(definition(), *Scope::make(definition(), {}));
    ASSERT_TRUE(again.load(records).ok());
    EXPECT_EQ(again.base().revision, "0123");
    again.begin_serving("boot 2", Timestamp{});
    EXPECT_FALSE(again.base().unproven);
    EXPECT_TRUE(again.has_records()) << "from now on it is known";
    records.push_back({"!unproven", "no number"});
    EXPECT_FALSE(again.load(records).ok());
}

}  // namespace backup
