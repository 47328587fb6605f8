// watch: what happens, when it happens, one line each.
#include <algorithm>
#include <chrono>
#include <map>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/resolve.h"
#include "ctl/tracking_words.h"

namespace backup {

namespace {

using Instant = std::chrono::steady_clock::time_point;
using Seconds = std::chrono::duration<double>;

// Counters have no signal: while something waits they are read at this pace.
constexpr Seconds kLookEvery{1.0};
constexpr Seconds kProgressEvery{5.0}, kJsonProgressEvery{1.0};

std::string trigger_text(const std::string& trigger) {
    if (trigger == "change") return "changes have settled";
    if (trigger == "schedule") return "its interval is over";
    if (trigger == "catchup") return "a run was missed";
    if (trigger == "user") return "asked for";
    return trigger;
}

class Watcher {
  public:
    Watcher(Context& context, Client& client, std::vector<std::string> only)
        : context_(context), client_(client), only_(std::move(only)) {}

    Result<ExitCode> run();

  private:
    struct WatchedSet {
        std::string id;
        TrackingFacts told;
        bool any_told = false, dirty = true;
        Instant looked{};
    };
    struct WatchedJob {
        Instant told{};
    };

    Result<> begin();
    Result<> read_sets();
    bool is_wanted(const std::string& set) const;
    void handle_events();
    void handle(const DaemonEvent& event);
    void look_at_sets();
    void tell_tracking(WatchedSet& set, const TrackingFacts& facts);
    void add_job(const std::string& object);
    void look_at_jobs();
    void tell_begin(const JobView& job);
    void tell_progress(const JobView& job);
    void tell_end(const JobView& job);
    void tell_revision(const DaemonEvent& event);
    void tell_daemon(const char* state);
    std::string target(const JobView& job) const;
    JsonObject job_object(const char* type, const JobView& job) const;
    void say(const std::string& text, Tone tone = Tone::plain);
    void print(const JsonObject& object);

