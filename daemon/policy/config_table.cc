#include "daemon/policy/config_table.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "common/bytes.h"
#include "common/path.h"
#include "daemon/policy/units.h"
#include "daemon/policy/window.h"

namespace backup {

namespace {

// Insertions, deletions, replacements and swaps of neighbours.
std::size_t difference(std::string_view a, std::string_view b) {
    std::vector<std::vector<std::size_t>> cost(a.size() + 1,
                                               std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i) {
        for (std::size_t j = 0; j <= b.size(); ++j) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            const bool same = a[i - 1] == b[j - 1];
            cost[i][j] = std::min(
                {cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (same ? 0 : 1)});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
            }
        }
    }
    return cost[a.size()][b.size()];
}

}  // namespace

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
    std::string best;
    // "exlude" is two thirds of "exclude" or better; further away a suggestion only confuses.
    std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
    if (word.size() > 64) return best;
    std::string plain(word);
    std::replace(plain.begin(), plain.end(), '_', '-');
    for (const std::string& candidate : known) {
        const std::size_t distance = difference(plain, candidate);
        if (distance < least) {
            least = distance;
            best = candidate;
        }
    }
    return best;
}

ConfigTable::ConfigTable(const TomlValue& table, std::string file, std::string where,
                         std::vector<ConfigProblem>& problems)
    : table_(table), file_(std::move(file)), where_(std::move(where)), problems_(problems) {}

void ConfigTable::problem(unsigned line, std::string message) {
    problems_.push_back({file_, line, std::move(message)});
}

std::string ConfigTable::named(std::string_view key) const {
    std::string name = "\"" + printable(key) + "\"";
    if (!where_.empty()) name += " in " + where_;
    return name;
}

unsigned ConfigTable::line_of(std::string_view key) const {
    for (const TomlMember& member : table_.members) {
        if (member.key == key) return member.line;
    }
    return 0;
}

const TomlMember* ConfigTable::take(std::string_view key) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
    for (const TomlMember& member : table_.members) {
        if (member.key == key) return &member;
    }
    return nullptr;
}

void ConfigTable::wrong_type(const TomlMember& member, std::string_view wanted) {
    problem(member.line, named(member.key) + " must be " + std::string(wanted) + ", not " +
                             std::string(to_string(member.value.kind)));
}

const TomlMember* ConfigTable::take(std::string_view key, TomlValue::Kind kind,
                                    std::string_view wanted) {
    const TomlMember* member = take(key);
    if (member == nullptr) return nullptr;
    if (member->value.kind == kind) return member;
    wrong_type(*member, wanted);
    return nullptr;
}

ConfigTable::Taken ConfigTable::text(std::string_view key, std::string& out) {
    const TomlMember* member = take(key, TomlValue::Kind::text, to_string(TomlValue::Kind::text));
    if (member == nullptr) return missing(key);
    if (member->value.text.find('\0') != std::string::npos) {
        problem(member->line, named(key) + " has a zero byte");
        return Taken::wrong;
    }
    out = member->value.text;
    return Taken::ok;
}

ConfigTable::Taken ConfigTable::flag(std::string_view key, bool& out) {
    const TomlMember* member =
        take(key, TomlValue::Kind::boolean, to_string(TomlValue::Kind::boolean));
    if (member == nullptr) return missing(key);
    out = member->value.boolean;
    return Taken::ok;
}

ConfigTable::Taken ConfigTable::whole_number(std::string_view key, std::int64_t least,
                                             std::int64_t most, std::int64_t& out) {
    const TomlMember* member =
        take(key, TomlValue::Kind::integer, to_string(TomlValue::Kind::integer));
    if (member == nullptr) return missing(key);
    if (member->value.integer < least || member->value.integer > most) {
        problem(member->line, named(key) + " must be from " + std::to_string(least) + " to " +
                                  std::to_string(most));
        return Taken::wrong;
    }
    out = member->value.integer;
    return Taken::ok;
}

ConfigTable::Taken ConfigTable::size(std::string_view key, std::uint64_t& out) {
    return measure(key, std::numeric_limits<std::int64_t>::max(), parse_size,
                   "a size like \"16MiB\"", out);
}

ConfigTable::Taken ConfigTable::rate(std::string_view key, std::uint64_t& out) {
    return measure(key, std::numeric_limits<std::int64_t>::max(), parse_rate,
                   "a rate like \"2MiB/s\"", out);
}

