#include "daemon/jobs/metrics.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

namespace backup {

namespace {

// A count of a job (word of the bus) and the name of its sum.
struct Summed {
    const char* count;
    const char* metric;
    const char* help;
};
constexpr std::array kBackupSums = {
    Summed{"files-new", "files_new", "Files that were new."},
    Summed{"files-changed", "files_changed", "Files that were changed."},
    Summed{"files-removed", "files_removed", "Files that were gone."},
    Summed{"bytes-read", "read_bytes", "Bytes that were read from the source."},
    Summed{"bytes-stored", "stored_bytes", "Bytes that were stored in the repository."},
};
constexpr std::array kRestoreSums = {
    Summed{"files", "files", "Files that were given back."},
    Summed{"bytes", "bytes", "Bytes that were given back."},
    Summed{"bytes-fetched", "fetched_bytes", "Bytes that were read from the repository for it."},
    Summed{"failed", "failed_objects", "Objects that could not be given back."},
};
constexpr std::array kGcSums = {
    Summed{"bytes-removed", "removed_bytes", "Bytes that were removed."},
    Summed{"bytes-marked", "marked_bytes", "Bytes that were marked for removal."},
};
constexpr std::array kVerifySums = {
    Summed{"errors", "errors", "Errors that were found."},
    Summed{"bytes-read", "read_bytes", "Bytes that were read and checked."},
};
// Of the last collection or audit, as they are.
constexpr std::array kGcGauges = {
    Summed{"listed-bytes", "listed_bytes", "Bytes in the repository, at the last look."},
    Summed{"live-bytes", "live_bytes", "Of these, needed by a revision."},
    Summed{"grace-bytes", "grace_bytes", "Of these, marked and waiting for their grace to end."},
    Summed{"orphan-bytes", "orphan_bytes", "Of these, known to nobody."},
};

class Writer {
  public:
    void family(const std::string& name, const char* type, const std::string& help) {
        name_ = name;
        out_ += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
    }
    // A line of a summary.
    void part(const char* suffix, double number) {
        const std::string name = std::exchange(name_, name_ + suffix);
        value({}, number);
        name_ = name;
    }
    using Labels = std::vector<std::pair<const char*, std::string>>;
    void value(const Labels& labels, double number) {
        out_ += name_;
        for (std::size_t i = 0; i < labels.size(); ++i)
            out_ += (i == 0 ? "{" : ",") + std::string(labels[i].first) + "=\"" + labels[i].second +
                    "\"";
        if (!labels.empty()) out_ += "}";
        std::array<char, 64> text{};
        std::snprintf(text.data(), text.size(), " %.17g\n", number);
        out_ += text.data();
    }
    void value(const Labels& labels, std::uint64_t number) {
        value(labels, static_cast<double>(number));
    }
    void time(const Labels& labels, Timestamp time) {
        if (time != Timestamp{}) value(labels, static_cast<double>(to_usec(time)) / 1e6);
    }
    std::string take() { return std::move(out_); }

