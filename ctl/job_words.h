// How a job that ended is told: its outcome and its counters, for people and as JSON. Pure.
#pragma once

#include <string>
#include <string_view>

#include "ctl/json.h"
#include "ctl/render.h"
#include "ctl/value.h"

namespace backup {

// A dictionary of counters as the "counts" object: '-' in keys becomes '_'; only the integers.
JsonObject counts_object(const Dict& details);

// One line: "12 new, 3 changed and 120 unmodified files, 1.2 MiB read, 0.3 MiB stored".
std::string counts_sentence(const std::string& kind, const Dict& details, const Looks& looks);

// The outcome with its glyph: "✓ complete", "! exceptions", "✗ failed".
std::string outcome_text(std::string_view outcome, const Looks& looks);
Tone outcome_tone(std::string_view outcome);

}  // namespace backup
