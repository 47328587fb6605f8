#include "daemon/jobs/catalog.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>
#include <tuple>

#include <unistd.h>

#include "daemon/retention/times.h"

namespace backup {

namespace {

constexpr std::size_t kLeastPrefix = 6;

// In the same order over any list of revisions, so that pages fit together.
auto order_of(const Revision& revision) {
    return std::tie(revision.placed, revision.tags.number, revision.id());
}

bool newer(const Revision& a, const Revision& b) {
    return order_of(a) > order_of(b);
}

// Two machines that share a repository may differ by that much.
constexpr Duration kClocksDiffer = std::chrono::hours(1);

// `made`: of one set on one host, in the order in which they were made.
void place(const std::vector<Revision*>& made, Timestamp now) {
    const Timestamp latest = now < Timestamp::max() - kClocksDiffer ? now + kClocksDiffer : now;
    std::vector<Revision*> possible;
    std::vector<Timestamp> times;
    for (Revision* revision : made) {
        revision->is_time_credible = false;
        if (revision->snapshot().time > latest) continue;
        possible.push_back(revision);
        times.push_back(revision->snapshot().time);
    }
    const std::vector<bool> credible = credible_times(times);
    std::optional<Timestamp> before;
    for (std::size_t i = 0; i < possible.size(); ++i) {
        possible[i]->is_time_credible = credible[i];
        if (credible[i] && !before) before = times[i];
    }
    for (Revision* revision : made) {
        if (revision->is_time_credible) before = revision->snapshot().time;
        revision->placed = before.value_or(std::min(revision->snapshot().time, now));
    }
}

Error no_such_revision(const std::string& message) {
    return Error(ErrorKind::not_found, ErrorCode::no_such_revision, message);
}

Error not_a_token() {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, "page: not a page token");
}

bool is_hex(std::string_view text) {
    return std::ranges::all_of(
        text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::optional<std::uint64_t> as_number(std::string_view text) {
    std::uint64_t number = 0;
    auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return number;
}

std::uint64_t nanoseconds(const Revision& revision) {
    auto count = revision.placed.time_since_epoch().count();
    return count < 0 ? 0 : static_cast<std::uint64_t>(count);
}

bool covers(const Snapshot& snapshot, const std::vector<Path>& paths) {
    return std::ranges::all_of(paths, [&](const Path& path) {
        return std::ranges::any_of(snapshot.paths, [&](const std::string& text) {
            auto root = Path::parse(text);
            return root.ok() && path.is_inside(*root);
        });
    });
}

}  // namespace

std::vector<Revision> all_revisions(std::vector<RevisionEntry> entries, Timestamp now) {
    std::set<RevisionId> old;
    for (const RevisionEntry& entry : superseded_revisions(entries)) old.insert(entry.id);
    std::vector<Revision> list;
    list.reserve(entries.size());
    for (RevisionEntry& entry : entries) {
        if (old.contains(entry.id)) continue;
        RevisionTags tags = parse_revision_tags(entry.snapshot.tags);
        const Timestamp time = entry.snapshot.time;
        list.push_back({std::move(entry), std::move(tags), time});
    }
    std::map<std::pair<std::string, std::string>, std::vector<Revision*>> sets;
    for (Revision& revision : list)
        if (!revision.tags.set.empty() && !is_pre_restore(revision))
            sets[{revision.tags.set, revision.snapshot().hostname}].push_back(&revision);
    for (auto& [set, made] : sets) {
        std::ranges::sort(made, [](const Revision* a, const Revision* b) {
            return std::tie(a->tags.number, a->placed) < std::tie(b->tags.number, b->placed);
        });
        place(made, now);
    }
    std::ranges::sort(list, newer);
    return list;
}

bool is_pre_restore(const Revision& revision) {
    return revision.tags.trigger == kPreRestore;
}

bool belongs_to(const Revision& revision, const SetOnHost& set) {
    if (is_pre_restore(revision)) return false;
    const std::string &name = revision.tags.set, &host = revision.snapshot().hostname;
    if (name == set.set && host == set.host) return true;
    return std::ranges::any_of(set.adopted, [&](const auto& line) {
        return !name.empty() && line.first == host && line.second == name;
    });
}

std::uint64_t count_kept(const std::vector<Revision>& revisions, const SetOnHost& set) {
    return static_cast<std::uint64_t>(
        std::ranges::count_if(revisions, [&](const Revision& revision) {
            return belongs_to(revision, set) && !revision.is_trashed();
        }));
}

Result<Revision> resolve_revision(const std::vector<Revision>& newest_first, const SetOnHost& set,
                                  std::string_view text) {
    if (text == "latest") {
        for (const Revision& revision : newest_first)
            if (belongs_to(revision, set) && !revision.is_trashed()) return revision;
        return no_such_revision("set '" + set.set + "' has no complete revision yet");
    }
    if (auto number = as_number(text); number && text.size() < 64) {
        for (const Revision& revision : newest_first)
            if (belongs_to(revision, set) && revision.tags.number == *number) return revision;
        if (text.size() < kLeastPrefix)
            return no_such_revision("set '" + set.set + "' has no revision " + std::string(text));
    }
    if (text.size() < kLeastPrefix || text.size() > 64 || !is_hex(text))
        return no_such_revision("'" + std::string(text) +
                                "' is no revision: give a number of the set, 6 or more digits of "
                                "an id, or \"latest\"");
    const Revision* found = nullptr;
    for (bool by_identity : {false, true}) {
        for (const Revision& revision : newest_first) {
            const RevisionId& id = by_identity ? revision.identity() : revision.id();
            if (!id.hex().starts_with(text)) continue;
            if (found != nullptr)
                return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                             "several revisions begin with " + std::string(text));
            found = &revision;
        }
        if (found != nullptr) break;
    }
    if (found == nullptr)
        return no_such_revision("there is no revision " + std::string(text) + " in the repository");
    return *found;
}

std::optional<Revision> pick_parent(const std::vector<Revision>& newest_first, const SetOnHost& set,
                                    const std::vector<Path>& paths) {
    for (const Revision& revision : newest_first) {
        if (belongs_to(revision, set)) return revision;
        if (revision.tags.set.empty() && revision.snapshot().hostname == set.host &&
            covers(revision.snapshot(), paths))
            return revision;
    }
    return std::nullopt;
}

std::uint64_t next_number(const std::vector<Revision>& revisions, const SetOnHost& set,
                          std::uint64_t remembered) {
    std::uint64_t most = remembered;
    for (const Revision& revision : revisions)
        if (belongs_to(revision, set)) most = std::max(most, revision.tags.number);
    return most + 1;
}

Result<Page> cut_page(std::vector<Revision> newest_first, std::string_view token,
                      std::size_t limit) {
    auto begin = newest_first.begin();
    if (!token.empty()) {
        // "NANOSECONDS-NUMBER-ID" of the last one told: still right when revisions came or went
        // meanwhile.
        const std::size_t dash = token.find('-');
        const std::size_t second =
            token.find('-', dash == std::string_view::npos ? dash : dash + 1);
        if (second == std::string_view::npos) return not_a_token();
        auto since_epoch = as_number(token.substr(0, dash));
        auto number = as_number(token.substr(dash + 1, second - dash - 1));
        auto id = RevisionId::from_hex(token.substr(second + 1));
        if (!since_epoch || !number || !id) return not_a_token();
        begin = std::ranges::find_if(newest_first, [&](const Revision& revision) {
            const std::uint64_t time = nanoseconds(revision);
            return std::tie(time, revision.tags.number, revision.id()) <
                   std::tie(*since_epoch, *number, *id);
        });
    }
    Page page;
    std::size_t left = static_cast<std::size_t>(newest_first.end() - begin);
    std::size_t count = std::min(left, limit);
    page.revisions.assign(std::make_move_iterator(begin),
                          std::make_move_iterator(begin + static_cast<std::ptrdiff_t>(count)));
    if (left > count && count > 0) {
        const Revision& last = page.revisions.back();
        page.next = std::to_string(nanoseconds(last)) + "-" + std::to_string(last.tags.number) +
                    "-" + last.id().hex();
    }
    return page;
}

SetOnHost line_of(const BackupSet& set) {
    SetOnHost line{set.id, host_of(set)};
    for (const std::string& text : set.adopt) {
        const std::size_t slash = text.rfind('/');
        if (slash != std::string::npos)
            line.adopted.emplace_back(text.substr(0, slash), text.substr(slash + 1));
    }
    return line;
}

std::string host_of(const BackupSet& set) {
    if (!set.hostname.empty()) return set.hostname;
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) < 0) return "localhost";
    return name.data();
}

}  // namespace backup
