// status: health, how far protection reaches, what runs, what comes next.
#include <algorithm>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/guard_words.h"
#include "ctl/resolve.h"
#include "ctl/schedule_words.h"
#include "ctl/tracking_words.h"

namespace backup {

namespace {

Tone tone_of_health(const std::string& health) {
    if (health == "ok") return Tone::good;
    return health == "degraded" ? Tone::warn : health == "at-risk" ? Tone::bad : Tone::plain;
}

std::string health_text(const std::string& health, const Looks& looks) {
    std::string glyph;
    if (looks.unicode)
        glyph = health == "ok"         ? "✓ "
                : health == "degraded" ? "! "
                : health == "at-risk"  ? "✗ "
                                       : "";
    return paint(glyph + (health.empty() ? "unknown" : health), tone_of_health(health), looks);
}

struct SetFacts {
    SetRef ref;
    Dict properties;
    std::optional<JobView> job;
    TrackingFacts tracking;
    // For those who may ask: the reason and the volumes.
    std::optional<Client::Tracking> details;
    std::vector<Dict> questions;
    std::vector<Dict> waits;  // conditions that are not met
    std::string reason() const { return details ? details->status.text("reason") : ""; }
};

JsonObject volume_object(const Dict& volume) {
    JsonObject object;
    object.add("id", volume.text("id"))
        .add_bytes("place", volume.text("place"))
        .add("type", volume.text("type"))
        .add("watching", volume.text("watching"))
        .add("state", volume.text("state"));
    if (!volume.text("problem").empty()) object.add("problem", volume.text("problem"));
    for (const char* key : {"records", "overflows", "watched", "unwatched"})
        object.add(key, volume.number(key));
    return object;
}

JsonObject set_object(const Context& context, const SetFacts& set) {
    const Dict& p = set.properties;
    JsonObject object;
    object.add("id", set.ref.id)
        .add("title", p.text("Title"))
        .add("repository", p.text("Repository"))
        .add("enabled", p.flag("Enabled"))
        .add("state", p.text("State"))
        .add("watching", p.text("Watching"));
    // Without tracking (off) nothing is known to wait.
    add_tracking(object, set.tracking, context.now());
    if (!set.reason().empty()) object.add("reason", set.reason());
    context.add_time(object, "protected_until", p.number("ProtectedUntilUSec"));
    object.add("unprotected_items", p.number("UnprotectedItems"));
    if (p.number("UnprotectedJob") != 0) object.add("unprotected_job", p.number("UnprotectedJob"));
    context.add_time(object, "last_success", p.number("LastSuccessUSec"));
    context.add_time(object, "last_attempt", p.number("LastAttemptUSec"));
    object.add("last_result", p.text("LastResult"));
    context.add_time(object, "last_full", p.number("LastFullUSec"));
    object.add("full_differences", p.number("FullDifferences"));
    context.add_time(object, "last_drill", p.number("LastDrillUSec"));
    object.add("drill_result", p.text("LastDrillResult"));
    context.add_time(object, "next_run", p.number("NextRunUSec"));
    object.add("waiting_for", p.texts("BlockedBy"));
    object.add("waiting", condition_objects(context, set.waits));
    context.add_time(object, "deferred_since", p.number("DeferredSinceUSec"));
    object.add("limits_hit", p.texts("LimitsHit"))
        .add("limits_near", p.texts("LimitsNear"))
        .add("left_out_items", p.number("LeftOutItems"))
        .add("left_out_bytes", p.number("LeftOutBytes"));
    if (p.text("LatestRevision").empty())
        object.add_null("latest_revision");
    else
        object.add("latest_revision", p.text("LatestRevision"));
    object.add("revisions", p.number("RevisionCount"));
    if (set.job) object.add("job", set.job->id);
    std::vector<JsonObject> questions;
    for (const Dict& question : set.questions)
        questions.push_back(question_object(context, question));
    object.add("guard", p.text("Guard")).add("questions", questions);
    if (!set.details) return object;
    const Dict& status = set.details->status;
    JsonObject counts;
    for (const char* key :
         {"missed-changes", "missed-content", "silent-metadata", "overflows", "rescans"}) {
        std::string name = key;
        std::replace(name.begin(), name.end(), '-', '_');
        counts.add(name, status.number(key));
    }
    std::vector<JsonObject> volumes;
    for (const Dict& volume : set.details->volumes) volumes.push_back(volume_object(volume));
    return object.add("held_files", status.number("held-files"))
        .add("tracking_counts", counts)
        .add("volumes", volumes);
}

JsonObject job_object(const JobView& job) {
    JsonObject object;
    object.add("id", job.id).add("kind", job.kind);
    bool on_set = job.target.find("/set/") != std::string::npos;
    if (!job.target.empty())
        object.add(on_set ? "set" : "repository", Client::name_of_object(job.target));
    object.add("state", job.state).add("phase", job.phase);
    if (job.progress < 0)
        object.add_null("progress");
    else
        object.add("progress", job.progress);
    return object;
}

std::string state_text(const SetFacts& set) {
    if (!set.job) return set.properties.text("State");
    std::string text = set.job->state.empty() ? "running" : set.job->state;
    if (set.job->progress >= 0)
        text += " " + std::to_string(static_cast<int>(set.job->progress * 100)) + " %";
    return text + " (job " + std::to_string(set.job->id) + ")";
}

std::string next_text(const Context& context, const SetFacts& set) {
    const Dict& p = set.properties;
    if (!p.flag("Enabled")) return p.text("State") == "found" ? "not set up here" : "disabled";
    if (set.job && set.job->state != "paused") return "now";
    auto blocked = p.texts("BlockedBy");
    if (!blocked.empty()) {
        std::string text = "waits: ";
        for (const auto& reason : blocked) text += (text.size() > 7 ? ", " : "") + reason;
        const std::uint64_t next = p.number("NextRunUSec");
        if (next > to_usec(context.now()))
            text += " (" + age_text(from_usec(next), context.now()) + ")";
        return text;
    }
    std::uint64_t next = p.number("NextRunUSec");
    return next == 0 ? "by hand" : age_text(from_usec(next), context.now());
}

Result<std::vector<SetFacts>> read_sets(Client& client, const std::vector<std::string>& names,
                                        const std::vector<JobView>& jobs) {
    std::vector<SetFacts> sets;
    for (const auto& ref : TRY(find_sets(client, names))) {
        auto properties = client.properties(ref.object, "Set");
        if (!properties.ok()) continue;  // removed just now
        SetFacts facts{ref, std::move(*properties), std::nullopt, {}, std::nullopt, {}, {}};
        facts.tracking = tracking_facts(facts.properties);
        if (auto details = client.tracking(ref.object); details.ok())
            facts.details = std::move(*details);
        if (!facts.properties.text("Guard").empty())
            if (auto questions = client.guard(ref.object); questions.ok())
                facts.questions = std::move(*questions);
        if (!facts.properties.texts("BlockedBy").empty())
            if (auto conditions = client.schedule(ref.object); conditions.ok())
                facts.waits = unmet(*conditions);
        for (const auto& job : jobs)
            if (job.target == ref.object && job.kind == "backup") facts.job = job;
        sets.push_back(std::move(facts));
    }
    return sets;
}

void print_sets(Context& context, const std::vector<SetFacts>& sets) {
    using Fit = Column::Fit;
    Table table({{"SET", Column::Align::left, Fit::shrink_middle},
                 {"STATE"},
                 {"LAST RESULT", Column::Align::left, Fit::shrink_end},
                 {"TRACKING"},
                 {"WAITING"},
                 {"PROTECTED UNTIL"},
                 {"REVISIONS", Column::Align::right, Fit::drop},
                 {"NEXT RUN", Column::Align::left, Fit::shrink_end}});
    for (const auto& set : sets) {
        const Dict& p = set.properties;
        std::uint64_t until = p.number("ProtectedUntilUSec");
        std::string protection = until == 0
                                     ? "never"
                                     : short_time_text(until, context.now(), context.looks()) +
                                           " (" + age_text(from_usec(until), context.now()) + ")";
        if (const std::uint64_t missing = p.number("UnprotectedItems"); until != 0 && missing != 0)
            protection += ", all but " + count_text(missing);
        std::string last = p.text("LastResult");
        Tone tone = last == "failed" || p.text("State") == "error" ? Tone::bad
                    : last == "exceptions"                         ? Tone::warn
                                                                   : Tone::plain;
        if (set.tracking.state == "degraded" && tone == Tone::plain) tone = Tone::warn;
        table.add({set.ref.id, state_text(set), last.empty() ? "none yet" : last,
                   tracking_text(set.tracking, context.looks()),
                   pending_text(set.tracking, context.now(), context.looks()), protection,
                   count_text(p.number("RevisionCount")), next_text(context, set)},
                  tone);
    }
    context.table(table);
}

// Why changes of a set are not all known, with the remedy; with --verbose every file system.
void print_tracking(Context& context, const std::vector<SetFacts>& sets) {
    const Looks& looks = context.looks();
    const auto say = [&](const std::string& text, int indent) {
        context.line(std::string(static_cast<std::size_t>(indent), ' ') +
                     wrap_words(text, looks.width == 0 ? 0 : looks.width - indent, indent));
    };
    for (const auto& set : sets) {
        const bool told = context.verbose() || set.tracking.state == "degraded" ||
                          (set.tracking.state != "live" && !set.reason().empty());
        if (!told || context.quiet()) continue;
        say(printable(set.ref.id) + ": tracking is " +
                tracking_sentence(set.tracking, set.reason()),
            0);
        if (!set.details) continue;
        for (const Dict& volume : set.details->volumes) {
            const std::string problem = volume.text("problem");
            if (problem.empty() && !context.verbose()) continue;
            say(printable(volume.text("place")) + " (" + printable(volume.text("type")) + ", " +
                    volume.text("watching") + ", " + volume.text("state") + ")" +
                    (problem.empty() ? "" : ": " + printable(problem)),
                2);
        }
        const Dict& status = set.details->status;
        if (status.number("missed-changes") != 0)
            say(count_text(status.number("missed-changes"), "change was", "changes were") +
                    " missed and found by comparison: please report this",
                2);
        if (context.verbose() && status.number("held-files") != 0)
            say(count_text(status.number("held-files"), "file is", "files are") +
                    " held open for writing",
                2);
    }
}

// What drills say of each set: with --verbose, and always when one failed.
void print_drills(Context& context, const std::vector<SetFacts>& sets) {
    const Looks& looks = context.looks();
    for (const auto& set : sets) {
        const Dict& p = set.properties;
        const bool has_failed = p.text("LastDrillResult") == "failed";
        if (context.quiet() || (!has_failed && !context.verbose())) continue;
        const std::uint64_t last = p.number("LastDrillUSec");
        std::string text = printable(set.ref.id) + ": last drill ";
        text += last == 0 ? "none yet"
                          : short_time_text(last, context.now(), looks) + " (" +
                                age_text(from_usec(last), context.now()) + ")";
        if (has_failed)
            text += ", and files did not come back as they were: backupctl jobs " +
                    std::to_string(p.number("LastDrillJob")) + " -v";
        else if (last != 0)
            text += ", all came back as it was";
        context.line((has_failed ? paint("! ", Tone::bad, looks) : "") +
                     wrap_words(text, looks.width == 0 ? 0 : looks.width - 2, 2));
    }
}

// What "protected until" does not hold for.
void print_unprotected(Context& context, const std::vector<SetFacts>& sets) {
    const Looks& looks = context.looks();
    for (const auto& set : sets) {
        const std::uint64_t missing = set.properties.number("UnprotectedItems");
        if (missing == 0 || context.quiet()) continue;
        const std::string text = printable(set.ref.id) + ": " +
                                 count_text(missing, "file or folder is", "files or folders are") +
                                 " not protected as " + (missing == 1 ? "it is" : "they are") +
                                 " now, everything else is: backupctl jobs " +
                                 std::to_string(set.properties.number("UnprotectedJob")) + " -v";
        context.line(paint("! ", Tone::warn, looks) +
                     wrap_words(text, looks.width == 0 ? 0 : looks.width - 2, 2));
    }
}

// Why runs wait, and since when.
void print_waits(Context& context, const std::vector<SetFacts>& sets) {
    const Looks& looks = context.looks();
    for (const auto& set : sets)
        for (const Dict& condition : set.waits)
            context.line(wrap_words(
                printable(set.ref.id) + " waits: " + condition_sentence(condition, context),
                looks.width, 2));
}

// What must be answered.
void print_guards(Context& context, const std::vector<SetFacts>& sets) {
    const Looks& looks = context.looks();
    const auto say = [&](const std::string& text) {
        context.line(paint("! ", Tone::bad, looks) +
                     wrap_words(text, looks.width == 0 ? 0 : looks.width - 2, 2));
    };
    for (const auto& set : sets) {
        for (const Dict& question : set.questions)
            say(printable(set.ref.id) + ": " + question_sentence(question, context) + ".");
        if (set.properties.text("Guard").empty()) continue;
        say("Is it as it should be? backupctl approve " + set.ref.id + ", or backupctl reject " +
            set.ref.id);
    }
}

Result<ExitCode> run(Context& context) {
    Client* client = TRY(context.client());
    Dict manager = TRY(client->manager());
    std::vector<JobView> jobs;
    for (const auto& object : manager.texts("ActiveJobs"))
        if (auto job = client->follow(object); job.ok() && !job->ended()) jobs.push_back(*job);
    const auto& names = context.args().positionals();
    auto sets = TRY(read_sets(*client, names, jobs));
    if (context.json()) {
        std::vector<JsonObject> set_objects, job_objects;
        for (const auto& set : sets) set_objects.push_back(set_object(context, set));
        for (const auto& job : jobs) job_objects.push_back(job_object(job));
        JsonObject object = context.object("status");
        object.add("state", manager.text("State"))
            .add("health", manager.text("Health"))
            .add("sets", set_objects)
            .add("jobs", job_objects)
            .add("notices", manager.texts("Notices"))
            .add("waiting_for", manager.texts("BlockedBy"));
        context.add_time(object, "last_success", manager.number("LastSuccessUSec"));
        context.add_time(object, "next_run", manager.number("NextRunUSec"));
        object.add("watching", manager.text("Watching"))
            .add("scope", manager.text("Scope"))
            .add("version", manager.text("Version"));
        context.print(object);
        return ExitCode::done;
    }
    if (!context.quiet())
        context.line("backupd (" + manager.text("Scope") + ") is " + manager.text("State") +
                     ", health " + health_text(manager.text("Health"), context.looks()));
    if (sets.empty()) context.line(no_set_yet(*client));
    print_sets(context, sets);
    print_tracking(context, sets);
    print_drills(context, sets);
    print_unprotected(context, sets);
    print_waits(context, sets);
    print_guards(context, sets);
    for (const auto& job : jobs) {
        bool shown = std::any_of(sets.begin(), sets.end(), [&](const SetFacts& set) {
            return set.job && set.job->id == job.id;
        });
        if (shown || !names.empty()) continue;
        context.line("job " + std::to_string(job.id) + ": " + job.kind + " of " +
                     Client::name_of_object(job.target) + ", " + job.state +
                     (job.progress < 0
                          ? ""
                          : " " + std::to_string(static_cast<int>(job.progress * 100)) + " %"));
    }
    for (const auto& notice : manager.texts("Notices"))
        context.line(paint("! ", Tone::warn, context.looks()) +
                     wrap_words(printable(notice),
                                context.looks().width == 0 ? 0 : context.looks().width - 2, 2));
    return ExitCode::done;
}

}  // namespace

Command status_command() {
    return {.verb = "status",
            .summary = "health, how far protection reaches, next run (without a verb, this)",
            .description =
                "Shows the daemon's health, each backup set with its last result, the moment up to "
                "which it is "
                "protected, how changes are tracked and what waits, its next run, running jobs, "
                "and what "
                "needs your attention. With --verbose every file system and how it is watched, "
                "and when a drill was last.",
            .positionals = {{"SET", false, true, Completion::set}},
            .examples = {{"backupctl", "everything at a glance"},
                         {"backupctl status home -v", "how each of its file systems is watched"},
                         {"backupctl --json status home", "one set, for a script"}},
            .run = run};
}

}  // namespace backup