ConfigTable::Taken ConfigTable::interval(std::string_view key, std::uint64_t& out) {
    return measure(key, 0xffffffff, parse_interval, "an interval like \"1h\"", out);
}

ConfigTable::Taken ConfigTable::short_interval(std::string_view key, std::uint64_t& out) {
    const TomlMember* member = take(key);
    const Taken taken =
        measure(key, 0xffffffff, parse_short_interval, "a time like \"2s\" or \"500ms\"", out);
    if (taken == Taken::ok && member->value.kind == TomlValue::Kind::integer) out *= 1000;
    return taken;
}

ConfigTable::Taken ConfigTable::measure(std::string_view key, std::int64_t most,
                                        Result<std::uint64_t> (*parse)(std::string_view),
                                        std::string_view wanted, std::uint64_t& out) {
    const TomlMember* member = take(key);
    if (member == nullptr) return Taken::absent;
    const TomlValue& value = member->value;
    if (value.kind == TomlValue::Kind::text) {
        const auto parsed = parse(value.text);
        if (!parsed.ok()) {
            problem(member->line, named(key) + ": " + parsed.error().message());
            return Taken::wrong;
        }
        out = *parsed;
        return Taken::ok;
    }
    if (value.kind != TomlValue::Kind::integer) {
        wrong_type(*member, wanted);
        return Taken::wrong;
    }
    if (value.integer < 0 || value.integer > most) {
        problem(member->line, named(key) + " is out of range");
        return Taken::wrong;
    }
    out = static_cast<std::uint64_t>(value.integer);
    return Taken::ok;
}

ConfigTable::Taken ConfigTable::list(std::string_view key, std::vector<Element>& out) {
    const TomlMember* member =
        take(key, TomlValue::Kind::list, "a list of texts like [\"a\", \"b\"]");
    if (member == nullptr) return missing(key);
    std::vector<Element> elements;
    Taken taken = Taken::ok;
    for (const TomlValue& value : member->value.list) {
        const unsigned line = value.line != 0 ? value.line : member->line;
        if (value.kind == TomlValue::Kind::text) {
            elements.push_back({value.text, line});
            continue;
        }
        const bool encoded = value.kind == TomlValue::Kind::table && value.members.size() == 1 &&
                             value.members[0].key == "base64" &&
                             value.members[0].value.kind == TomlValue::Kind::text;
        const auto bytes = encoded ? from_base64(value.members[0].value.text) : std::nullopt;
        if (bytes) {
            elements.push_back({std::string(as_text(*bytes)), line});
            continue;
        }
        taken = Taken::wrong;
        problem(line, encoded ? named(key) + ": this is no base64"
                              : named(key) + " must be a list of texts; one of its elements is " +
                                    std::string(to_string(value.kind)));
    }
    if (taken == Taken::ok) out = std::move(elements);
    return taken;
}

void ConfigTable::tables(std::string_view key,
                         const std::function<void(const TomlMember& member)>& each) {
    const TomlValue* all = table(key);
    if (all == nullptr) return;
    for (const TomlMember& member : all->members) {
        if (member.value.kind == TomlValue::Kind::table) {
            each(member);
        } else {
            problem(member.line, named(key) + " must hold tables: [" + std::string(key) + ".NAME]");
        }
    }
}

ConfigTable::Taken ConfigTable::missing(std::string_view key) const {
    return line_of(key) != 0 ? Taken::wrong : Taken::absent;
}

const TomlValue* ConfigTable::table(std::string_view key) {
    const TomlMember* member = take(key, TomlValue::Kind::table, to_string(TomlValue::Kind::table));
    return member == nullptr ? nullptr : &member->value;
}

void ConfigTable::finish() {
    for (const TomlMember& member : table_.members) {
        if (std::find(known_.begin(), known_.end(), member.key) != known_.end()) continue;
        std::string message = "unknown key " + named(member.key);
        const std::string nearest = nearest_word(member.key, known_);
        if (!nearest.empty()) {
            message += "; did you mean \"" + nearest + "\"?";
        } else {
            message += "; known are ";
            for (std::size_t i = 0; i < known_.size(); ++i)
                message += (i == 0 ? "" : ", ") + known_[i];
        }
        problem(member.line, std::move(message));
    }
}

}  // namespace backup
