#include "daemon/ipc/revisions.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <systemd/sd-bus.h>

#include "daemon/ipc/served.h"
#include "daemon/jobs/checkpoints.h"
#include "daemon/jobs/undo_book.h"

namespace backup {

namespace {

// Messages stay below 64 KiB: about 600 bytes each.
constexpr std::size_t kMostPerPage = 100;
constexpr std::size_t kMostAsked = 500;

bool passes(const Revision& revision, const std::optional<SetOnHost>& set,
            const RevisionFilter& filter) {
    const Snapshot& snapshot = revision.snapshot();
    // In the unit of the bus: a time that was read from it means that revision, whatever its
    // nanoseconds.
    std::uint64_t time = to_usec(snapshot.time);
    if (filter.since && time < to_usec(*filter.since)) return false;
    if (filter.until && time > to_usec(*filter.until)) return false;
    if (filter.at && (time > to_usec(*filter.at) || !revision.is_time_credible)) return false;
    if (filter.host && *filter.host != "*" && snapshot.hostname != *filter.host) return false;
    if (filter.state == "trashed" && !revision.is_trashed()) return false;
    if (filter.state == "complete" && revision.is_trashed()) return false;
    if (is_pre_restore(revision)) {
        if (filter.at || (filter.state != "any" && filter.state != "trashed")) return false;
        return !set || (revision.tags.set == set->set &&
                        (filter.host.has_value() || snapshot.hostname == set->host));
    }
    if (!set || filter.foreign) return true;
    if (belongs_to(revision, *set)) return true;
    return revision.tags.set == set->set && filter.host.has_value();
}

}  // namespace

Result<RevisionFilter> read_revision_filter(wire::DictReader& options) {
    RevisionFilter filter;
    if (auto limit = options.number("limit")) {
        if (*limit == 0 || *limit > kMostAsked)
            return invalid_argument("limit: between 1 and " + std::to_string(kMostAsked));
        filter.limit = std::min<std::size_t>(*limit, kMostPerPage);
    }
    filter.page = options.text("page").value_or("");
    if (auto since = options.number("since")) filter.since = from_usec(*since);
    if (auto until = options.number("until")) filter.until = from_usec(*until);
    if (auto at = options.number("at")) filter.at = from_usec(*at);
    std::string state = options.text("state").value_or("complete");
    if (state != "complete" && state != "incomplete" && state != "trashed" && state != "any")
        return invalid_argument("state: complete, incomplete, trashed or any");
    filter.state = state;
    filter.host = options.text("host");
    filter.foreign = options.boolean("foreign").value_or(false);
    return filter;
}

Result<Page> list_revisions(std::vector<Revision> newest_first, const std::optional<SetOnHost>& set,
                            const RevisionFilter& filter) {
    // What is in the repository is complete: the snapshot is written last.
    if (filter.state == "incomplete") newest_first.clear();
    std::erase_if(newest_first,
                  [&](const Revision& revision) { return !passes(revision, set, filter); });
    return cut_page(std::move(newest_first), filter.page, filter.limit);
}

wire::Dict revision_summary(const Revision& revision) {
    const Snapshot& snapshot = revision.snapshot();
    SnapshotSummary summary = snapshot.summary.value_or(SnapshotSummary{});
    std::uint64_t directories = summary.dirs_new + summary.dirs_changed + summary.dirs_unmodified;
    // Those that people gave it.
    std::vector<std::string> others = revision.tags.others;
    std::erase_if(others, [](const std::string& tag) { return tag.starts_with("backupd:"); });
    return {
        {"id", revision.id().hex()},
        {"number", revision.tags.number},
        {"set", revision.tags.set},
        {"state", revision.is_trashed()      ? "trashed"
                  : is_pre_restore(revision) ? kPreRestore
                                             : "complete"},
        {"time", to_usec(snapshot.time)},
        {"placed", to_usec(revision.placed)},
        {"trigger", revision.tags.trigger},
        {"mode", revision.tags.mode},
        {"parent", snapshot.parent ? snapshot.parent->hex() : std::string()},
        {"items", summary.total_files_processed + directories},
        {"bytes", summary.total_bytes_processed},
        {"new-bytes", summary.data_added_packed},
        {"exceptions", revision.tags.exceptions},
        {"pinned", revision.tags.is_pinned},
        {"gap", revision.tags.has_gap},
        {"forgotten", revision.tags.trashed ? to_usec(*revision.tags.trashed) : std::uint64_t{0}},
        {"expires",
         is_pre_restore(revision) ? to_usec(snapshot.time + kUndoKept) : std::uint64_t{0}},
        {"host", snapshot.hostname},
        {"program", snapshot.program_version},
        {"tags", others},
    };
}

wire::Dict revision_outline(const Revision& revision) {
    static constexpr std::array<std::string_view, 13> kKept = {
        "id",   "number", "set", "state",     "time",    "placed", "trigger",
        "mode", "pinned", "gap", "forgotten", "expires", "host"};
    wire::Dict outline = revision_summary(revision);
    std::erase_if(outline, [](const auto& entry) {
        return std::ranges::find(kKept, entry.key) == kKept.end();
    });
    return outline;
}

wire::Dict revision_details(const Revision& revision) {
    wire::Dict details = revision_summary(revision);
    const Snapshot& snapshot = revision.snapshot();
    SnapshotSummary summary = snapshot.summary.value_or(SnapshotSummary{});
    std::vector<wire::FileName> paths;
    for (const std::string& path : snapshot.paths) paths.push_back({path});
    auto duration = summary.backup_end > summary.backup_start
                        ? summary.backup_end - summary.backup_start
                        : Duration::zero();
    wire::Dict more = {
        {"paths", std::move(paths)},
        {"tree", snapshot.tree.hex()},
        {"files-new", summary.files_new},
        {"files-changed", summary.files_changed},
        {"files-unmodified", summary.files_unmodified},
        {"dirs-new", summary.dirs_new},
        {"dirs-changed", summary.dirs_changed},
        {"dirs-unmodified", summary.dirs_unmodified},
        {"duration-usec", static_cast<std::uint64_t>(duration / std::chrono::microseconds(1))},
        {"user", snapshot.username},
        {"excludes", snapshot.excludes},
    };
    details.insert(details.end(), more.begin(), more.end());
    return details;
}

std::optional<wire::Dict> incomplete_revision(const SetOnHost& set, const CheckpointRecord& record,
                                              const RevisionFilter& filter) {
    const bool is_asked_for = filter.state == "incomplete" || filter.state == "any";
    if (!is_asked_for || !filter.page.empty() || filter.foreign) return std::nullopt;
    if (filter.since && record.begin < *filter.since) return std::nullopt;
    if (filter.until && record.begin > *filter.until) return std::nullopt;
    return wire::Dict{
        {"id", std::string()},
        {"number", std::uint64_t{0}},
        {"set", set.set},
        {"state", "incomplete"},
        {"time", to_usec(record.begin)},
        {"trigger", record.trigger},
        {"mode", std::string()},
        {"parent", std::string()},
        {"items", record.files},
        {"bytes", record.bytes},
        {"new-bytes", std::uint64_t{0}},
        {"exceptions", std::uint64_t{0}},
        {"pinned", false},
        {"gap", false},
        {"host", set.host},
        {"job", record.job},
        {"expires", to_usec(checkpoint_expires(record))},
    };
}

int append_page(sd_bus_message* message, const Page& page,
                const std::optional<wire::Dict>& incomplete, wire::Dict (*told)(const Revision&)) {
    int r = sd_bus_message_open_container(message, 'a', "a{sv}");
    if (r >= 0 && incomplete) r = wire::append_dict(message, *incomplete);
    for (const Revision& revision : page.revisions)
        if (r >= 0) r = wire::append_dict(message, told(revision));
    if (r >= 0) r = sd_bus_message_close_container(message);
    if (r >= 0) r = sd_bus_message_append(message, "s", page.next.c_str());
    return r;
}

}  // namespace backup
