// Calendar answers when a set's windows are open: now, until when, and when next. Pure; immutable,
// any thread.
//
// Windows are times of the wall clock of one zone:
// - a begin that the clock skips (summer time begins) is the instant of the change, and so is a
//   skipped end: a window that lies wholly in the skipped hour does not open on that day;
// - of a time that the clock shows twice (summer time ends) the first one begins a window and the
//   last one ends it, so that no window closes in between.
// Everything is computed from the instant that is asked about, nothing is remembered: a clock that
// is set forward or back by hours or years gives the answer of its new time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "daemon/policy/window.h"
#include "daemon/repository/zone.h"

namespace backup {

class Calendar {
  public:
    // No windows: always open.
    Calendar(std::vector<Window> windows, std::shared_ptr<const Zone> zone)
        : windows_(std::move(windows)), zone_(std::move(zone)) {}

    struct State {
        bool is_open = false;
        // Of the open windows the fastest counts; 0: no limit.
        std::uint64_t bytes_per_second = 0;
        // When is_open or the rate will be different; nothing: never, as far as kHorizonDays.
        std::optional<Timestamp> until;
    };
    State at(Timestamp now) const;

    // The opening after `now` or, when open, `now`; nothing: never again, as far as kHorizonDays.
    std::optional<Timestamp> next_opening(Timestamp now) const;

    // How long the uninterrupted time is that is open at `now`, and when it began; of a rate that
    // changes meanwhile nothing is said. Only when open. Longer ones than a week count as a week.
    struct Span {
        Timestamp begin, end;
    };
    std::optional<Span> span_at(Timestamp now) const;

    // 29 February on a given weekday comes back after 40 years when 2100 lies between.
    static constexpr std::int64_t kHorizonDays = 366 * 41;

  private:
    struct Interval {  // unix seconds, begin <= t < end
        std::int64_t begin, end;
    };
    std::optional<Interval> interval(const Window& window, std::int64_t day) const;
    std::int64_t local_day(std::int64_t unix_seconds) const;
    State state_at(std::int64_t unix_seconds) const;
    bool is_always_open() const;
    std::int64_t horizon() const;

    std::vector<Window> windows_;
    std::shared_ptr<const Zone> zone_;
};

// A stable share of `spread` for one machine and set, evenly spread over machines: a thousand
// clients with one window do not meet at its opening. `machine_id` is any text that tells machines
// apart; it cannot be found out from the result.
Duration start_jitter(std::string_view machine_id, std::string_view set, Duration spread);
// The part of a window over which starts are spread: nearly all of it, for whoever begins late in
// one window goes on in the next.
Duration jitter_spread(Duration window);

}  // namespace backup
