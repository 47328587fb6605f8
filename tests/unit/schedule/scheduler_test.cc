#include "daemon/schedule/scheduler.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

using namespace std::chrono_literals;

Timestamp at(const std::string& rfc3339) {
    Result<Timestamp> time = parse_rfc3339(rfc3339);
    EXPECT_TRUE(time.ok()) << rfc3339;
    return time.ok() ? *time : Timestamp{};
}

std::string text(std::optional<Timestamp> time) {
    return time ? format_rfc3339_utc(*time) : "never";
}

std::vector<std::string> words(const std::vector<Reason>& reasons) {
    std::vector<std::string> list;
    for (const Reason& reason : reasons) list.emplace_back(to_string(reason.condition));
    return list;
}

struct Desk {
    Desk() {
        set.id = "home";
        set.jitter_seconds = 0;
        facts.past.last_attempt = at("2026-11-20T00:00:00Z");
    }
    void open(const std::vector<std::string>& texts) {
        for (const std::string& one : texts) {
            auto window = parse_window(one);
            ASSERT_TRUE(window.ok()) << one;
            set.windows.push_back(*window);
        }
    }
    // A file was changed at that time.
    void change(const std::string& when) { facts.changes = {at(when), at(when)}; }
    Verdict ask(const std::string& now, const std::string& tz = "UTC") {
        zone = tz;
        const WindowPlan windows(set, &repository, Zone::from_tz(tz));
        return decide({set, facts, windows, holds, machine, at(now)});
    }

    BackupSet set;
    RepositoryPolicy repository;
    RunFacts facts;
    std::vector<Reason> holds;
    std::string machine = "m", zone;
};

TEST(Scheduler, AChangeIsDueWhenItHasSettledAndTheLastRunIsOldEnough) {
    Desk desk;
    desk.set.settle_ms = 2000;
    desk.set.min_interval_seconds = 900;
    EXPECT_FALSE(desk.ask("2026-11-20T10:00:00Z").due);
    desk.change("2026-11-20T10:00:00Z");
    EXPECT_EQ(text(desk.ask("2026-11-20T10:00:01Z").due->at), "2026-11-20T10:00:02Z");
    EXPECT_FALSE(desk.ask("2026-11-20T10:00:01Z").may_begin(at("2026-11-20T10:00:01Z")));
    EXPECT_TRUE(desk.ask("2026-11-20T10:00:02Z").may_begin(at("2026-11-20T10:00:02Z")));
    desk.facts.past.last_attempt = at("2026-11-20T09:59:00Z");
    EXPECT_EQ(text(desk.ask("2026-11-20T10:00:05Z").due->at), "2026-11-20T10:14:00Z");
}

TEST(Scheduler, ChangesThatNeverRestAreTakenAfterAMinute) {
    Desk desk;
    desk.facts.changes = {at("2026-11-20T10:00:00Z"), at("2026-11-20T10:00:59.9Z")};
    EXPECT_EQ(text(desk.ask("2026-11-20T10:00:59.9Z").due->at), "2026-11-20T10:01:00Z");
}

TEST(Scheduler, AClosedWindowPutsTheRunOffAndSaysUntilWhen) {
    Desk desk;
    desk.open({"Mon..Fri 22:00-06:00"});
    desk.change("2026-11-20T10:00:00Z");
    const Verdict verdict = desk.ask("2026-11-20T12:00:00Z");
    EXPECT_EQ(words(verdict.reasons), std::vector<std::string>{"window"});
    EXPECT_EQ(text(verdict.reasons[0].until), "2026-11-20T22:00:00Z");
    EXPECT_EQ(text(verdict.start), "2026-11-20T22:00:00Z");
    EXPECT_EQ(text(verdict.ask_again), "2026-11-20T22:00:00Z");
    EXPECT_EQ(text(verdict.deferred_since), "2026-11-20T10:00:02Z");
    EXPECT_TRUE(desk.ask("2026-11-20T22:00:00Z").may_begin(at("2026-11-20T22:00:00Z")));
}

TEST(Scheduler, NothingWaitsForAWindowWhenNothingIsDue) {
    Desk desk;
    desk.open({"22:00-06:00"});
    EXPECT_TRUE(desk.ask("2026-11-20T12:00:00Z").reasons.empty());
}

TEST(Scheduler, BothTheSetsAndTheRepositorysWindowMustBeOpen) {
    Desk desk;
    desk.open({"20:00-06:00"});
    desk.repository.windows = {*parse_window("Sat,Sun")};
    desk.change("2026-11-20T10:00:00Z");  // a Friday
    EXPECT_EQ(text(desk.ask("2026-11-20T21:00:00Z").start), "2026-11-21T00:00:00Z");
    EXPECT_EQ(text(desk.ask("2026-11-21T07:00:00Z").start), "2026-11-21T20:00:00Z");
}