  private:
    std::string name_, out_;
};

std::uint64_t count_of(const JobRecord& record, std::string_view word) {
    for (const auto& [name, count] : record.counts)
        if (name == word) return count;
    return 0;
}

bool has_count(const JobRecord& record, std::string_view word) {
    return std::ranges::any_of(record.counts,
                               [&](const auto& entry) { return entry.first == word; });
}

template <std::size_t N>
void write_sums(Writer& out, const std::string& prefix, const char* label,
                const std::array<Summed, N>& sums, const auto& values, const char* type,
                const char* suffix) {
    for (const Summed& sum : sums) {
        out.family(prefix + sum.metric + suffix, type, sum.help);
        for (const auto& [key, value] : values)
            if (key.first == sum.metric) out.value({{label, key.second}}, value);
    }
}

}  // namespace

void Metrics::job_ended(const JobRecord& record, std::optional<Duration> first_byte) {
    const auto note = [&](Family& family, const std::string& object, const auto& sums) {
        ++family.jobs[{object, record.outcome}];
        if (record.end)
            family.seconds[object] +=
                std::chrono::duration<double>(*record.end - record.begin).count();
        for (const Summed& sum : sums)
            family.sums[{sum.metric, object}] += count_of(record, sum.count);
    };
    if (record.kind == "backup") note(backup_, record.set, kBackupSums);
    if (record.kind == "restore" || record.kind == "export") {
        note(restore_, record.set, kRestoreSums);
        if (first_byte) {
            first_byte_last_ = std::chrono::duration<double>(*first_byte).count();
            first_byte_sum_ += first_byte_last_;
            ++first_byte_count_;
        }
    }
    if (record.kind == "check" || record.kind == "verify")
        note(verify_, record.repository, kVerifySums);
    if (record.kind != "gc") return;
    for (const Summed& gauge : kGcGauges)
        if (has_count(record, gauge.count))
            gc_.last[{gauge.metric, record.repository}] = count_of(record, gauge.count);
    if (record.mode.empty()) note(gc_, record.repository, kGcSums);
}

std::string Metrics::text(const Numbers& now) const {
    Writer out;
    out.family("backupd_info", "gauge", "The daemon's version.");
    out.value({{"version", now.version}}, 1.0);
    out.family("backupd_health", "gauge", "1 for the word of health that holds.");
    for (Health health : {Health::ok, Health::degraded, Health::at_risk, Health::unknown})
        out.value({{"health", to_string(health)}}, now.health == health ? 1.0 : 0.0);
    out.family("backupd_paused", "gauge", "1 while uploads are paused.");
    out.value({}, now.is_paused ? 1.0 : 0.0);
    out.family("backupd_config_good", "gauge", "0 while the configuration has errors.");
    out.value({}, now.config_is_good ? 1.0 : 0.0);
    out.family("backupd_transferred_bytes_total", "counter", "Bytes of content that were moved.");
    out.value({{"way", "up"}}, now.bytes_up);
    out.value({{"way", "down"}}, now.bytes_down);

    const auto jobs = [&](const std::string& prefix, const char* label, const Family& family,
                          const std::string& what) {
        out.family(prefix + "jobs_total", "counter", what + " that ended, by outcome.");
        for (const auto& [key, count] : family.jobs)
            out.value({{label, key.first}, {"outcome", key.second}}, count);
        out.family(prefix + "seconds_total", "counter", "How long they took together.");
        for (const auto& [object, seconds] : family.seconds) out.value({{label, object}}, seconds);
    };
    jobs("backupd_backup_", "set", backup_, "Backups");
    write_sums(out, "backupd_backup_", "set", kBackupSums, backup_.sums, "counter", "_total");
    const auto each_set = [&](const char* name, const char* help, const auto& write) {
        out.family(std::string("backupd_backup_") + name, "gauge", help);
        for (const SetNumbers& set : now.sets) write(set, Writer::Labels{{"set", set.id}});
    };
    each_set("last_success_timestamp_seconds", "The end of the last backup that made a revision.",
             [&](const SetNumbers& set, const auto& labels) {
                 out.time(labels, set.record.last_success);
             });
    each_set("last_attempt_timestamp_seconds", "The begin of the last backup.",
             [&](const SetNumbers& set, const auto& labels) {
                 out.time(labels, set.record.last_attempt);
             });
    each_set("protected_until_timestamp_seconds", "All that happened before is in a revision.",
             [&](const SetNumbers& set, const auto& labels) {
                 out.time(labels, set.protected_until.value_or(set.record.protected_until));
             });
    each_set("revisions", "Revisions that are kept.",
             [&](const SetNumbers& set, const auto& labels) {
                 out.value(labels, std::uint64_t{set.revisions});
             });
    each_set("running", "1 while one runs.", [&](const SetNumbers& set, const auto& labels) {
        out.value(labels, set.is_running ? 1.0 : 0.0);
    });
    each_set("tracking_live", "1 while every change is known.",
             [&](const SetNumbers& set, const auto& labels) {
                 out.value(labels, set.is_live ? 1.0 : 0.0);
             });
    each_set("pending_changes", "Changes that no revision has.",
             [&](const SetNumbers& set, const auto& labels) { out.value(labels, set.pending); });
    each_set(
        "pending_bytes", "The size of what changed.",
        [&](const SetNumbers& set, const auto& labels) { out.value(labels, set.pending_bytes); });
    each_set("gaps", "File systems on which changes may be unknown.",
             [&](const SetNumbers& set, const auto& labels) { out.value(labels, set.gaps); });
    each_set("left_out_items", "What limits left out of the last revision.",
             [&](const SetNumbers& set, const auto& labels) {
                 out.value(labels, set.record.left_out_items);
             });
    each_set("deferred_since_timestamp_seconds", "Since when a run is due and waits.",
             [&](const SetNumbers& set, const auto& labels) {
                 if (set.deferred_since) out.time(labels, *set.deferred_since);
             });
    each_set("waiting", "1 for each condition that a run waits for.",
             [&](const SetNumbers& set, const auto&) {
                 for (const Reason& reason : set.waits)
                     out.value(
                         {{"set", set.id}, {"condition", std::string(to_string(reason.condition))}},
                         1.0);
             });

    jobs("backupd_restore_", "set", restore_, "Restores");
    write_sums(out, "backupd_restore_", "set", kRestoreSums, restore_.sums, "counter", "_total");
    std::uint64_t good = 0, all = 0;
    for (const auto& [key, count] : restore_.jobs) {
        all += count;
        if (key.second == "complete") good += count;
    }
    out.family("backupd_restore_success_ratio", "gauge",
               "The share of restores that gave back everything.");
    if (all != 0) out.value({}, static_cast<double>(good) / static_cast<double>(all));
    out.family("backupd_restore_first_byte_seconds", "summary",
               "From the begin of a restore to its first byte.");
    out.part("_sum", first_byte_sum_);
    out.part("_count", static_cast<double>(first_byte_count_));
    out.family("backupd_restore_first_byte_seconds_last", "gauge", "The same, of the last one.");
    if (first_byte_count_ != 0) out.value({}, first_byte_last_);

    jobs("backupd_gc_", "repository", gc_, "Collections");
    write_sums(out, "backupd_gc_", "repository", kGcSums, gc_.sums, "counter", "_total");
    write_sums(out, "backupd_gc_", "repository", kGcGauges, gc_.last, "gauge", "");
    const auto each_repository = [&](const char* name, const char* help, const auto& write) {
        out.family(std::string("backupd_") + name, "gauge", help);
        for (const RepositoryNumbers& one : now.repositories)
            write(one.facts, Writer::Labels{{"repository", one.name}});
    };
    each_repository("gc_last_success_timestamp_seconds", "The end of the last collection.",
                    [&](const RepositoryFacts& facts, const auto& labels) {
                        if (!facts.record.last_collect_result.empty())
                            out.time(labels, facts.record.last_collect);
                    });

    jobs("backupd_verify_", "repository", verify_, "Verifications");
    write_sums(out, "backupd_verify_", "repository", kVerifySums, verify_.sums, "counter",
               "_total");
    each_repository("verify_last_timestamp_seconds", "The end of the last verification.",
                    [&](const RepositoryFacts& facts, const auto& labels) {
                        out.time(labels, facts.record.last_check);
                    });
    each_repository("verify_last_good", "1 if it found no error.",
                    [&](const RepositoryFacts& facts, const auto& labels) {
                        if (!facts.record.last_check_result.empty())
                            out.value(labels, facts.record.last_check_result == "ok" ? 1.0 : 0.0);
                    });
    each_repository("repository_used_bytes", "Bytes that the repository takes.",
                    [&](const RepositoryFacts& facts, const auto& labels) {
                        out.value(labels, facts.status.used_bytes);
                    });
    each_repository("repository_ready", "1 while it can be used.",
                    [&](const RepositoryFacts& facts, const auto& labels) {
                        out.value(labels, facts.status.state == RepositoryState::ready ? 1.0 : 0.0);
                    });
    return out.take();
}

}  // namespace backup
