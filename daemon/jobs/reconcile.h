// When a set's everything is due to be read again and compared with what incremental runs made of
// it. Pure but for machine_id().
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "daemon/policy/policy.h"
#include "daemon/state/state_store.h"

namespace backup {

// Never later than `reconcile_seconds` after the last time, and up to a tenth of it earlier, by a
// share that is fixed for the machine and the set. `tried`: when one was begun by itself last; one
// that failed is not begun anew at once. Nothing: it is not done by itself.
std::optional<Timestamp> next_reconcile(const BackupSet& set, const SetRecord& record,
                                        std::string_view machine, Timestamp tried, Timestamp now);

// What tells this machine from others: /etc/machine-id, else its name.
std::string machine_id();

}  // namespace backup
