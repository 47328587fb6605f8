#include "daemon/retention/retention.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <numeric>
#include <optional>
#include <set>

#include "daemon/retention/times.h"

namespace backup {

namespace {

using std::chrono::seconds;

// Of "2026-11-20T09:30:00+01:00".
seconds offset_of(const std::string& text) {
    if (text.size() < 6) return seconds(0);
    const std::string_view zone = std::string_view(text).substr(text.size() - 6);
    if ((zone[0] != '+' && zone[0] != '-') || zone[3] != ':') return seconds(0);
    int hours = 0, minutes = 0;
    std::from_chars(zone.data() + 1, zone.data() + 3, hours);
    std::from_chars(zone.data() + 4, zone.data() + 6, minutes);
    const seconds offset{hours * 3600 + minutes * 60};
    return zone[0] == '-' ? -offset : offset;
}

// A number for each hour, day, week, month, year of the revision's own zone.
struct Periods {
    std::int64_t hour, day, week, month, year;
};

Periods periods_of(const RetentionItem& item) {
    using namespace std::chrono;
    const auto local = floor<seconds>(item.time) + offset_of(item.time_text);
    const auto day = floor<days>(local);
    const year_month_day date{day};
    const std::int64_t day_number = day.time_since_epoch().count();
    const std::int64_t year = static_cast<int>(date.year());
    return {
        .hour = floor<hours>(local).time_since_epoch().count(),
        .day = day_number,
        // Weeks begin on Monday; 1970-01-01 was a Thursday.
        .week = (day_number + 3 >= 0 ? (day_number + 3) / 7 : (day_number + 3 - 6) / 7),
        .month = year * 12 + static_cast<unsigned>(date.month()),
        .year = year,
    };
}

struct Candidate {
    std::size_t at;  // of its decision
    const RetentionItem* item;
    Periods calendar;
};

class Decider {
  public:
    Decider(std::vector<RetentionDecision>& decisions, std::vector<Candidate> newest_first)
        : decisions_(decisions), newest_first_(std::move(newest_first)) {}

    void keep(std::size_t at, std::string rule) {
        decisions_[at].keep = true;
        decisions_[at].rules.push_back(std::move(rule));
    }
    void last(std::uint32_t count) {
        for (std::size_t i = 0; i < newest_first_.size() && i < count; ++i)
            keep(newest_first_[i].at, "last");
    }
    // The newest of each of the last `count` periods that have one.
    void periods(std::uint32_t count, std::int64_t Periods::*period, const char* rule) {
        std::optional<std::int64_t> done;
        for (const Candidate& candidate : newest_first_) {
            if (count == 0) return;
            const std::int64_t now = candidate.calendar.*period;
            if (done && now >= *done) continue;
            done = now;
            --count;
            keep(candidate.at, rule);
        }
    }
    void within(seconds span) {
        for (const Candidate& candidate : newest_first_)
            if (newest_first_.front().item->time - candidate.item->time <= span)
                keep(candidate.at, "within");
    }
    void tags(const std::vector<std::string>& wanted) {
        for (const Candidate& candidate : newest_first_)
            for (const std::string& tag : candidate.item->tags)
                if (std::ranges::find(wanted, tag) != wanted.end())
                    keep(candidate.at, "tag " + tag);
    }
    // What could not be read since is in the newest revision that has it all.
    void last_whole() {
        for (const Candidate& candidate : newest_first_) {
            if (candidate.item->exceptions != 0) continue;
            if (&candidate != &newest_first_.front()) keep(candidate.at, "last-whole");
            return;
        }
    }
    // Where each path was read last that could not be read for the newest one.
    void last_good() {
        const auto lacks = [](const RetentionItem& item, const std::string& path) {
            return std::ranges::any_of(item.missing, [&](const std::string& missing) {
                return path == missing ||
                       (path.starts_with(missing) && path[missing.size()] == '/');
            });
        };
        std::set<std::size_t> kept;
        for (const std::string& path : newest_first_.front().item->missing) {
            for (const Candidate& candidate : newest_first_) {
                if (lacks(*candidate.item, path)) continue;
                if (kept.insert(candidate.at).second) keep(candidate.at, "last-good");
                break;
            }
        }
    }
    void minimum(std::uint32_t count) {
        std::size_t kept = 0;
        for (const Candidate& candidate : newest_first_) kept += decisions_[candidate.at].keep;
        for (const Candidate& candidate : newest_first_) {
            if (kept >= count) return;
            if (decisions_[candidate.at].keep) continue;
            keep(candidate.at, "minimum");
            ++kept;
        }
    }

  private:
    std::vector<RetentionDecision>& decisions_;
    const std::vector<Candidate> newest_first_;
};

// Those whose time can be right, newest first; the others are kept for it.
std::vector<Candidate> candidates(std::vector<RetentionDecision>& decisions, Timestamp now) {
    std::vector<std::size_t> order(decisions.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, {}, [&](std::size_t at) {
        return std::make_pair(decisions[at].item.number, decisions[at].item.id);
    });
    std::vector<std::size_t> possible;
    std::vector<Timestamp> times;
    for (std::size_t at : order) {
        if (decisions[at].item.time > now) {
            decisions[at].rules.emplace_back("time");
            continue;
        }
        possible.push_back(at);
        times.push_back(decisions[at].item.time);
    }
    const std::vector<bool> good = credible_times(times);
    std::vector<Candidate> list;
    for (std::size_t i = possible.size(); i-- > 0;) {
        RetentionDecision& decision = decisions[possible[i]];
        if (good[i])
            list.push_back({possible[i], &decision.item, periods_of(decision.item)});
        else
            decision.rules.emplace_back("time");
    }
    return list;
}

}  // namespace

std::vector<RetentionDecision> decide_retention(std::vector<RetentionItem> items,
                                                const KeepRules& rules, Timestamp now,
                                                const std::string& frozen) {
    std::vector<RetentionDecision> decisions;
    for (RetentionItem& item : items) decisions.push_back({std::move(item), true, {}});
    if (!frozen.empty() || !rules.any()) {
        for (RetentionDecision& decision : decisions)
            decision.rules = {frozen.empty() ? "no-rules" : "frozen"};
        return decisions;
    }
    std::vector<Candidate> newest_first = candidates(decisions, now);
    for (const Candidate& candidate : newest_first) decisions[candidate.at].keep = false;
    if (newest_first.empty()) return decisions;
    Decider decider(decisions, std::move(newest_first));
    for (std::size_t at = 0; at < decisions.size(); ++at)
        if (decisions[at].item.is_pinned) decider.keep(at, "pin");
    decider.last(rules.last);
    decider.periods(rules.hourly, &Periods::hour, "hourly");
    decider.periods(rules.daily, &Periods::day, "daily");
    decider.periods(rules.weekly, &Periods::week, "weekly");
    decider.periods(rules.monthly, &Periods::month, "monthly");
    decider.periods(rules.yearly, &Periods::year, "yearly");
    if (rules.within_seconds != 0)
        decider.within(seconds(static_cast<std::int64_t>(
            std::min<std::uint64_t>(rules.within_seconds, 1'000'000'000'000ULL))));
    decider.tags(rules.tags);
    decider.last_good();
    decider.last_whole();
    // The newest one stays, whatever anybody wrote.
    decider.minimum(std::max<std::uint32_t>(rules.minimum, 1));
    return decisions;
}

}  // namespace backup
