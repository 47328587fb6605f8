#include "daemon/jobs/catalog.h"

#include <set>

#include <gtest/gtest.h>

#include "daemon/jobs/found_sets.h"
#include "daemon/jobs/health.h"
#include "daemon/policy/config_file.h"
#include "daemon/schedule/scheduler.h"

namespace backup {
namespace {

using namespace std::chrono_literals;

const SetOnHost kHome{"home", "here"};
const Timestamp kNow{std::chrono::seconds(1'800'000'000)};

RevisionEntry entry(std::uint8_t first, int age_hours, std::string set, std::uint64_t number,
                    std::string host = "here", std::vector<std::string> paths = {"/home"}) {
    RevisionEntry made;
    made.id.bytes[0] = first;
    made.id.bytes[1] = 0xaa;
    made.snapshot.time = kNow - std::chrono::hours(age_hours);
    made.snapshot.hostname = std::move(host);
    made.snapshot.paths = std::move(paths);
    if (!set.empty()) made.snapshot.tags = make_tags({.set = set, .number = number});
    return made;
}

std::vector<Path> paths(std::initializer_list<const char*> list) {
    std::vector<Path> made;
    for (const char* text : list) made.push_back(*Path::parse(text));
    return made;
}

std::vector<Revision> sample() {
    return all_revisions({
        entry(1, 5, "home", 1),
        entry(2, 3, "home", 2),
        entry(3, 1, "home", 7, "elsewhere"),
        entry(4, 2, "", 0),
        entry(5, 1, "docs", 9),
    });
}

TEST(Catalog, IsNewestFirst) {
    auto list = sample();
    EXPECT_EQ(list.front().snapshot().time, kNow - 1h);
    EXPECT_EQ(list.back().id().bytes[0], 1);
}

TEST(Catalog, LatestIsOfTheSetAndOfThisHost) {
    EXPECT_EQ(resolve_revision(sample(), kHome, "latest")->id().bytes[0], 2);
    EXPECT_EQ(resolve_revision(sample(), {"home", "elsewhere"}, "latest")->id().bytes[0], 3);
    EXPECT_EQ(resolve_revision(sample(), {"none", "here"}, "latest").error().code(),
              ErrorCode::no_such_revision);
}

TEST(Catalog, WhatARestoreKeptIsOfNoLine) {
    RevisionEntry kept = entry(6, 0, "home", 40);
    kept.snapshot.tags = make_tags({.set = "home", .number = 40, .trigger = kPreRestore});
    auto list = all_revisions({entry(1, 5, "home", 1), entry(2, 3, "home", 2), kept});
    EXPECT_TRUE(is_pre_restore(list.front()));
    EXPECT_FALSE(belongs_to(list.front(), kHome));
    EXPECT_EQ(resolve_revision(list, kHome, "latest")->id().bytes[0], 2);
    EXPECT_FALSE(resolve_revision(list, kHome, "40").ok());
    EXPECT_EQ(resolve_revision(list, kHome, kept.id.hex())->id(), kept.id);
    EXPECT_EQ(pick_parent(list, kHome, paths({"/home"}))->id().bytes[0], 2);
    EXPECT_EQ(next_number(list, kHome, 0), 3u);
    // Its number is a job's: it says nothing about the order of the others' times.
    for (const Revision& revision : list) EXPECT_TRUE(revision.is_time_credible);
    kept.snapshot.time = kNow - 9h;
    for (const Revision& revision : all_revisions({entry(1, 5, "home", 1), kept}))
        EXPECT_TRUE(revision.is_time_credible);
    // Another program that is asked for the tag of the set does not find it.
    for (const std::string& tag : kept.snapshot.tags) EXPECT_NE(tag, "backupd:set=home");
    EXPECT_EQ(parse_revision_tags(kept.snapshot.tags).set, "home");
}

// Age in hours, in the order of their numbers: -9000 is a clock that was a year ahead.
std::vector<Revision> aged(std::initializer_list<int> ages, Timestamp now = Timestamp::max()) {
    std::vector<RevisionEntry> entries;
    for (int age : ages) {
        auto number = static_cast<std::uint8_t>(entries.size() + 1);
        entries.push_back(entry(number, age, "home", number));
    }
    return all_revisions(std::move(entries), now);
}

std::vector<std::uint64_t> numbers(const std::vector<Revision>& list) {
    std::vector<std::uint64_t> found;
    for (const Revision& revision : list) found.push_back(revision.tags.number);
    return found;
}

std::vector<std::uint64_t> doubtful(const std::vector<Revision>& list) {
    std::vector<std::uint64_t> found;
    for (const Revision& revision : list)
        if (!revision.is_time_credible) found.push_back(revision.tags.number);
    return found;
}

using Numbers = std::vector<std::uint64_t>;

TEST(Catalog, AClockThatWasWrongChangesNoOrder) {
    auto ahead = aged({50, 40, -9000, 20, 10});
    EXPECT_EQ(numbers(ahead), (Numbers{5, 4, 3, 2, 1}));
    EXPECT_EQ(doubtful(ahead), (Numbers{3}));
    EXPECT_EQ(ahead[2].placed, kNow - 40h);
    EXPECT_EQ(resolve_revision(ahead, kHome, "latest")->tags.number, 5u);
    EXPECT_EQ(pick_parent(ahead, kHome, paths({"/home"}))->tags.number, 5u);

    auto behind = aged({50, 40, 400'000, 20, 10});
    EXPECT_EQ(numbers(behind), (Numbers{5, 4, 3, 2, 1}));
    EXPECT_EQ(doubtful(behind), (Numbers{3}));

    EXPECT_EQ(doubtful(aged({50, 50, 50})), Numbers{});
    EXPECT_EQ(numbers(aged({50, 50, 50})), (Numbers{3, 2, 1}));
}

TEST(Catalog, WhatWasMadeLastIsTheNewestEvenWithAClockFarBehind) {
    auto list = aged({50, 40, 400'000});
    EXPECT_EQ(numbers(list), (Numbers{3, 2, 1}));
    EXPECT_EQ(doubtful(list), (Numbers{3}));
}

TEST(Catalog, NoTimeInTheFutureIsCredibleHoweverManyThereAre) {
    auto list = aged({50, -9000, -9001, -9002, 10}, kNow);
    EXPECT_EQ(numbers(list), (Numbers{5, 4, 3, 2, 1}));
    EXPECT_EQ(doubtful(list), (Numbers{4, 3, 2}));
    EXPECT_EQ(doubtful(aged({50, 0}, kNow - 1min)), Numbers{}) << "clocks differ a little";
    EXPECT_EQ(numbers(aged({0, -1, 5}, kNow - 1000h)), (Numbers{3, 2, 1})) << "our own is wrong";
}

TEST(Catalog, PagesFollowTheOrderOfNumbers) {
    auto list = aged({50, 40, -9000, 20, 10});
    Numbers found;
    std::string token;
    do {
        auto page = cut_page(list, token, 2);
        ASSERT_TRUE(page.ok());
        for (const Revision& revision : page->revisions) found.push_back(revision.tags.number);
        token = page->next;
    } while (!token.empty());
    EXPECT_EQ(found, (Numbers{5, 4, 3, 2, 1}));
}

TEST(Catalog, NumbersAreOfTheSetIdsOfAnySnapshot) {
    EXPECT_EQ(resolve_revision(sample(), kHome, "1")->id().bytes[0], 1);
    EXPECT_FALSE(resolve_revision(sample(), kHome, "9").ok());
    EXPECT_EQ(resolve_revision(sample(), kHome, "04aa00")->id().bytes[0], 4);
    auto all = sample();
    EXPECT_EQ(resolve_revision(all, kHome, all.front().id().hex())->id(), all.front().id());
}

TEST(Catalog, PrefixesMustBeLongEnoughAndUnique) {
    EXPECT_FALSE(resolve_revision(sample(), kHome, "04aa0").ok());
    EXPECT_FALSE(resolve_revision(sample(), kHome, "04AA00").ok());
    EXPECT_FALSE(resolve_revision(sample(), kHome, "").ok());
    EXPECT_FALSE(resolve_revision(sample(), kHome, std::string(65, '0')).ok());
    auto twins = all_revisions({entry(1, 1, "home", 1), entry(1, 2, "home", 2)});
    twins[1].entry.id.bytes[31] = 1;
    EXPECT_EQ(resolve_revision(twins, kHome, "01aa00").error().kind(), ErrorKind::invalid);
}

TEST(Catalog, ParentIsTheNewestThatCovers) {
    // The other program's snapshot is newer than ours and covers the set.
    EXPECT_EQ(pick_parent(sample(), kHome, paths({"/home/me"}))->id().bytes[0], 4);
    // It does not cover this path: ours continues.
    EXPECT_EQ(pick_parent(sample(), kHome, paths({"/home", "/etc"}))->id().bytes[0], 2);
    // Nothing of ours: what another program made here.
    EXPECT_EQ(pick_parent(sample(), {"new", "here"}, paths({"/home"}))->id().bytes[0], 4);
    EXPECT_FALSE(pick_parent(sample(), {"new", "nowhere"}, paths({"/home"})).has_value());
}

TEST(Catalog, NumbersOnlyGrow) {
    EXPECT_EQ(next_number(sample(), kHome, 0), 3u);
    EXPECT_EQ(next_number(sample(), kHome, 40), 41u);
    EXPECT_EQ(next_number({}, kHome, 0), 1u);
}

TEST(Catalog, PagesFitTogetherAlsoWhenRevisionsVanish) {
    std::vector<RevisionEntry> entries;
    for (std::uint8_t i = 0; i < 10; ++i) entries.push_back(entry(i, i / 3, "home", i));
    auto list = all_revisions(entries);
    std::vector<RevisionId> seen;
    std::string token;
    do {
        auto current = list;
        if (!token.empty())
            std::erase_if(current, [&](const Revision& r) { return r.id() == seen.back(); });
        Page page = *cut_page(current, token, 3);
        for (const Revision& revision : page.revisions) seen.push_back(revision.id());
        token = page.next;
    } while (!token.empty());
    std::vector<RevisionId> wanted;
    for (const Revision& revision : list) wanted.push_back(revision.id());
    EXPECT_EQ(seen, wanted);
    EXPECT_FALSE(cut_page(list, "nonsense", 3).ok());
    EXPECT_FALSE(cut_page(list, "12-34", 3).ok());
}

class HealthTest : public ::testing::Test {
  protected:
    HealthTest() {
        BackupSet set;
        set.id = "home";
        set.repository = "main";
        policy.sets["home"] = set;
        sets["home"].record.last_success = kNow - 1h;
        sets["home"].record.last_attempt = kNow - 1h;
        repositories["main"].status.state = RepositoryState::ready;
    }
    Health judge(bool config_is_good = true) { return report(config_is_good).health; }
    HealthReport report(bool config_is_good = true) {
        for (auto& [id, set] : policy.sets) {
            SetStatus& status = sets[id];
            const Timestamp success = std::max(status.record.last_success,
                                               status.proved.value_or(status.record.last_success));
            status.deadline = success_deadline(set, WindowPlan(set, nullptr, Zone::utc()), success);
        }
        return judge_health(policy, sets, repositories, config_is_good, kNow);
    }
    Policy policy;
    SetStatuses sets;
    RepositoryStatuses repositories;
};

TEST_F(HealthTest, IsOkWithinTheDay) {
    EXPECT_EQ(judge(), Health::ok);
}

TEST_F(HealthTest, DegradesWhenThePromiseIsExceeded) {
    sets["home"].record.last_success = kNow - 25h;
    EXPECT_EQ(judge(), Health::degraded);
    policy.sets["home"].interval_seconds = 13 * 3600;
    EXPECT_EQ(judge(), Health::ok);
    policy.sets["home"].interval_seconds = 12 * 3600;
    EXPECT_EQ(judge(), Health::degraded);
    policy.sets["home"].interval_seconds = 3600;
    EXPECT_EQ(judge(), Health::at_risk);
}

TEST_F(HealthTest, IsAtRiskWithoutASuccessOrWithDamage) {
    repositories["main"].record.last_check_result = "errors";
    EXPECT_EQ(judge(), Health::at_risk);
    repositories["main"].record.last_check_result = "ok";
    EXPECT_EQ(judge(), Health::ok);
    sets["home"].record.last_success = {};
    EXPECT_EQ(judge(), Health::at_risk);
}

TEST_F(HealthTest, IsDegradedWithABrokenConfigurationOrALockedRepository) {
    EXPECT_EQ(judge(false), Health::degraded);
    repositories["main"].status.state = RepositoryState::locked;
    EXPECT_EQ(judge(), Health::degraded);
}

TEST_F(HealthTest, DisabledSetsDoNotCount) {
    sets["home"].record.last_success = {};
    policy.sets["home"].enabled = false;
    EXPECT_EQ(judge(), Health::unknown);
}

TEST_F(HealthTest, NothingChangedAndWatchedWithoutAGapIsAsGoodAsARun) {
    sets["home"].record.last_success = kNow - 100h;
    sets["home"].proved = kNow;
    EXPECT_EQ(judge(), Health::ok);
    sets["home"].proved = kNow - 25h;
    EXPECT_EQ(judge(), Health::degraded);
}

TEST_F(HealthTest, FarBeyondThePromiseIsARiskAndAMachineThatWokeUpIsGivenTime) {
    sets["home"].record.last_success = kNow - 71h;
    EXPECT_EQ(judge(), Health::degraded);
    sets["home"].record.last_success = kNow - 73h;
    EXPECT_EQ(judge(), Health::at_risk);
    sets["home"].is_excused = true;
    EXPECT_EQ(judge(), Health::ok);
}

TEST_F(HealthTest, EachFindingHasAReasonAndARemedyTheWorstComesFirst) {
    sets["home"].record.last_success = kNow - 25h;
    sets["home"].deferred_since = kNow - 26h;
    sets["home"].is_asked = true;
    repositories["main"].status.state = RepositoryState::locked;
    const HealthReport found = report(false);
    std::vector<std::string> codes;
    for (const HealthFinding& finding : found.findings) {
        codes.push_back(finding.code);
        EXPECT_FALSE(finding.reason.empty());
        EXPECT_FALSE(finding.remedy.empty());
    }
    EXPECT_EQ(codes,
              (std::vector<std::string>{"asked", "late", "deferred", "locked", "configuration"}));
    EXPECT_EQ(found.health, Health::at_risk);
}

TEST_F(HealthTest, AMissedCollectionOrVerificationDegrades) {
    RepositoryPolicy& repository = policy.repositories["main"];
    RepositoryRecord& record = repositories["main"].record;
    record.last_collect = kNow - 50h;
    EXPECT_EQ(judge(), Health::degraded);
    record.last_collect = kNow;
    EXPECT_EQ(judge(), Health::ok);
    repository.verify_seconds = 86'400;
    record.last_check = kNow - 47h;
    EXPECT_EQ(judge(), Health::ok);
    record.last_check = kNow - 55h;
    EXPECT_EQ(judge(), Health::degraded);
    repository.verify_seconds = 0;
    EXPECT_EQ(judge(), Health::ok);
}

TEST_F(HealthTest, VerificationsComeRoundAndAFailedOneIsNotBegunAnewAtOnce) {
    RepositoryPolicy repository;
    RepositoryRecord record;
    record.last_check = kNow - 1h;
    EXPECT_FALSE(next_verification(repository, record, {}, kNow));
    repository.verify_seconds = 86'400;
    EXPECT_EQ(next_verification(repository, record, {}, kNow), kNow + 23h);
    record.last_check = kNow - 48h;
    EXPECT_EQ(next_verification(repository, record, {}, kNow), kNow - 24h);
    EXPECT_EQ(next_verification(repository, record, kNow, kNow), kNow + 6h);
    record.last_check = kNow + 48h;
    EXPECT_EQ(next_verification(repository, record, {}, kNow), kNow);
}

TEST_F(HealthTest, RemindsUntilTheSheetWasTestedOrThereIsASecondKey) {
    RepositoryFacts facts;
    facts.status.keys = 1;
    EXPECT_FALSE(needs_reminder(facts));
    facts.record.password_generated = true;
    EXPECT_TRUE(needs_reminder(facts));
    facts.status.keys = 2;
    EXPECT_FALSE(needs_reminder(facts));
    facts.status.keys = 1;
    facts.record.sheet_tested = true;
    EXPECT_FALSE(needs_reminder(facts));
}

RevisionEntry edition(std::uint8_t first, std::uint64_t edit,
                      std::optional<std::uint8_t> original) {
    RevisionEntry made = entry(first, 1, "home", 5);
    made.snapshot.tree.bytes[0] = 9;
    made.snapshot.tags = make_tags({.set = "home", .number = 5, .edit = edit});
    if (original) {
        made.snapshot.original = RevisionId{};
        made.snapshot.original->bytes[0] = *original;
        made.snapshot.original->bytes[1] = 0xaa;
    }
    return made;
}

TEST(Catalog, OnlyTheLastEditionOfARevisionCounts) {
    auto list = all_revisions({edition(1, 0, {}), edition(2, 1, 1), edition(3, 2, 1)});
    ASSERT_EQ(list.size(), 1u);
    EXPECT_EQ(list.front().id().bytes[0], 3);
    // Under the id that it had first, too.
    EXPECT_EQ(resolve_revision(list, kHome, "01aa00")->id().bytes[0], 3);
}

TEST(Catalog, WhatAnotherProgramMadeOfARevisionIsAnother) {
    // restic rewrite: `original` is set, the tags are the same, the tree is not.
    RevisionEntry rewritten = edition(2, 0, 1);
    rewritten.snapshot.tree.bytes[0] = 8;
    EXPECT_EQ(all_revisions({edition(1, 0, {}), rewritten}).size(), 2u);
    rewritten = edition(2, 4, 1);
    rewritten.snapshot.tree.bytes[0] = 8;
    EXPECT_EQ(all_revisions({edition(1, 0, {}), rewritten}).size(), 2u);
    // Without a change of ours nothing is superseded, be it the same in all but its name.
    EXPECT_EQ(all_revisions({edition(1, 0, {}), edition(2, 0, 1)}).size(), 2u);
}

TEST(Catalog, LatestIsNeverInTheTrash) {
    RevisionEntry trashed = entry(6, 0, "home", 8);
    trashed.snapshot.tags = make_tags({.set = "home", .number = 8, .trashed = kNow});
    auto list = all_revisions({entry(1, 5, "home", 1), trashed});
    EXPECT_EQ(resolve_revision(list, kHome, "latest")->id().bytes[0], 1);
    EXPECT_EQ(resolve_revision(list, kHome, "8")->id().bytes[0], 6);
    EXPECT_EQ(next_number(list, kHome, 0), 9u) << "its number is not given again";
}

TEST_F(HealthTest, CollectionsAreDueAPeriodAfterTheLastAndLateAfterTwo) {
    RepositoryPolicy main;
    RepositoryRecord record;
    EXPECT_FALSE(next_collection(main, record, kNow).has_value()) << "not seen before";
    record.last_collect = kNow - 10h;
    EXPECT_EQ(next_collection(main, record, kNow), kNow + 14h);
    EXPECT_FALSE(is_collection_late(main, record, kNow + 38h));
    EXPECT_TRUE(is_collection_late(main, record, kNow + 40h));
    // One that failed is tried again an hour later.
    record.last_collect_attempt = kNow + 15h;
    EXPECT_EQ(next_collection(main, record, kNow + 15h), kNow + 16h);
    // The clock was set back: at once, but a failure is not tried again all the time.
    record.last_collect = kNow + 400h;
    EXPECT_EQ(next_collection(main, record, kNow), kNow) << "both lie in the future";
    record.last_collect_attempt = kNow;
    EXPECT_EQ(next_collection(main, record, kNow), kNow + 1h);
    main.append_only = true;
    EXPECT_FALSE(next_collection(main, record, kNow).has_value());
    EXPECT_FALSE(is_collection_late(main, record, kNow + 400h));
}

TEST_F(HealthTest, MissedCollectionsDegradeItAlthoughBackupsSucceed) {
    EXPECT_EQ(judge(), Health::ok);
    repositories["main"].record.last_collect = kNow - 72h;
    EXPECT_EQ(judge(), Health::degraded);
}

TEST(FoundSets, AreTheLinesOfARepositoryAndDoNothingByThemselves) {
    RevisionEntry kept = entry(6, 0, "home", 40);
    kept.snapshot.tags = make_tags({.set = "home", .number = 40, .trigger = kPreRestore});
    RevisionEntry gone = entry(7, 0, "gone", 1);
    gone.snapshot.tags = make_tags({.set = "gone", .number = 1, .trashed = kNow});
    const auto found = found_sets(
        all_revisions({entry(1, 5, "home", 1, "here", {"/home", "/srv"}),
                       entry(2, 3, "home", 2, "here", {"/home", "relative"}),
                       entry(3, 4, "home", 7, "elsewhere"), entry(4, 2, "", 0),
                       entry(5, 6, "docs", 9), entry(8, 7, "docs", 1, "third", {"relative"}),
                       entry(9, 8, "two words", 1), kept, gone}),
        "disk", "here", {"docs"});
    ASSERT_EQ(found.size(), 4U);
    EXPECT_EQ(found[0].id, "home");
    EXPECT_EQ(found[0].paths, paths({"/home"})) << "those of the newest revision";
    EXPECT_EQ(found[0].hostname, "");
    EXPECT_EQ(found[1].id, "elsewhere-home");
    EXPECT_EQ(found[1].hostname, "elsewhere");
    EXPECT_EQ(found[2].id, "here-docs");
    EXPECT_EQ(found[3].id, "here-two-words");
    for (const BackupSet& set : found) {
        EXPECT_FALSE(set.enabled);
        EXPECT_TRUE(set.is_found);
        EXPECT_EQ(set.repository, "disk");
    }
    // Each is its line, whatever it is called.
    const auto list = all_revisions({entry(3, 4, "home", 7, "elsewhere"), entry(5, 6, "docs", 9)});
    EXPECT_TRUE(belongs_to(list[0], line_of(found[1])));
    EXPECT_FALSE(belongs_to(list[1], line_of(found[1])));
}

TEST(FoundSets, NamesThatNobodyCanTakeAreMadeOnesThatAreFree) {
    const std::string longest(64, 'x');
    const auto found =
        found_sets(all_revisions({entry(1, 1, longest, 1), entry(2, 2, longest + "y", 1),
                                  entry(3, 3, longest + "z", 1), entry(4, 4, "../x", 1, "..")}),
                   "disk", "here", {longest});
    ASSERT_EQ(found.size(), 4U);
    std::set<std::string> names;
    for (const BackupSet& set : found) {
        EXPECT_TRUE(is_valid_name(set.id)) << set.id;
        names.insert(set.id);
    }
    EXPECT_EQ(names.size(), 4U);
}

}  // namespace
}  // namespace backup
