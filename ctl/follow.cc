#include "ctl/follow.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include <unistd.h>

#include "common/path.h"
#include "ctl/exit_code.h"
#include "ctl/stream.h"
#include "ctl/terminal.h"

namespace backup {

bool waits_for_people(const Context& context) {
    switch (context.wait_mode()) {
        case WaitMode::wait:
            return true;
        case WaitMode::no_wait:
            return false;
        case WaitMode::by_verb:
            return context.watched();
    }
    return true;
}

namespace {

class Follower {
  public:
    Follower(Context& context, Client& client, const FollowOptions& options)
        : context_(context),
          client_(client),
          options_(options),
          bar_(is_terminal(STDERR_FILENO) && !is_dumb_terminal()) {}

    Result<ExitCode> run(const std::vector<std::string>& jobs);

  private:
    struct Item {
        std::string object;
        EtaEstimator eta;
        bool told = false;
    };
    const JobView& view(const Item& item) const { return client_.view(item.object); }
    std::string name(const JobView& view) const;
    void announce(const Item& item);
    void show_progress(std::vector<Item>& items);
    void clear_progress();
    void json_progress(const JobView& view);
    void tell_end(const Item& item);
    void tell_reports(const JobView& view);
    JsonObject result_object(const JobView& view, const char* type) const;
    ExitCode code(const JobView& view) const;
    ExitCode finish(const std::vector<Item>& items);
    ExitCode leave(const std::vector<Item>& items, bool interrupted);
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    }

