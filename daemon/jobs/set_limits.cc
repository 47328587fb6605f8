#include "daemon/jobs/set_limits.h"

#include <algorithm>

#include "daemon/policy/limit_rules.h"
#include "daemon/policy/units.h"

namespace backup {

namespace {

constexpr Duration kDay = std::chrono::hours(24);
constexpr std::string_view kCount = "limit-";

const LimitName* limit_of(std::string_view name) {
    for (const LimitName& limit : kLimits)
        if (limit.name == name) return &limit;
    return nullptr;
}

std::string listed(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
    return text;
}

std::vector<std::string> names_of(const std::string& text) {
    std::vector<std::string> names;
    for (const LimitName& limit : kLimits)
        if ((" " + text + " ").find(" " + std::string(limit.name) + " ") != std::string::npos)
            names.emplace_back(limit.name);
    return names;
}

// "its limit of 2000 items"
std::string limit_text(const LimitName& limit, std::uint64_t value, bool is_hard) {
    const std::string number = format_limit(limit, value);
    const std::string whose = is_hard ? "its limit of " : "its soft limit of ";
    if (limit.name == "items" || limit.name == "revisions")
        return whose + number + " " + std::string(limit.name);
    if (limit.name == "file-size") return whose + number + " for one file";
    if (limit.name == "churn") return whose + number + " of changes a day";
    return whose + number;
}

std::string remedy_for(const BackupSet& set, const LimitName& limit, bool is_hard) {
    const std::string name = is_hard ? std::string(limit.name) : "soft-" + std::string(limit.name);
    const std::string raise = "`backupctl set edit " + set.id + " --limit " + name + "=" +
                              (limit.is_size ? "SIZE" : "N") + "` raises it";
    if (limit.name == "revisions")
        return "`backupctl forget --policy " + set.id +
               "` applies its rules, `backupctl set edit " + set.id +
               " --keep RULES` keeps less, " + raise;
    if (limit.name == "churn") return "the rest comes by itself within a day; " + raise;
    return "`backupctl set check " + set.id +
           " --simulate` says what takes the room, `backupctl set edit " + set.id +
           " --exclude PATTERN` leaves it out, " + raise;
}

std::string left_out_text(std::uint64_t items, std::uint64_t bytes) {
    std::string text = std::to_string(items) + (items == 1 ? " item" : " items");
    if (bytes != 0) text += " with " + std::to_string(bytes) + " bytes";
    return text;
}

}  // namespace

std::vector<std::pair<std::string, std::uint64_t>> limit_counts(const BackupSet& set,
                                                                const LimitReport& report) {
    if (!set.limits.any()) return {};
    std::vector<std::pair<std::string, std::uint64_t>> counts = {
        {"left-out-items", report.left_out_items},
        {"left-out-bytes", report.left_out_bytes},
        {"kept-old", report.kept_old},
        {"large-files", report.large_files},
        {"churn-bytes", report.churn_bytes}};
    for (const std::string& name : report.hit)
        counts.emplace_back(std::string(kCount) + name, set.limits.hard.*limit_of(name)->member);
    return counts;
}

std::optional<Error> limit_error(const BackupSet& set, const LimitReport& report) {
    if (report.hit.empty()) return std::nullopt;
    std::string limits;
    for (const std::string& name : report.hit) {
        const LimitName& limit = *limit_of(name);
        limits +=
            (limits.empty() ? "" : ", ") + limit_text(limit, set.limits.hard.*limit.member, true);
    }
    std::string what;
    if (report.left_out_items != 0)
        what = left_out_text(report.left_out_items, report.left_out_bytes) + " left out";
    if (report.kept_old != 0)
        what += (what.empty() ? "" : " and ") + std::to_string(report.kept_old) +
                (report.kept_old == 1 ? " file" : " files") + " kept with the former content";
    return Error(ErrorKind::no_space, ErrorCode::quota_exceeded,
                 "set '" + set.id + "' is beyond " + limits + ": " + what +
                     "; what was protected stays; " +
                     remedy_for(set, *limit_of(report.hit.front()), true));
}

std::optional<Error> revisions_error(const BackupSet& set, std::uint64_t revisions) {
    const std::uint64_t most = set.limits.hard.revisions;
    if (most == 0 || revisions < most) return std::nullopt;
    const LimitName& limit = *limit_of("revisions");
    return Error(ErrorKind::no_space, ErrorCode::quota_exceeded,
                 "set '" + set.id + "' has " + std::to_string(revisions) + " revisions, " +
                     limit_text(limit, most, true) + " is reached: no revision was made; " +
                     remedy_for(set, limit, true));
}

std::uint64_t unprotected_items(const LimitReport& report, std::uint64_t exceptions) {
    const std::uint64_t beyond = report.left_out_items + report.kept_old;
    return exceptions - std::min(exceptions, report.listed) + std::max(beyond, report.listed);
}

void note_limits(SetRecord& set, const JobRecord& record) {
    if (record.outcome == "failed") {
        // Before anything was looked at.
        if (record.error_name == to_string(ErrorCode::quota_exceeded)) set.limits_hit = "revisions";
        return;
    }
    if (record.outcome != "complete" && record.outcome != "exceptions") return;
    std::vector<std::string> hit;
    set.items = set.bytes = set.left_out_items = set.left_out_bytes = 0;
    set.unprotected = set.unprotected_job = 0;
    set.soft_hit.clear();
    for (const auto& [name, count] : record.counts) {
        if (name == "files" || name == "dirs-new" || name == "dirs-changed" ||
            name == "dirs-unmodified")
            set.items += count;
        if (name == "bytes") set.bytes = count;
        if (name == "left-out-items") set.left_out_items = count;
        if (name == "left-out-bytes") set.left_out_bytes = count;
        if (name == "unprotected") set.unprotected = count, set.unprotected_job = record.id;
        if (name == "large-files" && count != 0) set.soft_hit = "file-size";
        if (name == "churn-bytes") {
            set.churn_bytes = churn_of_day(set, record.begin);
            if (set.churn_bytes == 0) set.churn_since = record.begin;
            // A first revision is no change.
            if (!record.parent.empty()) set.churn_bytes += count;
        }
        if (name.starts_with(kCount)) hit.push_back(name.substr(kCount.size()));
    }
    set.limits_hit = listed(hit);
}

std::uint64_t churn_of_day(const SetRecord& set, Timestamp now) {
    return now < set.churn_since || now >= set.churn_since + kDay ? 0 : set.churn_bytes;
}

std::optional<Timestamp> churn_renewal(const SetRecord& set) {
    const auto hit = names_of(set.limits_hit);
    if (std::ranges::find(hit, "churn") == hit.end()) return std::nullopt;
    return set.churn_since + kDay;
}

std::vector<LimitNow> limits_over(const BackupSet& set, const SetRecord& record,
                                  std::uint64_t revisions, Timestamp now) {
    std::vector<LimitNow> over;
    for (const std::string& name : names_of(record.limits_hit)) {
        const LimitName& limit = *limit_of(name);
        const std::uint64_t value = set.limits.hard.*limit.member;
        if (value == 0 || (name == "revisions" && revisions < value)) continue;
        std::string text;
        if (name == "revisions")
            text = limit_text(limit, value, true) + " is reached: no revision is made";
        else
            text = left_out_text(record.left_out_items, record.left_out_bytes) +
                   " left out of its last revision, or kept there with former content: " +
                   limit_text(limit, value, true);
        over.push_back({name, true, std::move(text), remedy_for(set, limit, true)});
    }
    const auto soft = [&](std::string_view name, std::uint64_t value) {
        const LimitName& limit = *limit_of(name);
        const std::uint64_t most = set.limits.soft.*limit.member;
        if (most == 0 || value <= most) return;
        over.push_back({std::string(name), false,
                        "it has " + format_limit(limit, value) + ", more than " +
                            limit_text(limit, most, false),
                        remedy_for(set, limit, false)});
    };
    soft("items", record.items);
    soft("bytes", record.bytes);
    if (record.soft_hit == "file-size" && set.limits.soft.file_size != 0)
        over.push_back({"file-size", false,
                        "its last run saw files beyond " +
                            limit_text(*limit_of("file-size"), set.limits.soft.file_size, false),
                        remedy_for(set, *limit_of("file-size"), false)});
    soft("churn", churn_of_day(record, now));
    soft("revisions", revisions);
    return over;
}

}  // namespace backup
