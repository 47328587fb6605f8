// ScrubPass is one slow pass over a set that looks for what tracking missed: everything is compared
// with the newest revision by metadata, and of some files the content is read again. What differs
// counts as missed only if it still does seconds later, after everything that was told has been
// taken in, and nothing asks to look at it. Runs on the caller's thread, and waits most of the
// time; the tracker is asked through Judge.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "daemon/archive/survey.h"
#include "daemon/tracking/tracked_set.h"
#include "daemon/tracking/tracker.h"

namespace backup {

struct Missed {
    enum class Kind : std::uint8_t {
        change,    // a name, or what stamps tell of a content
        metadata,  // ctime and what goes with it only
        content,   // no stamp told
    };
    Kind kind{};
    std::string path;
    std::optional<HeldState> seen;  // nothing: it is not there
    std::uint64_t commits = 0;      // see Judge
};

class ScrubPass {
  public:
    struct Input {
        std::string set;
        BackupSet definition;
        std::vector<Path> absent;
        std::vector<std::string> never_enter;
        Duration period{};
        unsigned content_percent = 0;
    };
    // From the pass's thread; all may block.
    struct Judge {
        // Everything that was told is taken in. Nothing: something asks to look at the path, or
        // what the marks are relative to is not sure. Else how many revisions were made so far.
        std::function<std::optional<std::uint64_t>(const std::string& path)> unmarked;
        // To be counted and marked, if nothing has changed since `commits` was told.
        std::function<void(const Missed& missed)> missed;
        // A run wants the disk for itself.
        std::function<bool()> is_busy;
    };

    ScrubPass(TrackerHost& host, const Clock& clock, Input input, Judge judge);
    void run(std::stop_token stop);

  private:
    struct Suspect {
        std::string path;
        std::optional<HeldState> seen;
        bool is_content = false;
        MonotonicTime check_at{};
    };
    void suspect(const std::string& path, bool is_content);
    void pause_until(MonotonicTime end);
    void judge_due();
    void judge(const Suspect& suspect);
    std::optional<Missed::Kind> difference(const Suspect& suspect);
    void check_samples();
    void rest(Duration took);

    TrackerHost& host_;
    const Clock& clock_;
    const Input input_;
    const Judge judge_;
    std::stop_token stop_;
    std::deque<Suspect> suspects_;
    std::vector<std::string> samples_;
};

}  // namespace backup