TEST(Scheduler, WindowsThatNeverMeetNeverOpen) {
    Desk desk;
    desk.open({"Mon"});
    desk.repository.windows = {*parse_window("Tue")};
    desk.change("2026-11-20T10:00:00Z");
    const Verdict verdict = desk.ask("2026-11-20T12:00:00Z");
    EXPECT_EQ(words(verdict.reasons), std::vector<std::string>{"window"});
    EXPECT_FALSE(verdict.start);
}

TEST(Scheduler, OfTwoRatesTheLowerOneCounts) {
    Desk desk;
    desk.open({"daily at 4MiB/s"});
    desk.repository.windows = {*parse_window("08:00-18:00 at 1MiB/s"), *parse_window("daily")};
    const WindowPlan plan(desk.set, &desk.repository, Zone::utc());
    EXPECT_EQ(plan.at(at("2026-11-20T12:00:00Z")).bytes_per_second, 4u << 20);
    desk.repository.windows = {*parse_window("08:00-18:00 at 1MiB/s")};
    const WindowPlan narrow(desk.set, &desk.repository, Zone::utc());
    EXPECT_EQ(narrow.at(at("2026-11-20T12:00:00Z")).bytes_per_second, 1u << 20);
}

// An independent reading of "two to four" on the days when the clocks change.
TEST(Scheduler, WindowsFollowTheWallClockThroughSummerTime) {
    Desk desk;
    desk.open({"02:00-04:00"});
    desk.facts.past.last_attempt = at("2026-01-01T00:00:00Z");
    desk.change("2026-03-28T12:00:00Z");
    // 29 March: from 02:00 CET to 03:00 CEST; the window begins when the clock jumps.
    EXPECT_EQ(text(desk.ask("2026-03-29T00:59:59Z", "Europe/Berlin").start),
              "2026-03-29T01:00:00Z");
    EXPECT_TRUE(desk.ask("2026-03-29T01:30:00Z", "Europe/Berlin").reasons.empty());
    EXPECT_FALSE(desk.ask("2026-03-29T02:00:00Z", "Europe/Berlin").reasons.empty());
    // 25 October: 02:00 comes twice; the window lasts from the first one on.
    EXPECT_TRUE(desk.ask("2026-10-25T00:00:00Z", "Europe/Berlin").reasons.empty());
    EXPECT_TRUE(desk.ask("2026-10-25T02:59:59Z", "Europe/Berlin").reasons.empty());
    EXPECT_FALSE(desk.ask("2026-10-25T03:00:00Z", "Europe/Berlin").reasons.empty());
}

TEST(Scheduler, AClockThatWasSetBackPutsNothingOff) {
    Desk desk;
    desk.set.interval_seconds = 3600;
    desk.facts.past.last_attempt = at("2030-01-01T00:00:00Z");
    const Verdict verdict = desk.ask("2026-11-20T10:00:00Z");
    EXPECT_TRUE(verdict.may_begin(at("2026-11-20T10:00:00Z")));
    desk.set.interval_seconds = 0;
    desk.change("2026-11-20T10:00:00Z");
    EXPECT_TRUE(desk.ask("2026-11-20T10:00:02Z").may_begin(at("2026-11-20T10:00:02Z")));
}

TEST(Scheduler, ARunThatWasMissedWhileAsleepIsACatchUp) {
    Desk desk;
    desk.set.automatic = false;
    desk.set.interval_seconds = 3600;
    desk.facts.awake_since = at("2026-11-20T08:00:00Z");
    EXPECT_EQ(desk.ask("2026-11-20T08:00:01Z").due->trigger, "catchup");
    desk.facts.past.last_attempt = at("2026-11-20T07:30:00Z");
    EXPECT_EQ(desk.ask("2026-11-20T08:30:00Z").due->trigger, "schedule");
}

