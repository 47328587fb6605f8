#include "daemon/repository/snapshot.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "daemon/repository/go_json.h"
#include "daemon/repository/json_reader.h"

namespace backup {

namespace {

constexpr GoRules kRules = GoRules::go122;

// One table for both directions, in stored order.
struct Counter {
    std::string_view name;
    std::uint64_t SnapshotSummary::*member;
};
constexpr Counter kCounters[] = {
    {"files_new", &SnapshotSummary::files_new},
    {"files_changed", &SnapshotSummary::files_changed},
    {"files_unmodified", &SnapshotSummary::files_unmodified},
    {"dirs_new", &SnapshotSummary::dirs_new},
    {"dirs_changed", &SnapshotSummary::dirs_changed},
    {"dirs_unmodified", &SnapshotSummary::dirs_unmodified},
    {"data_blobs", &SnapshotSummary::data_blobs},
    {"tree_blobs", &SnapshotSummary::tree_blobs},
    {"data_added", &SnapshotSummary::data_added},
    {"data_added_packed", &SnapshotSummary::data_added_packed},
    {"total_files_processed", &SnapshotSummary::total_files_processed},
    {"total_bytes_processed", &SnapshotSummary::total_bytes_processed},
};

// Writes `,"name":` (without the comma after an opening brace).
void put_name(std::string& json, std::string_view name) {
    if (json.back() != '{') json += ',';
    json += '"';
    json += name;
    json += "\":";
}
void put_text(std::string& json, std::string_view name, std::string_view text) {
    put_name(json, name);
    append_go_json_string(json, text, kRules);
}
void put_number(std::string& json, std::string_view name, std::uint64_t value) {
    put_name(json, name);
    json += std::to_string(value);
}
void put_list(std::string& json, std::string_view name, const std::vector<std::string>& list) {
    put_name(json, name);
    json += '[';
    for (const std::string& text : list) {
        if (json.back() != '[') json += ',';
        append_go_json_string(json, text, kRules);
    }
    json += ']';
}

void put_summary(std::string& json, const SnapshotSummary& summary) {
    put_name(json, "summary");
    json += '{';
    put_text(json, "backup_start", format_rfc3339(summary.backup_start));
    put_text(json, "backup_end", format_rfc3339(summary.backup_end));
    for (const Counter& counter : kCounters)
        put_number(json, counter.name, summary.*counter.member);
    json += '}';
}

bool read_id(JsonReader& json, std::array<std::uint8_t, 32>& out) {
    std::string_view text;
    if (!json.read_text(text)) return false;
    return from_hex(text, out) || json.fail("a bad id");
}

template <typename IdType>
void read_optional_id(JsonReader& json, std::optional<IdType>& out) {
    out.reset();
    if (json.peek() == JsonReader::Kind::null) {
        json.read_null();
        return;
    }
    IdType id;
    if (read_id(json, id.bytes)) out = id;
}

// A summary is only shown to people: what other tools put there (fractions, other types) must not
// make the revision unreadable.
void read_summary(JsonReader& json, std::optional<SnapshotSummary>& out) {
    out.reset();
    if (json.peek() != JsonReader::Kind::object) {
        json.skip();
        return;
    }
    SnapshotSummary summary;
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
        const Counter* found = nullptr;
        for (const Counter& counter : kCounters)
            if (counter.name == key) found = &counter;
        std::string name(key);
        std::size_t from = json.position();
        bool is_text = json.peek() == JsonReader::Kind::string;
        if (is_text && (name == "backup_start" || name == "backup_end")) {
            std::string_view text;
            json.read_text(text);
            if (auto time = parse_rfc3339(text); time.ok())
                (name == "backup_start" ? summary.backup_start : summary.backup_end) = time.value();
            continue;
        }
        if (!json.skip() || found == nullptr) continue;
        std::string_view raw = json.raw(from, json.position());
        raw.remove_prefix(std::min(raw.find_first_not_of(" \t\r\n"), raw.size()));
        std::uint64_t value = 0;
        auto [rest, problem] = std::from_chars(raw.data(), raw.data() + raw.size(), value);
        if (problem == std::errc{} && rest == raw.data() + raw.size())
            summary.*found->member = value;
    }
    out = summary;
}

}  // namespace

std::string encode_snapshot(const Snapshot& snapshot) {
    std::string json = "{";
    put_text(json, "time",
             snapshot.time_text.empty() ? format_rfc3339(snapshot.time) : snapshot.time_text);
    if (snapshot.parent) put_text(json, "parent", snapshot.parent->hex());
    put_text(json, "tree", snapshot.tree.hex());
    put_list(json, "paths", snapshot.paths);
    if (!snapshot.hostname.empty()) put_text(json, "hostname", snapshot.hostname);
    if (!snapshot.username.empty()) put_text(json, "username", snapshot.username);
    if (snapshot.uid != 0) put_number(json, "uid", snapshot.uid);
    if (snapshot.gid != 0) put_number(json, "gid", snapshot.gid);
    if (!snapshot.excludes.empty()) put_list(json, "excludes", snapshot.excludes);
    if (!snapshot.tags.empty()) put_list(json, "tags", snapshot.tags);
    if (snapshot.original) put_text(json, "original", snapshot.original->hex());
    if (!snapshot.program_version.empty())
        put_text(json, "program_version", snapshot.program_version);
    if (snapshot.summary) put_summary(json, *snapshot.summary);
    return json + "}";
}

