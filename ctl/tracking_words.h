// How change tracking of a set is told: from the properties of the set to words, for people and as
// JSON. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/clock.h"
#include "ctl/json.h"
#include "ctl/render.h"
#include "ctl/value.h"

namespace backup {

struct TrackingFacts {
    std::string state;  // live scanning degraded off
    std::string watching;
    std::uint64_t gaps = 0, pending = 0, bytes = 0;
    std::uint64_t oldest_usec = 0, protected_until_usec = 0;
    bool operator==(const TrackingFacts&) const = default;
};
// From the properties of a Set.
TrackingFacts tracking_facts(const Dict& properties);

// "live", "! degraded"
std::string tracking_text(const TrackingFacts& facts, const Looks& looks);
// "nothing", "3 (8.0 KiB), 12 s"
std::string pending_text(const TrackingFacts& facts, Timestamp now, const Looks& looks);
// "3 changes wait (8.0 KiB), the oldest for 12 s", "nothing waits", "what waits is not known"
std::string pending_sentence(const TrackingFacts& facts, Timestamp now, const Looks& looks);
// "live (fanotify)"; "off: a run compares every file" where nothing else is known.
std::string tracking_sentence(const TrackingFacts& facts, const std::string& reason);

// Since then, in seconds; 0 for what is in the future.
double seconds_since(std::uint64_t usec, Timestamp now);
// "tracking", "gaps", "pending", "bytes", "oldest_seconds".
void add_tracking(JsonObject& object, const TrackingFacts& facts, Timestamp now);

// What a word of "blocked-by" means and what to do about it; the set and its repository are named
// in the advice.
std::string blocked_sentence(const std::string& word, const std::string& set,
                             const std::string& tracking_reason);

}  // namespace backup
