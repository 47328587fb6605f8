#include "daemon/schedule/window_plan.h"

#include <algorithm>

namespace backup {

namespace {

// Windows of two calendars that meet at all do so within these many edges.
constexpr int kMostEdges = 2'000;
// A thousand machines are far enough apart within this; longer windows need not be used up.
constexpr Duration kMostSpread = std::chrono::hours(6);

}  // namespace

WindowPlan::WindowPlan(const BackupSet& set, const RepositoryPolicy* repository,
                       std::shared_ptr<const Zone> zone)
    : id_(set.id),
      jitter_seconds_(set.jitter_seconds),
      has_windows_(!set.windows.empty() || (repository != nullptr && !repository->windows.empty())),
      set_has_windows_(!set.windows.empty()),
      set_(set.windows, zone),
      repository_(repository != nullptr ? repository->windows : std::vector<Window>{}, zone) {}

Calendar::State WindowPlan::at(Timestamp now) const {
    if (!has_windows_) return {true, 0, std::nullopt};
    const Calendar::State a = set_.at(now), b = repository_.at(now);
    Calendar::State both;
    both.is_open = a.is_open && b.is_open;
    both.bytes_per_second = a.bytes_per_second == 0 ? b.bytes_per_second
                            : b.bytes_per_second == 0
                                ? a.bytes_per_second
                                : std::min(a.bytes_per_second, b.bytes_per_second);
    if (!both.is_open) both.bytes_per_second = 0;
    for (const auto& until : {a.until, b.until})
        if (until && (!both.until || *until < *both.until)) both.until = until;
    return both;
}

std::optional<Timestamp> WindowPlan::next_opening(Timestamp now) const {
    Timestamp time = now;
    for (int i = 0; i < kMostEdges; ++i) {
        const auto a = set_.next_opening(time);
        if (!a) return std::nullopt;
        const auto b = repository_.next_opening(*a);
        if (!b) return std::nullopt;
        if (*b == *a) return a;
        time = *b;
    }
    return std::nullopt;
}

std::optional<Timestamp> WindowPlan::next_start(Timestamp from, std::string_view machine,
                                                bool is_continued) const {
    if (!has_windows_) return from;
    Timestamp time = from;
    for (int i = 0; i < kMostEdges; ++i) {
        const auto open = next_opening(time);
        if (!open || is_continued) return open;
        const auto span = (set_has_windows_ ? set_ : repository_).span_at(*open);
        if (!span) return open;
        Duration spread = jitter_seconds_ ? std::chrono::seconds(*jitter_seconds_) : kMostSpread;
        spread = std::min(spread, jitter_spread(span->end - span->begin));
        const Timestamp first = span->begin + start_jitter(machine, id_, spread);
        if (first <= *open) return open;
        time = first;
    }
    return std::nullopt;
}

// When what is open at `open` closes.
std::optional<Timestamp> WindowPlan::closing(Timestamp open) const {
    Timestamp time = open;
    for (int i = 0; i < kMostEdges; ++i) {
        const Calendar::State state = at(time);
        if (!state.is_open) return time;
        if (!state.until) return std::nullopt;
        time = *state.until;
    }
    return std::nullopt;
}

std::optional<Timestamp> WindowPlan::end_of_next_window(Timestamp from) const {
    if (!has_windows_) return std::nullopt;
    const auto open = next_opening(from);
    return open ? closing(*open) : std::nullopt;
}

}  // namespace backup