Result<Snapshot> decode_snapshot(ByteView text) {
    Snapshot snapshot;
    JsonReader json(text);
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
        if (key == "time") {
            if (json.read(snapshot.time_text)) {
                auto time = parse_rfc3339(snapshot.time_text);
                if (!time.ok()) return Error(ErrorKind::corrupt, "snapshot: bad time");
                snapshot.time = time.value();
            }
        } else if (key == "parent") {
            read_optional_id(json, snapshot.parent);
        } else if (key == "tree") {
            read_id(json, snapshot.tree.bytes);
        } else if (key == "paths") {
            read_string_list(json, snapshot.paths);
        } else if (key == "hostname") {
            json.read(snapshot.hostname);
        } else if (key == "username") {
            json.read(snapshot.username);
        } else if (key == "uid") {
            json.read(snapshot.uid);
        } else if (key == "gid") {
            json.read(snapshot.gid);
        } else if (key == "excludes") {
            read_string_list(json, snapshot.excludes);
        } else if (key == "tags") {
            read_string_list(json, snapshot.tags);
        } else if (key == "original") {
            read_optional_id(json, snapshot.original);
        } else if (key == "program_version") {
            json.read(snapshot.program_version);
        } else if (key == "summary") {
            read_summary(json, snapshot.summary);
        } else {
            json.skip();
        }
    }
    if (!json.finish()) return json.error("snapshot");
    if (snapshot.time_text.empty()) return Error(ErrorKind::corrupt, "snapshot: no time");
    if (snapshot.tree.is_null()) return Error(ErrorKind::corrupt, "snapshot: no tree");
    return snapshot;
}

namespace {

constexpr std::string_view kTagPrefix = "backupd:";
constexpr std::string_view kGapTag = "gap";
constexpr std::string_view kPinTag = "pin";
constexpr std::string_view kKeptForTag = "kept-for";
constexpr std::string_view kPreRestoreTrigger = "pre-restore";

bool parse_count(std::string_view text, std::uint64_t& out) {
    std::uint64_t value = 0;
    auto [rest, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || problem != std::errc{} || rest != text.data() + text.size()) return false;
    out = value;
    return true;
}

// False for tags that are not of ours, or that say what we do not understand: those are kept as
// they are.
constexpr std::string_view kMoreMissingTag = "more-missing";

// Paths are bytes, tags are text, and some tools cut tags at commas.
std::string percent_encoded(std::string_view path) {
    static constexpr char kDigits[] = "0123456789ABCDEF";
    std::string text;
    for (char c : path) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte > 0x20 && byte < 0x7f && c != '%' && c != ',') {
            text += c;
        } else {
            text += '%';
            text += kDigits[byte >> 4];
            text += kDigits[byte & 15];
        }
    }
    return text;
}

std::optional<std::string> percent_decoded(std::string_view text) {
    const auto digit = [](char c) -> int {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'A' && c <= 'F') return c - 'A' + 10;
        return -1;
    };
    std::string path;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            path += text[i];
            continue;
        }
        if (i + 2 >= text.size()) return std::nullopt;
        const int high = digit(text[i + 1]), low = digit(text[i + 2]);
        if (high < 0 || low < 0) return std::nullopt;
        path += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return path;
}

bool take_tag(std::string_view tag, RevisionTags& tags) {
    if (!tag.starts_with(kTagPrefix)) return false;
    tag.remove_prefix(kTagPrefix.size());
    if (tag == kGapTag) return tags.has_gap = true;
    if (tag == kPinTag) return tags.is_pinned = true;
    if (tag == kMoreMissingTag) return tags.more_missing = true;
    std::size_t equals = tag.find('=');
    if (equals == std::string_view::npos) return false;
    std::string_view name = tag.substr(0, equals), value = tag.substr(equals + 1);
    if (value.empty()) return false;
    if (name == "n") return parse_count(value, tags.number);
    if (name == "exceptions") return parse_count(value, tags.exceptions);
    if (name == "edit") return parse_count(value, tags.edit);
    if (name == "trash") {
        auto time = parse_rfc3339(value);
        if (time.ok()) tags.trashed = *time;
        return time.ok();
    }
    if (name == "missing") {
        auto path = percent_decoded(value);
        if (path) tags.missing.push_back(std::move(*path));
        return path.has_value();
    }
    if (name == "set" || name == kKeptForTag)
        tags.set = value;
    else if (name == "trigger")
        tags.trigger = value;
    else if (name == "mode")
        tags.mode = value;
    else
        return false;
    return true;
}

}  // namespace

RevisionTags parse_revision_tags(const std::vector<std::string>& tags) {
    RevisionTags result;
    for (const std::string& tag : tags)
        if (!take_tag(tag, result)) result.others.push_back(tag);
    return result;
}

std::vector<std::string> make_tags(const RevisionTags& tags) {
    std::vector<std::string> result;
    auto put = [&](std::string_view name, const std::string& value) {
        result.push_back(std::string(kTagPrefix) + std::string(name) + "=" + value);
    };
    if (!tags.set.empty()) {
        put(tags.trigger == kPreRestoreTrigger ? kKeptForTag : "set", tags.set);
        put("n", std::to_string(tags.number));
        if (!tags.trigger.empty()) put("trigger", tags.trigger);
        if (!tags.mode.empty()) put("mode", tags.mode);
        if (tags.exceptions != 0) put("exceptions", std::to_string(tags.exceptions));
        for (const std::string& path : tags.missing) put("missing", percent_encoded(path));
        if (tags.more_missing)
            result.push_back(std::string(kTagPrefix) + std::string(kMoreMissingTag));
        if (tags.has_gap) result.push_back(std::string(kTagPrefix) + std::string(kGapTag));
        if (tags.is_pinned) result.push_back(std::string(kTagPrefix) + std::string(kPinTag));
        if (tags.trashed) put("trash", format_rfc3339_utc(*tags.trashed));
        if (tags.edit != 0) put("edit", std::to_string(tags.edit));
    }
    result.insert(result.end(), tags.others.begin(), tags.others.end());
    return result;
}

}  // namespace backup