TEST(Scheduler, EachMachineBeginsAtItsShareOfTheWindow) {
    Desk desk;
    desk.open({"00:00-06:00"});
    desk.set.jitter_seconds.reset();
    desk.change("2026-11-19T10:00:00Z");
    std::vector<int> by_ten_minutes(36);
    for (int i = 0; i < 1000; ++i) {
        desk.machine = "machine " + std::to_string(i);
        const auto start = desk.ask("2026-11-19T12:00:00Z").start;
        ASSERT_TRUE(start);
        const auto into = *start - at("2026-11-20T00:00:00Z");
        ASSERT_GE(into, 0s);
        ASSERT_LT(into, 6h);
        ++by_ten_minutes[static_cast<std::size_t>(into / 10min)];
        // Within the window it waits for its share, and says so; then it begins.
        if (into > 1min) {
            desk.facts.past.last_attempt = at("2026-11-19T00:00:00Z");
            EXPECT_EQ(words(desk.ask("2026-11-20T00:00:30Z").reasons),
                      std::vector<std::string>{"window"});
        }
        EXPECT_TRUE(desk.ask(format_rfc3339_utc(*start)).may_begin(*start));
    }
    EXPECT_LE(*std::max_element(by_ten_minutes.begin(), by_ten_minutes.end()), 2 * 1000 / 36);
}

TEST(Scheduler, WhatAWindowCutOffGoesOnWithTheNextOne) {
    Desk desk;
    desk.open({"00:00-06:00"});
    desk.set.jitter_seconds.reset();
    desk.facts.resume_at = at("2026-11-19T06:00:00Z");
    desk.facts.was_parked = true;
    desk.change("2026-11-19T05:00:00Z");
    for (const char* machine : {"a", "b", "c"}) {
        desk.machine = machine;
        const Verdict verdict = desk.ask("2026-11-19T12:00:00Z");
        EXPECT_EQ(text(verdict.start), "2026-11-20T00:00:00Z");
        EXPECT_EQ(verdict.due->trigger, "resume");
    }
}

TEST(Scheduler, WhoAsksForARunGetsItAsSoonAsTheConditionsAllow) {
    Desk desk;
    desk.open({"00:00-06:00"});
    desk.set.jitter_seconds.reset();
    desk.set.automatic = false;
    desk.facts.asked = AskedRun{at("2026-11-19T12:00:00Z"), true, 1000};
    const Verdict verdict = desk.ask("2026-11-19T12:00:00Z");
    EXPECT_EQ(text(verdict.start), "2026-11-20T00:00:00Z");
    const Verdict then = desk.ask("2026-11-20T00:00:00Z");
    ASSERT_TRUE(then.may_begin(at("2026-11-20T00:00:00Z")));
    EXPECT_EQ(then.due->trigger, "user");
    EXPECT_TRUE(then.due->is_full);
}

TEST(Scheduler, APauseWithoutAnEndHasNoForecastAndOneWithAnEndHas) {
    Desk desk;
    desk.change("2026-11-20T10:00:00Z");
    desk.holds = {{Condition::paused, "paused"}};
    EXPECT_FALSE(desk.ask("2026-11-20T11:00:00Z").start);
    desk.holds[0].until = at("2026-11-20T13:00:00Z");
    EXPECT_EQ(text(desk.ask("2026-11-20T11:00:00Z").start), "2026-11-20T13:00:00Z");
    EXPECT_EQ(text(desk.ask("2026-11-20T11:00:00Z").ask_again), "2026-11-20T13:00:00Z");
}

TEST(Scheduler, EscalatesWhenARunIsPutOffForTooLong) {
    Desk desk;
    desk.change("2026-11-20T10:00:00Z");
    desk.holds = {{Condition::battery, "on battery"}};
    EXPECT_FALSE(desk.ask("2026-11-21T10:00:01Z").is_escalated);
    EXPECT_EQ(text(desk.ask("2026-11-21T10:00:01Z").ask_again), "2026-11-21T10:00:02Z");
    EXPECT_TRUE(desk.ask("2026-11-21T10:00:02Z").is_escalated);
    desk.set.max_deferral_seconds = 0;
    EXPECT_FALSE(desk.ask("2026-12-21T10:00:02Z").is_escalated);
}

TEST(Scheduler, AWindowThatIsFarAwayIsNoFaultOneThatPassedIs) {
    Desk desk;
    desk.open({"Sat"});
    desk.change("2026-11-16T10:00:00Z");  // a Monday
    EXPECT_FALSE(desk.ask("2026-11-20T10:00:00Z").is_escalated);
    EXPECT_FALSE(desk.ask("2026-11-21T23:59:59Z").is_escalated);
    EXPECT_TRUE(desk.ask("2026-11-22T00:00:00Z").is_escalated);
}

