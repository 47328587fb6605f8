#include "daemon/jobs/hold_book.h"

#include <algorithm>
#include <sstream>

#include "common/path.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

constexpr std::size_t kMostPauseFile = 256;
constexpr std::size_t kLongestWord = 80;

std::string cut(std::string text) {
    text = printable(text);
    if (text.size() > kLongestWord) text.resize(kLongestWord);
    return text;
}

}  // namespace

std::optional<Pause> HoldBook::pause_at(Timestamp now) const {
    if (!pause_ || (pause_->until && *pause_->until <= now)) return std::nullopt;
    return pause_;
}

Result<std::uint64_t> HoldBook::inhibit(std::string who, std::string why, std::uint32_t uid,
                                        Timestamp now) {
    const auto of_user = std::ranges::count_if(
        inhibitors_, [uid](const auto& entry) { return entry.second.uid == uid; });
    if (static_cast<std::size_t>(of_user) >= kMostByUser)
        return Error(ErrorKind::conflict, ErrorCode::limits_exceeded,
                     "this user holds backups up 8 times already");
    inhibitors_[next_] = {cut(std::move(who)), cut(std::move(why)), uid, now};
    return next_++;
}

void HoldBook::drop_old(Timestamp now) {
    std::erase_if(inhibitors_,
                  [now](const auto& entry) { return now - entry.second.since >= kLongestHold; });
}

std::vector<Reason> HoldBook::reasons(Timestamp now) const {
    std::vector<Reason> list;
    if (const auto pause = pause_at(now))
        list.push_back({Condition::paused,
                        pause->until ? "uploads are paused until " + to_second(*pause->until)
                                     : "uploads are paused: `backupctl resume` ends it",
                        pause->since, pause->until});
    if (!inhibitors_.empty()) {
        // One is named; they have the same effect.
        const Inhibitor& first = inhibitors_.begin()->second;
        list.push_back(
            {Condition::inhibited,
             first.who + " asked for quiet" + (first.why.empty() ? "" : ": " + first.why),
             first.since, std::nullopt});
    }
    return list;
}

std::optional<Pause> read_pause(const std::string& file) {
    auto text = read_small_file(file, kMostPauseFile);
    if (!text.ok()) return std::nullopt;
    std::istringstream words(*text);
    std::uint64_t since = 0, until = 0;
    if (!(words >> since >> until)) return std::nullopt;
    Pause pause{from_usec(since), std::nullopt};
    if (until != 0) pause.until = from_usec(until);
    return pause;
}

Result<> write_pause(const std::string& file, const std::optional<Pause>& pause) {
    if (!pause) return remove_file_durably(file);
    return write_file_durably(file,
                              std::to_string(to_usec(pause->since)) + " " +
                                  std::to_string(pause->until ? to_usec(*pause->until) : 0) + "\n",
                              0600);
}

}  // namespace backup