    Context& context_;
    Client& client_;
    const std::vector<std::string> only_;
    std::map<std::string, WatchedSet> sets_;  // by object
    std::map<std::string, WatchedJob> jobs_;
    bool daemon_is_there_ = true;
    std::uint64_t events_ = 0;
};

void Watcher::say(const std::string& text, Tone tone) {
    ++events_;
    const Looks& looks = context_.looks();
    std::string time = time_text(to_usec(context_.now()), looks);
    // The day is known to who watches.
    if (auto space = time.find(' '); space != std::string::npos) time = time.substr(space + 1);
    context_.line(paint(time, Tone::dim, looks) + "  " + paint(text, tone, looks));
}

void Watcher::print(const JsonObject& object) {
    ++events_;
    context_.print(object);
}

bool Watcher::is_wanted(const std::string& set) const {
    return only_.empty() || std::find(only_.begin(), only_.end(), set) != only_.end();
}

std::string Watcher::target(const JobView& job) const {
    return Client::name_of_object(job.target);
}

Result<> Watcher::read_sets() {
    std::map<std::string, WatchedSet> sets;
    for (const auto& [id, object] : TRY(client_.list_sets())) {
        if (!is_wanted(id)) continue;
        auto known = sets_.find(object);
        if (known != sets_.end())
            sets[object] = known->second;
        else
            sets[object].id = id;
        sets[object].dirty = true;
    }
    sets_ = std::move(sets);
    return {};
}

Result<> Watcher::begin() {
    TRY(read_sets());
    Dict manager = TRY(client_.manager());
    for (const auto& object : manager.texts("ActiveJobs")) add_job(object);
    look_at_sets();
    return {};
}

void Watcher::tell_tracking(WatchedSet& set, const TrackingFacts& facts) {
    const TrackingFacts before = set.told;
    const bool is_first = !set.any_told;
    // Time alone moves this on: no news.
    TrackingFacts same = facts;
    same.protected_until_usec = before.protected_until_usec;
    if (!is_first && same == before) return;
    set.told = facts;
    set.any_told = true;
    const bool state_changed = is_first || facts.state != before.state ||
                               facts.watching != before.watching || facts.gaps != before.gaps;
    std::string reason;
    if (state_changed && facts.state != "live")
        for (const auto& [object, watched] : sets_)
            if (&watched == &set)
                if (auto details = client_.tracking(object); details.ok())
                    reason = details->status.text("reason");
    if (context_.json()) {
        JsonObject object = context_.object("tracking");
        object.add("set", set.id);
        add_tracking(object, facts, context_.now());
        object.add("watching", facts.watching);
        if (!reason.empty()) object.add("reason", reason);
        context_.add_time(object, "protected_until", facts.protected_until_usec);
        print(object);
        return;
    }
    const std::string waits = pending_sentence(facts, context_.now(), context_.looks());
    if (state_changed)
        say(set.id + ": tracking is " + tracking_sentence(facts, reason) +
                (facts.state == "off" ? "" : "; " + waits),
            facts.state == "degraded" ? Tone::warn : Tone::plain);
    else
        say(set.id + ": " + waits);
}

void Watcher::look_at_sets() {
    const Instant now = std::chrono::steady_clock::now();
    for (auto& [object, set] : sets_) {
        const bool moves = set.told.pending != 0 || set.told.state == "scanning";
        const bool due = now - set.looked >= kLookEvery;
        if (!due || (!set.dirty && !moves)) continue;
        set.dirty = false;
        set.looked = now;
        auto properties = client_.properties(object, "Set");
        if (properties.ok()) tell_tracking(set, tracking_facts(*properties));
    }
}

void Watcher::add_job(const std::string& object) {
    if (jobs_.count(object) != 0) return;
    auto job = client_.follow(object);
    if (!job.ok()) return;  // gone already
    const bool wanted = only_.empty() ||
                        (job->target.find("/set/") != std::string::npos && is_wanted(target(*job)));
    if (!wanted) {
        client_.forget(object);
        return;
    }
    jobs_[object].told = std::chrono::steady_clock::now();
    tell_begin(*job);
}

JsonObject Watcher::job_object(const char* type, const JobView& job) const {
    JsonObject object = context_.object(type);
    object.add("kind", job.kind).add("job", job.id);
    if (!job.target.empty())
        object.add(job.target.find("/set/") != std::string::npos ? "set" : "repository",
                   target(job));
    return object;
}

void Watcher::tell_begin(const JobView& job) {
    if (context_.json()) {
        print(job_object("job-begin", job).add("trigger", job.trigger).add("state", job.state));
        return;
    }
    say(printable(target(job)) + ": " + job.kind + " begins (job " + std::to_string(job.id) +
        (job.trigger.empty() ? "" : ", " + trigger_text(job.trigger)) + ")");
}

void Watcher::tell_progress(const JobView& job) {
    if (context_.json()) {
        JsonObject object = job_object("progress", job);
        object.add("state", job.state).add("phase", job.phase);
        if (job.progress < 0)
            object.add_null("progress");
        else
            object.add("progress", job.progress);
        print(object.add("bytes_done", job.bytes_done)
                  .add("bytes_total", job.bytes_total)
                  .add("items_done", job.items_done)
                  .add("items_total", job.items_total));
        return;
    }
    std::string text = printable(target(job)) + ": " + job.kind + " " +
                       (job.phase.empty() ? job.state : job.phase);
    if (job.progress >= 0)
        text += ", " + std::to_string(static_cast<int>(job.progress * 100)) + " %";
    if (job.bytes_done != 0) text += ", " + size_text(job.bytes_done, context_.looks());
    say(text);
}

void Watcher::tell_end(const JobView& job) {
    const std::string outcome = job.finished ? job.result : "interrupted";
    if (context_.json()) {
        JsonObject object = job_object("job-end", job);
        object.add("outcome", outcome);
        if (job.revision.empty())
            object.add_null("revision");
        else
            object.add("revision", job.revision);
        object.add("counts", counts_object(job.details))
            .add("exceptions", job.errors)
            .add("seconds", job.details.real("seconds"));
        if (!job.error_name.empty()) object.add("error", job.error_name);
        if (!job.message.empty()) object.add("message", job.message);
        print(object);
        return;
    }
    std::string text =
        printable(target(job)) + ": " + job.kind + " " + outcome_text(outcome, context_.looks());
    if (double took = job.details.real("seconds"); took > 0) text += " in " + duration_text(took);
    if (!job.message.empty()) text += ": " + printable(job.message);
    std::string counts = counts_sentence(job.kind, job.details, context_.looks());
    if (!counts.empty() && job.message.empty()) text += "; " + counts;
    say(text, outcome_tone(outcome) == Tone::good ? Tone::plain : outcome_tone(outcome));
}

void Watcher::look_at_jobs() {
    const Instant now = std::chrono::steady_clock::now();
    const Seconds every = context_.json() ? kJsonProgressEvery : kProgressEvery;
    for (auto it = jobs_.begin(); it != jobs_.end();) {
        const std::string object = it->first;
        if (client_.view(object).ended()) {
            // The signal says how it ended; the object knows the last counters, too.
            if (client_.view(object).finished) (void)client_.follow(object).ok();
            tell_end(client_.view(object));
            client_.forget(object);
            it = jobs_.erase(it);
            continue;
        }
        if (now - it->second.told >= every) {
            it->second.told = now;
            tell_progress(client_.view(object));
        }
        ++it;
    }
}

void Watcher::tell_revision(const DaemonEvent& event) {
    const std::string id = Client::name_of_object(event.object);
    if (!is_wanted(id)) return;
    auto details = client_.revision(event.object, event.text);
    const std::uint64_t number = details.ok() ? details->number("number") : 0;
    if (context_.json()) {
        JsonObject object = context_.object("revision");
        object.add("set", id).add("revision", event.text);
        if (number == 0)
            object.add_null("number");
        else
            object.add("number", number);
        print(object);
        return;
    }
    say(id + ": revision " +
        (number == 0 ? event.text.substr(0, 8)
                     : id + "/" + std::to_string(number) + " (" + event.text.substr(0, 8) + ")"));
}

void Watcher::tell_daemon(const char* state) {
    if (context_.json()) {
        print(context_.object("daemon").add("state", state));
        return;
    }
    const bool gone = std::string_view(state) == "gone";
    say(gone ? "backupd went away; waiting for it to come back" : "backupd is back",
        gone ? Tone::warn : Tone::plain);
}

void Watcher::handle(const DaemonEvent& event) {
    switch (event.kind) {
        case DaemonEvent::Kind::set_changed:
            if (auto set = sets_.find(event.object); set != sets_.end()) set->second.dirty = true;
            return;
        case DaemonEvent::Kind::job_new:
            return add_job(event.object);
        case DaemonEvent::Kind::revision:
            return tell_revision(event);
        case DaemonEvent::Kind::sets_changed:
            (void)read_sets().ok();
            return;
        case DaemonEvent::Kind::gone:
            look_at_jobs();  // what ran was interrupted
            jobs_.clear();
            daemon_is_there_ = false;
            return tell_daemon("gone");
        case DaemonEvent::Kind::back:
            if (!daemon_is_there_) tell_daemon("back");
            daemon_is_there_ = true;
            for (auto& [object, set] : sets_) {
                set.any_told = false;
                set.looked = {};
            }
            (void)begin().ok();
            return;
    }
}

// Looking at a job may show its end before what was told ahead of it was handled: the order stays
// as it was told when all that has come is handled first.
void Watcher::handle_events() {
    do {
        for (const DaemonEvent& event : client_.take_events()) handle(event);
    } while (client_.wait(std::chrono::milliseconds(0), -1) == WaitEnd::changed);
}

Result<ExitCode> Watcher::run() {
    InterruptGuard interrupt;
    TRY(client_.watch_jobs());
    TRY(client_.watch_events());
    TRY(begin());
    while (true) {
        TRY(context_.flush());
        const WaitEnd end = client_.wait(std::chrono::milliseconds(250), interrupt.fd());
        if (end == WaitEnd::interrupted) break;
        if (!client_.is_connected())
            return Error(ErrorKind::io, ErrorCode::daemon_unreachable, "the bus has gone");
        handle_events();
        look_at_jobs();
        if (daemon_is_there_) look_at_sets();
    }
    if (context_.json()) {
        JsonObject counts;
        counts.add("events", events_);
        context_.print(context_.object("result")
                           .add("kind", "watch")
                           .add("outcome", "interrupted")
                           .add("counts", counts)
                           .add("exit_code", static_cast<int>(ExitCode::interrupted)));
    }
    return ExitCode::interrupted;
}

Result<ExitCode> run(Context& context) {
    Client* client = TRY(context.client());
    auto only = context.args().values("--set");
    for (const auto& set : context.args().positionals()) only.push_back(set);
    if (!only.empty()) TRY(find_sets(*client, only));
    return Watcher(context, *client, std::move(only)).run();
}

}  // namespace

Command watch_command() {
    return {
        .verb = "watch",
        .summary = "live events, one per line, until Ctrl-C",
        .description =
            "Tells what happens as it happens: how changes are tracked and how many wait, jobs "
            "that "
            "begin, go on and end, new revisions, and when the daemon goes away and comes back. "
            "Ends on Ctrl-C with exit code 130.",
        .positionals = {{"SET", false, true, Completion::set}},
        .options = {{.name = "--set",
                     .value = "SET",
                     .help = "only what concerns this set",
                     .repeat = true,
                     .completion = Completion::set}},
        .examples = {{"backupctl watch", "all sets"},
                     {"backupctl --json watch --set home | jq -c .type", "for a script"}},
        .stream = true,
        .stream_kind = "watch",
        .run = run};
}

}  // namespace backup