TEST(Scheduler, ARunUnderWayIsHeldByAClosedWindowUnlessThatIsIgnored) {
    Desk desk;
    desk.open({"00:00-06:00"});
    const WindowPlan plan(desk.set, nullptr, Zone::utc());
    EXPECT_TRUE(holding(plan, {}, {}, at("2026-11-20T05:59:59Z")).empty());
    const auto reasons = holding(plan, {}, {}, at("2026-11-20T06:00:00Z"));
    EXPECT_EQ(words(reasons), std::vector<std::string>{"window"});
    EXPECT_TRUE(holding(plan, {}, *Ignored::parse({"window"}), at("2026-11-20T06:00:00Z")).empty());
    EXPECT_FALSE(
        holding(plan, {}, *Ignored::parse({"battery"}), at("2026-11-20T06:00:00Z")).empty());
}

TEST(Scheduler, WhatProtectsDataCannotBeIgnored) {
    EXPECT_FALSE(Ignored::parse({"guard"}).ok());
    EXPECT_FALSE(Ignored::parse({"low-space"}).ok());
    EXPECT_FALSE(Ignored::parse({"wether"}).ok());
    const auto all = Ignored::parse({"all"});
    ASSERT_TRUE(all.ok());
    EXPECT_TRUE(all->has(Condition::window));
    EXPECT_FALSE(all->has(Condition::guard));
}

TEST(Scheduler, ASuccessIsPromisedAgainWithinADayOrByTheEndOfTheNextWindow) {
    Desk desk;
    const WindowPlan always(desk.set, nullptr, Zone::utc());
    EXPECT_EQ(text(success_deadline(desk.set, always, at("2026-11-20T10:00:00Z"))),
              "2026-11-21T10:00:00Z");
    desk.open({"Sat"});
    const WindowPlan saturdays(desk.set, nullptr, Zone::utc());
    EXPECT_EQ(text(success_deadline(desk.set, saturdays, at("2026-11-21T10:00:00Z"))),
              "2026-11-29T00:00:00Z");
    desk.set.interval_seconds = 7 * 86'400;
    EXPECT_EQ(text(success_deadline(desk.set, saturdays, at("2026-11-21T10:00:00Z"))),
              "2026-12-06T00:00:00Z");
}

TEST(Deferrals, RememberSinceWhenEachReasonHolds) {
    Deferrals deferrals;
    std::vector<Reason> reasons = {{Condition::window, "closed"}};
    auto changes = deferrals.update("home", reasons, at("2026-11-20T10:00:00Z"));
    ASSERT_EQ(changes.size(), 1u);
    EXPECT_FALSE(changes[0].ended);
    reasons = {{Condition::window, "closed"}, {Condition::battery, "on battery"}};
    changes = deferrals.update("home", reasons, at("2026-11-20T11:00:00Z"));
    ASSERT_EQ(changes.size(), 1u);
    EXPECT_EQ(text(reasons[0].since), "2026-11-20T10:00:00Z");
    EXPECT_EQ(text(reasons[1].since), "2026-11-20T11:00:00Z");
    reasons = {{Condition::battery, "on battery"}};
    changes = deferrals.update("home", reasons, at("2026-11-20T12:00:00Z"));
    ASSERT_EQ(changes.size(), 1u);
    EXPECT_TRUE(changes[0].ended);
    EXPECT_EQ(changes[0].reason.condition, Condition::window);
    // The clock is set back: nothing began in the future.
    changes = deferrals.update("home", reasons, at("2026-11-20T09:00:00Z"));
    EXPECT_TRUE(changes.empty());
    EXPECT_EQ(text(reasons[0].since), "2026-11-20T09:00:00Z");
}

TEST(Deferrals, AReasonThatHoldsAgainSoonAfterARestartHoldsSinceBefore) {
    Deferrals deferrals;
    deferrals.restore("home", Condition::battery, at("2026-11-20T07:00:00Z"));
    deferrals.restore("home", Condition::window, at("2026-11-20T08:00:00Z"));
    std::vector<Reason> reasons = {{Condition::battery, "on battery"}};
    deferrals.update("home", reasons, at("2026-11-20T10:00:00Z"));
    EXPECT_EQ(text(reasons[0].since), "2026-11-20T07:00:00Z");
    deferrals.update("home", reasons = {}, at("2026-11-20T10:10:00Z"));
    reasons = {{Condition::battery, "on battery"}};
    deferrals.update("home", reasons, at("2026-11-20T10:20:00Z"));
    EXPECT_EQ(text(reasons[0].since), "2026-11-20T10:20:00Z") << "once";
    deferrals.forget_restored_but_of_host();
    reasons = {{Condition::window, "closed"}};
    deferrals.update("home", reasons, at("2026-11-20T11:00:00Z"));
    EXPECT_EQ(text(reasons[0].since), "2026-11-20T11:00:00Z");
}

}  // namespace
}  // namespace backup