    Context& context_;
    Client& client_;
    const FollowOptions& options_;
    bool bar_;
    int bar_lines_ = 0;
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    double last_shown_ = -1;
};

std::string Follower::name(const JobView& view) const {
    std::string name = Client::name_of_object(view.target);
    return name.empty() ? "job " + std::to_string(view.id) : printable(name);
}

ExitCode Follower::code(const JobView& view) const {
    if (!view.finished) return ExitCode::unreachable_daemon;
    ExitCode code = exit_code_of_job(view.result, view.error_name);
    bool checks = view.kind == "verify" || view.kind == "check";
    if (checks && code != ExitCode::done && view.details.number("errors") > 0)
        return ExitCode::damage;
    if (checks && code == ExitCode::exceptions) return ExitCode::damage;
    return code;
}

JsonObject Follower::result_object(const JobView& view, const char* type) const {
    JsonObject object = context_.object(type);
    object.add("kind", view.kind).add("job", view.id);
    bool on_set = view.target.find("/set/") != std::string::npos;
    if (!view.target.empty())
        object.add(on_set ? "set" : "repository", Client::name_of_object(view.target));
    object.add("outcome", view.finished      ? view.result
                          : view.daemon_gone ? "interrupted"
                                             : "running");
    if (view.revision.empty())
        object.add_null("revision");
    else
        object.add("revision", view.revision);
    double seconds = view.details.real("seconds");
    if (!view.details.has("seconds") && view.ended_usec > view.started_usec)
        seconds = static_cast<double>(view.ended_usec - view.started_usec) / 1e6;
    object.add("counts", counts_object(view.details))
        .add("exceptions", view.errors)
        .add("seconds", seconds)
        .add("exit_code", static_cast<int>(view.ended() ? code(view) : ExitCode::done));
    if (!view.error_name.empty()) object.add("error", view.error_name);
    if (!view.message.empty()) object.add("message", view.message);
    return object;
}

void Follower::announce(const Item& item) {
    const JobView& job = view(item);
    if (context_.json())
        context_.print(result_object(job, "job"));
    else if (!options_.wait)
        context_.line("job " + std::to_string(job.id) + " (" + job.kind + " of " + name(job) +
                      ") is " + (job.state.empty() ? "started" : job.state) +
                      "; follow it with: backupctl attach " + std::to_string(job.id));
}

void Follower::json_progress(const JobView& job) {
    JsonObject object = context_.object("progress");
    object.add("kind", job.kind).add("job", job.id).add("state", job.state).add("phase", job.phase);
    if (job.progress < 0)
        object.add_null("progress");
    else
        object.add("progress", job.progress);
    object.add("bytes_done", job.bytes_done)
        .add("bytes_total", job.bytes_total)
        .add("items_done", job.items_done)
        .add("items_total", job.items_total)
        .add("rate_bytes", job.rate_bytes);
    context_.add_time(object, "expected_end", job.expected_end_usec);
    object.add("exceptions", job.errors);
    context_.print(object);
}

void Follower::clear_progress() {
    if (bar_lines_ == 0) return;
    std::string text = "\r";
    for (int i = 1; i < bar_lines_; ++i) text += "\033[K\033[A";
    text += "\033[K";
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
    bar_lines_ = 0;
}

void Follower::show_progress(std::vector<Item>& items) {
    constexpr double kBarEvery = 0.25, kLineEvery = 5, kJsonEvery = 1;
    double now = seconds();
    for (auto& item : items) item.eta.sample(now, view(item).bytes_done, view(item).bytes_total);
    double every = context_.json() ? kJsonEvery : bar_ ? kBarEvery : kLineEvery;
    // A job that ends at once needs no progress at all.
    if (now - std::max(last_shown_, 0.0) < every || (context_.quiet() && !context_.json())) return;
    last_shown_ = now;
    if (!context_.json() && bar_) clear_progress();
    Looks looks = context_.note_looks();
    looks.width = terminal_width(STDERR_FILENO);
    for (auto& item : items) {
        const JobView& job = view(item);
        if (job.ended()) continue;
        if (context_.json()) {
            json_progress(job);
            continue;
        }
        ProgressFacts facts;
        facts.name = name(job);
        facts.phase = job.state == "running" || job.state.empty() ? job.phase : job.state;
        facts.fraction = job.progress;
        facts.bytes_done = job.bytes_done;
        facts.bytes_total = job.bytes_total;
        facts.items_done = job.items_done;
        facts.items_total = job.items_total;
        facts.rate = job.rate_bytes > 0 ? static_cast<double>(job.rate_bytes) : item.eta.rate();
        facts.seconds_left = item.eta.left();
        facts.errors = job.errors;
        std::string line = progress_line(facts, looks, bar_);
        if (!bar_) {
            context_.note(line);
            continue;
        }
        if (bar_lines_ > 0) line = "\n" + line;
        std::fputs(line.c_str(), stderr);
        ++bar_lines_;
    }
    if (bar_lines_ > 0) std::fflush(stderr);
}

void Follower::tell_reports(const JobView& job) {
    constexpr std::uint64_t kShown = 20;
    bool wanted = job.errors > 0 || job.result == "exceptions" || job.result == "failed" ||
                  job.details.number("conflicts") > 0 || job.details.number("hints") > 0 ||
                  options_.is_plan;
    if (!wanted || !job.finished) return;
    auto fd = client_.job_report(job.object);
    if (!fd.ok()) return;  // it ended long ago, or is not ours to read: the counts were said
    Stream stream(std::move(*fd));
    std::uint64_t count = 0;
    while (true) {
        auto record = stream.next();
        if (!record.ok() || !record->has_value()) break;
        const Record& entry = **record;
        std::string type = entry.text("type");
        if (context_.json()) {
            JsonObject object = context_.object(type.empty() ? "message" : type);
            object.add("job", job.id);
            if (type == "exception" || type == "plan")
                object.add_bytes("path", entry.bytes("path"));
            if (type == "plan")
                object.add("action", entry.text("action")).add("bytes", entry.number("bytes"));
            for (const char* key : {"kind", "severity", "object", "level", "message"})
                if (entry.has(key)) object.add(key, entry.text(key));
            context_.print(object);
            continue;
        }
        // What the end says was said already.
        if (type == "message" && !job.message.empty() &&
            entry.text("message").ends_with(job.message))
            continue;
        if (type == "message" && entry.text("level") != "error" &&
            entry.text("level") != "warning" && !context_.verbose())
            continue;
        if (type == "plan" && !options_.is_plan) continue;
        if (++count > kShown && !context_.verbose()) continue;
        std::string line = "  ";
        if (type == "plan") {
            line += "would " + entry.text("action") + " " +
                    printable(options_.target + entry.bytes("path"));
            context_.line(line);
            continue;
        }
        if (type == "exception")
            line += printable(entry.bytes("path")) + ": ";
        else if (type == "finding")
            line += entry.text("severity") + ": " +
                    (entry.text("object").empty() ? "" : printable(entry.text("object")) + ": ");
        std::string message = entry.text("message");
        if (message.empty()) message = entry.text("kind");
        context_.warn(line + printable(message));
    }
    if (count > kShown && !context_.verbose() && !context_.json())
        context_.warn("  and " + count_text(count - kShown) +
                      " more; all of them: backupctl jobs " + std::to_string(job.id) +
                      " --verbose");
}

void Follower::tell_end(const Item& item) {
    const JobView& job = view(item);
    clear_progress();
    if (context_.json()) {
        tell_reports(job);
        return;
    }
    const Looks& looks = context_.looks();
    std::string outcome = job.finished ? job.result : "interrupted";
    std::string head = name(job) + ": " + job.kind + " " +
                       paint(outcome_text(outcome, looks), outcome_tone(outcome), looks);
    double took = job.details.real("seconds");
    if (took > 0) head += " in " + duration_text(took);
    if (outcome == "failed" || outcome == "interrupted" || outcome == "cancelled") {
        std::string message = job.message;
        if (job.daemon_gone && !job.finished)
            message =
                "backupd went away before the job ended; it goes on from what is stored "
                "when backupd is back (see: backupctl jobs " +
                std::to_string(job.id) + ")";
        context_.warn(wrap_words(head + (message.empty() ? "" : ": " + printable(message)),
                                 context_.note_looks().width, 2));
    } else if (!context_.quiet() || outcome != "complete") {
        std::string counts = counts_sentence(job.kind, job.details, looks);
        if (!job.revision.empty() && job.kind == "backup") {
            auto details = client_.revision(job.target, job.revision);
            std::string number = details.ok() && details->number("number") > 0
                                     ? Client::name_of_object(job.target) + "/" +
                                           std::to_string(details->number("number"))
                                     : job.revision.substr(0, 8);
            head += ", revision " + number;
        }
        context_.line(head);
        if (!counts.empty()) context_.line("  " + counts);
        if (options_.is_plan && job.details.number("space-free") > 0)
            context_.line("  " + size_text(job.details.number("bytes-fetched"), looks) +
                          " to fetch; needs " +
                          size_text(job.details.number("space-needed"), looks) + " of " +
                          size_text(job.details.number("space-free"), looks) + " that are free");
        if (outcome == "exceptions")
            context_.warn(
                "  " + count_text(std::max<std::uint64_t>(job.errors, job.details.number("failed")),
                                  "exception:", "exceptions:"));
    }
    bool conflicts = job.error_name.ends_with(".Conflict") && !options_.conflict_help.empty();
    tell_reports(job);
    if (conflicts) context_.warn(options_.conflict_help);
}

ExitCode Follower::finish(const std::vector<Item>& items) {
    ExitCode worst = ExitCode::done;
    std::string outcome = "complete";
    std::map<std::string, std::uint64_t> sums;
    for (const auto& item : items) {
        const JobView& job = view(item);
        ExitCode own = code(job);
        // What failed outweighs what has exceptions; the first of equals counts.
        bool worse =
            worst == ExitCode::done || (worst == ExitCode::exceptions && own != ExitCode::done);
        if (own != ExitCode::done && worse) {
            worst = own;
            outcome = job.finished ? job.result : "interrupted";
        }
        for (const auto& [key, value] : job.details.values())
            if (std::holds_alternative<std::uint64_t>(value)) sums[key] += job.details.number(key);
    }
    if (!context_.json()) return worst;
    if (items.size() == 1) {
        context_.print(result_object(view(items[0]), "result"));
        return worst;
    }
    std::vector<JsonObject> jobs;
    for (const auto& item : items) jobs.push_back(result_object(view(item), "job"));
    Dict counts;
    for (const auto& [key, value] : sums) counts.set(key, value);
    JsonObject object = context_.object("result");
    object.add("kind", items.empty() ? std::string("backup") : view(items[0]).kind)
        .add("outcome", outcome)
        .add("jobs", jobs)
        .add("counts", counts_object(counts))
        .add("seconds", seconds())
        .add("exit_code", static_cast<int>(worst));
    context_.print(object);
    return worst;
}

// Stops watching while jobs go on: detached by Ctrl-C, or waited long enough.
ExitCode Follower::leave(const std::vector<Item>& items, bool interrupted) {
    clear_progress();
    ExitCode code = interrupted ? ExitCode::interrupted : ExitCode::wait_timed_out;
    JsonObject last;
    for (const auto& item : items) {
        const JobView& job = view(item);
        if (job.ended()) continue;
        std::string id = std::to_string(job.id);
        context_.warn("job " + id + " goes on; follow it with: backupctl attach " + id);
    }
    if (!context_.json()) return code;
    JsonObject object = context_.object("result");
    object.add("kind", view(items[0]).kind);
    if (items.size() == 1) object.add("job", view(items[0]).id);
    object.add("outcome", "running");
    std::vector<JsonObject> jobs;
    for (const auto& item : items) jobs.push_back(result_object(view(item), "job"));
    object.add("jobs", jobs)
        .add("counts", items.size() == 1 ? counts_object(view(items[0]).details) : JsonObject())
        .add("seconds", seconds())
        .add("exit_code", static_cast<int>(code));
    context_.print(object);
    return code;
}

Result<ExitCode> Follower::run(const std::vector<std::string>& jobs) {
    InterruptGuard interrupt;
    std::vector<Item> items;
    for (const auto& job : jobs) {
        TRY(client_.follow(job));
        items.push_back({job, {}, false});
        announce(items.back());
    }
    if (!options_.wait) {
        if (!context_.json()) return ExitCode::done;
        if (items.size() == 1) {
            context_.print(result_object(view(items[0]), "result"));
            return ExitCode::done;
        }
        std::vector<JsonObject> list;
        for (const auto& item : items) list.push_back(result_object(view(item), "job"));
        JsonObject object = context_.object("result");
        object.add("outcome", "running")
            .add("jobs", list)
            .add("counts", JsonObject())
            .add("exit_code", 0);
        context_.print(object);
        return ExitCode::done;
    }
    auto limit = context_.wait_seconds();
    while (true) {
        bool all = true;
        for (auto& item : items) {
            if (!view(item).ended()) {
                all = false;
            } else if (!item.told) {
                item.told = true;
                // The signal says how it ended; the object knows the last counters, too.
                if (view(item).finished) (void)client_.follow(item.object).ok();
                tell_end(item);
            }
        }
        if (all) return finish(items);
        std::chrono::milliseconds most(200);
        if (limit) {
            double left = static_cast<double>(*limit) - seconds();
            if (left <= 0) return leave(items, false);
            most = std::min(most, std::chrono::milliseconds(static_cast<int>(left * 1000) + 1));
        }
        if (client_.wait(most, interrupt.fd()) == WaitEnd::interrupted) return leave(items, true);
        show_progress(items);
    }
}

}  // namespace

Error error_of(const JobView& view) {
    if (!view.finished)
        return Error(ErrorKind::io, ErrorCode::daemon_unreachable,
                     "backupd went away before the job ended");
    return Error(ErrorKind::io, error_code_from_bus(view.error_name), view.message);
}

Result<ExitCode> follow_jobs(Context& context, const std::vector<std::string>& jobs,
                             const FollowOptions& options) {
    Client* client = TRY(context.client());
    return Follower(context, *client, options).run(jobs);
}

}  // namespace backup
