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
constexpr std::array kDrillSums = {
    Summed{"files", "files", "Files that came back as they were."},
    Summed{"bytes", "bytes", "Bytes of these."},
    Summed{"compared-live", "compared_files", "Files that were compared with those on disk."},
    Summed{"failed", "failed_objects", "Objects that did not come back as they were."},
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

// Upper bounds in seconds of what restores are measured by.
constexpr std::array kBounds = {0.05, 0.2, 1.0, 5.0, 30.0, 300.0, 3600.0};

// A label's value; two decimals at most.
std::string bound_text(double bound) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%g", bound);
    return text.data();
}

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
    template <std::size_t N>
    void histogram(const std::array<std::uint64_t, N>& buckets, double sum) {
        const std::string name = std::exchange(name_, name_ + "_bucket");
        std::uint64_t below = 0;
        for (std::size_t i = 0; i < N; ++i) {
            below += buckets[i];
            value({{"le", i < kBounds.size() ? bound_text(kBounds[i]) : "+Inf"}}, below);
        }
        name_ = name;
        part("_sum", sum);
        part("_count", static_cast<double>(below));
    }
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

void Metrics::Histogram::add(double seconds) {
    static_assert(std::tuple_size_v<decltype(buckets)> == kBounds.size() + 1);
    const auto bound = std::ranges::lower_bound(kBounds, seconds);
    ++buckets[static_cast<std::size_t>(bound - kBounds.begin())];
    sum += seconds;
    last = seconds;
    ++count;
}

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
    // A plan gives nothing back.
    if ((record.kind == "restore" || record.kind == "export") && record.mode != "dry-run") {
        note(restore_, record.set, kRestoreSums);
        if (first_byte) first_byte_.add(std::chrono::duration<double>(*first_byte).count());
        if (record.end) {
            const double seconds =
                std::chrono::duration<double>(*record.end - record.begin).count();
            duration_.add(seconds);
            if (const std::uint64_t bytes = count_of(record, "bytes"); bytes != 0 && seconds > 0)
                rate_last_ = static_cast<double>(bytes) / seconds;
        }
    }
    if (record.kind == "drill") note(drill_, record.set, kDrillSums);
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
    each_set("protection_lag_seconds",
             "How old the oldest change is that no run has tried; 0 while all is in a revision.",
             [&](const SetNumbers& set, const auto& labels) {
                 if (!set.is_live) return;
                 const Duration lag =
                     set.oldest_change ? now.now - *set.oldest_change : Duration::zero();
                 out.value(labels, std::max(std::chrono::duration<double>(lag).count(), 0.0));
             });
    each_set("unprotected_items",
             "Files and directories that the last revision does not have as they are.",
             [&](const SetNumbers& set, const auto& labels) {
                 out.value(labels, set.record.unprotected);
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
    out.family("backupd_restore_first_byte_seconds", "histogram",
               "From the begin of a restore to its first byte.");
    out.histogram(first_byte_.buckets, first_byte_.sum);
    out.family("backupd_restore_first_byte_seconds_last", "gauge", "The same, of the last one.");
    if (first_byte_.count != 0) out.value({}, first_byte_.last);
    out.family("backupd_restore_duration_seconds", "histogram", "How long restores took.");
    out.histogram(duration_.buckets, duration_.sum);
    out.family("backupd_restore_duration_seconds_last", "gauge", "The same, of the last one.");
    if (duration_.count != 0) out.value({}, duration_.last);
    out.family("backupd_restore_bytes_per_second_last", "gauge",
               "The rate of the last restore that gave back any content.");
    if (rate_last_ > 0) out.value({}, rate_last_);

    jobs("backupd_drill_", "set", drill_, "Drills");
    write_sums(out, "backupd_drill_", "set", kDrillSums, drill_.sums, "counter", "_total");
    const auto each_drill = [&](const char* name, const char* help, const auto& write) {
        out.family(std::string("backupd_drill_") + name, "gauge", help);
        for (const SetNumbers& set : now.sets) write(set, Writer::Labels{{"set", set.id}});
    };
    each_drill("last_timestamp_seconds", "The end of the last drill of files chosen at random.",
               [&](const SetNumbers& set, const auto& labels) {
                   out.time(labels, set.record.last_drill);
               });
    each_drill(
        "age_seconds", "How long ago that was.", [&](const SetNumbers& set, const auto& labels) {
            if (set.record.last_drill != Timestamp{} && set.record.last_drill <= now.now)
                out.value(labels,
                          std::chrono::duration<double>(std::chrono::floor<std::chrono::minutes>(
                                                            now.now - set.record.last_drill))
                              .count());
        });
    each_drill("last_good", "1 if all came back as it was, now or when tried again.",
               [&](const SetNumbers& set, const auto& labels) {
                   if (!set.record.drill_result.empty())
                       out.value(labels, set.record.drill_result == "ok" ? 1.0 : 0.0);
               });

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

Metrics::Sums Metrics::sums_of(const Family& family) {
    std::map<std::string, std::uint64_t> sums = {{"jobs", 0}};
    for (const char* outcome : {"complete", "exceptions", "failed", "cancelled", "interrupted"})
        sums[outcome] = 0;
    for (const auto& [key, count] : family.jobs) {
        sums["jobs"] += count;
        sums[key.second] += count;
    }
    double seconds = 0;
    for (const auto& [object, took] : family.seconds) seconds += took;
    sums["duration-usec"] = static_cast<std::uint64_t>(seconds * 1e6);
    for (const auto& [key, sum] : family.sums) {
        std::string word = key.first;
        std::ranges::replace(word, '_', '-');
        sums[word] += sum;
    }
    return {sums.begin(), sums.end()};
}

Metrics::Sums Metrics::backups() const {
    return sums_of(backup_);
}

Metrics::Sums Metrics::restores() const {
    Sums sums = sums_of(restore_);
    const auto usec = [](double seconds) { return static_cast<std::uint64_t>(seconds * 1e6); };
    sums.emplace_back("first-byte-count", first_byte_.count);
    sums.emplace_back("first-byte-usec", usec(first_byte_.sum));
    sums.emplace_back("first-byte-last-usec", usec(first_byte_.last));
    sums.emplace_back("last-duration-usec", usec(duration_.last));
    sums.emplace_back("last-bytes-per-second", static_cast<std::uint64_t>(rate_last_));
    return sums;
}

}  // namespace backup
