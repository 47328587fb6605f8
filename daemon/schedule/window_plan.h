// WindowPlan is when a set may upload: when both its own windows and those of its repository are
// open. Pure; immutable, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "daemon/policy/policy.h"
#include "daemon/schedule/calendar.h"

namespace backup {

class WindowPlan {
  public:
    // `repository` may be nullptr.
    WindowPlan(const BackupSet& set, const RepositoryPolicy* repository,
               std::shared_ptr<const Zone> zone);

    bool has_windows() const { return has_windows_; }
    // As of a calendar: of two rates the lower one counts.
    Calendar::State at(Timestamp now) const;
    // The first time from `now` on when both are open.
    std::optional<Timestamp> next_opening(Timestamp now) const;
    // When a run that wants to begin at `from` may: from a share of each window on that is fixed
    // for the machine and the set. One that goes on where a window ended (`is_continued`) begins
    // with the window.
    std::optional<Timestamp> next_start(Timestamp from, std::string_view machine,
                                        bool is_continued) const;
    // The end of the first window that begins at or after `from` or is open then; nothing: there
    // are no windows, or it never ends.
    std::optional<Timestamp> end_of_next_window(Timestamp from) const;

  private:
    std::optional<Timestamp> closing(Timestamp open) const;

    std::string id_;
    std::optional<std::uint64_t> jitter_seconds_;
    bool has_windows_, set_has_windows_;
    Calendar set_, repository_;
};

}  // namespace backup
