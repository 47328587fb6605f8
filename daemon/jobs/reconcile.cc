#include "daemon/jobs/reconcile.h"

#include <algorithm>
#include <array>
#include <fstream>

#include <unistd.h>

#include "daemon/schedule/calendar.h"

namespace backup {

namespace {

// One that failed is not begun anew at once.
constexpr Duration kRetry = std::chrono::hours(6);

}  // namespace

std::optional<Timestamp> next_reconcile(const BackupSet& set, const SetRecord& record,
                                        std::string_view machine, Timestamp tried, Timestamp now) {
    const bool runs_by_itself = set.automatic || set.interval_seconds != 0;
    if (!set.enabled || !runs_by_itself || set.reconcile_seconds == 0) return std::nullopt;
    // Before the first revision there is nothing to compare with.
    if (record.last_full == Timestamp{}) return std::nullopt;
    const Timestamp last = record.last_full;
    const Duration period = std::chrono::seconds(set.reconcile_seconds);
    const Duration spread = period / 10;
    // A time in the future is a clock that was set back.
    const Timestamp due =
        std::min(last, now) + period - spread + start_jitter(machine, set.id, spread);
    if (tried == Timestamp{} || tried > now) return due;
    return std::max(due, tried + std::min<Duration>(kRetry, period));
}

std::string machine_id() {
    std::ifstream file("/etc/machine-id");
    std::string id;
    if (file >> id && !id.empty()) return id;
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) < 0) return "localhost";
    return name.data();
}

}  // namespace backup
