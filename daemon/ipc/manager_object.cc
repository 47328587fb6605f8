#include "daemon/ipc/manager_object.h"

#include <algorithm>
#include <cerrno>

#include <systemd/sd-bus.h>
#include <unistd.h>

#include "backupd_config.h"
#include "daemon/ipc/explanation.h"
#include "daemon/ipc/journal_streams.h"
#include "daemon/ipc/set_object.h"
#include "daemon/ipc/tracking_view.h"
#include "daemon/jobs/tasks.h"
#include "daemon/runtime/fence.h"

namespace backup {

namespace {

const std::vector<std::string> kFeatures = {"backup",   "restore",  "restore-in-place",
                                            "verify",   "check",    "revisions",
                                            "files",    "keys",     "locks",
                                            "log",      "history",  "configuration",
                                            "tracking", "queue",    "explain",
                                            "guard",    "schedule", "pause",
                                            "inhibit"};

int append_pairs(sd_bus_message* message,
                 const std::vector<std::pair<std::string, std::string>>& pairs) {
    int r = sd_bus_message_open_container(message, 'a', "(so)");
    for (const auto& [name, path] : pairs)
        if (r >= 0) r = sd_bus_message_append(message, "(so)", name.c_str(), path.c_str());
    return r < 0 ? r : sd_bus_message_close_container(message);
}

// What AddRepository carries out on the configuration's thread. The password is safe before the
// repository exists, the repository before the configuration names it: an interruption leaves
// nothing that cannot be opened.
struct AddRepository {
    Service& service;
    RepositoryPolicy policy;
    std::shared_ptr<UniqueFd> secret_fd;
    bool init = false, generated = false;

    Result<> operator()() const {
        const Configuration& configuration = service.configuration();
        Secret secret = TRY(read_secret(secret_fd->get()));
        TRY(configuration.check_repository(policy));
        bool keep = policy.password_file.empty();
        if (!keep) TRY(password_file_holds(secret));
        if (keep) TRY(keep_secret(service.secret_places(), policy.name, secret));
        auto opened =
            init ? service.pool().init_at(policy, secret) : service.pool().open_at(policy, secret);
        Result<> written;
        if (opened.ok() && !init)
            written = may_write_to((*opened)->storage.backend->properties().url);
        if (opened.ok() && written.ok()) {
            written = configuration.write_repository(policy);
        } else if (!opened.ok()) {
            written = std::move(opened).error();
        }
        if (!written.ok()) {
            if (keep && !(init && opened.ok())) (void)configuration.forget_secret(policy.name);
            return written;
        }
        auto record = service.store().repository_record(policy.name);
        if (record.ok()) {
            record->password_generated = generated;
            record->sheet_tested = false;
            (void)service.store().put_repository_record(policy.name, *record);
        }
        service.pool().adopt(std::move(*opened));
        return {};
    }

    // Now, and not when the first backup fails.
    static Result<> may_write_to(const std::string& place) {
        if (!place.starts_with('/') || ::access(place.c_str(), W_OK) == 0 || errno != EROFS)
            return {};
        const Error why = Error::from_errno(EROFS, "write to " + printable(place));
        const Error explained = explain_fence(why, place);
        if (explained.message() == why.message()) return {};  // to read it is what is wanted, then
        return explained;
    }

    Result<> password_file_holds(const Secret& secret) const {
        if (!policy.password_file.starts_with('/'))
            return invalid_argument("password-file: not an absolute path");
        auto found = TRY(find_password(policy, {service.configuration().config_dir(), ""}));
        if (!found)
            return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                         "password-file: " + printable(policy.password_file) + " does not exist");
        if (!std::ranges::equal(found->view(), secret.view()))
            return invalid_argument("password-file: holds another password");
        return {};
    }
};

}  // namespace

// Nothing: he may know of all jobs.
static std::optional<std::uint32_t> whose(const Call& call) {
    return call.caller().sees_all ? std::nullopt : std::optional(call.uid());
}

const Interface& ManagerObject::interface() {
    static Interface table("Manager");
    static bool once = [] {
        const auto anyone = Access::anyone, manage = Access::manage, pause = Access::pause;
        using Self = ManagerObject;
        table.method("ListSets", "a{sv}", "options", "a(so)", "sets", anyone, &Self::list_sets)
            .method("ListRepositories", "a{sv}", "options", "a(so)", "repositories", anyone,
                    &Self::list_repositories)
            .method("ListJobs", "a{sv}", "options", "a(tos)", "jobs", anyone, &Self::list_jobs)
            .method("ListJobHistory", "a{sv}", "options", "h", "stream", Access::own,
                    &Self::list_job_history)
            .method("ReadLog", "a{sv}", "options", "h", "stream", Access::own, &Self::read_log)
            .method("CreateSet", "sa{sv}a{sv}", "id,config,options", "o", "set", manage,
                    &Self::create_set)
            .method("Simulate", "sa{sv}a{sv}", "id,config,options", "h", "stream", manage,
                    &Self::simulate)
            .method("DeleteSet", "sa{sv}", "id,options", "", "", manage, &Self::delete_set)
            .method("AddRepository", "sa{sv}ha{sv}", "name,config,secret,options", "o",
                    "repository", manage, &Self::add_repository)
            .method("RemoveRepository", "sa{sv}", "name,options", "", "", manage,
                    &Self::remove_repository)
            .method("Pause", "ta{sv}", "duration_usec,options", "", "", pause, &Self::pause)
            .method("Resume", "a{sv}", "options", "", "", pause, &Self::resume)
            .method("Inhibit", "ssa{sv}", "who,why,options", "h", "lock", pause, &Self::inhibit)
            .method("Reload", "a{sv}", "options", "", "", manage, &Self::reload)
            .method("CheckConfiguration", "a{sv}", "options", "a(sus)", "problems", manage,
                    &Self::check_configuration)
            .method("ShowConfiguration", "a{sv}", "options", "s", "text", manage,
                    &Self::show_configuration)
            .method("Explain", "aya{sv}", "path,options", "a{sv}aa{sv}", "explanation,sets", manage,
                    &Self::explain_path)
            .method("GetHealth", "a{sv}", "options", "saa{sv}", "health,findings", Access::anyone,
                    &Self::get_health)
            .signal("HealthChanged", "sss", "health,before,reason")
            .signal("JobNew", "tos", "id,job,kind")
            .signal("JobRemoved", "tos", "id,job,result")
            .property("Version", "s", Changes::constant)
            .property("Features", "as", Changes::constant)
            .property("Scope", "s", Changes::constant)
            .property("State", "s")
            .property("Health", "s")
            .property("ActiveJobs", "ao")
            .property("BlockedBy", "as")
            .property("PausedUntilUSec", "t")
            .property("NextRunUSec", "t")
            .property("LastSuccessUSec", "t")
            .property("Watching", "s")
            .property("Notices", "as");
        return true;
    }();
    (void)once;
    return table;
}

wire::Value ManagerObject::property(std::string_view name) const {
    const Service& service = served_.service;
    if (name == "Version") return BACKUPD_VERSION;
    if (name == "Features") return kFeatures;
    if (name == "Scope") return served_.on_system_bus() ? "system" : "user";
    if (name == "State") return service.state();
    if (name == "Health") return to_string(service.health());
    if (name == "Notices") return service.notices();
    if (name == "Watching") {
        TrackingStatus weakest;
        for (const auto& [id, set] : service.policy().sets) weaken(weakest, served_.tracking(id));
        return watching_word(weakest);
    }
    if (name == "ActiveJobs") {
        std::vector<wire::ObjectPath> active;
        for (const Job* job : service.jobs().jobs())
            if (!job->is_done()) active.push_back(job_object(*job));
        return active;
    }
    if (name == "PausedUntilUSec") return paused_until();
    std::vector<std::string> blocked;
    std::uint64_t next = 0, last = 0;
    for (const auto& [id, set] : service.policy().sets) {
        for (const std::string& reason : service.blocked_by(set))
            if (std::ranges::find(blocked, reason) == blocked.end()) blocked.push_back(reason);
        if (auto due = service.next_run_of(set))
            next = next == 0 ? to_usec(*due) : std::min(next, to_usec(*due));
        last = std::max(last, to_usec(service.set_status(id).record.last_success));
    }
    if (name == "BlockedBy") return blocked;
    if (name == "NextRunUSec") return next;
    return last;  // LastSuccessUSec
}

Result<> ManagerObject::list_sets(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    std::vector<std::pair<std::string, std::string>> list;
    for (const auto& [id, set] : served_.service.policy().sets)
        list.emplace_back(id, wire::set_path(id));
    call->reply_with([&](sd_bus_message* message) { return append_pairs(message, list); });
    return {};
}

Result<> ManagerObject::list_repositories(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    std::vector<std::pair<std::string, std::string>> list;
    for (const auto& [name, repository] : served_.service.policy().repositories)
        list.emplace_back(name, wire::repository_path(name));
    call->reply_with([&](sd_bus_message* message) { return append_pairs(message, list); });
    return {};
}

Result<> ManagerObject::list_jobs(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    call->reply_with([&](sd_bus_message* message) {
        int r = sd_bus_message_open_container(message, 'a', "(tos)");
        for (const Job* job : served_.service.jobs().jobs())
            if (r >= 0)
                r = sd_bus_message_append(message, "(tos)", job->id(),
                                          job_object(*job).text.c_str(),
                                          job->record().kind.c_str());
        return r < 0 ? r : sd_bus_message_close_container(message);
    });
    return {};
}

Result<> ManagerObject::list_job_history(std::shared_ptr<Call> call) {
    wire::DictReader options(TRY(call->dict()));
    JobHistory history{served_.service.store(), whose(*call), {}, 0, {}, {}};
    if (auto since = options.number("since")) history.since = from_usec(*since);
    history.limit = options.number("limit").value_or(0);
    history.only = options.number("id");
    TRY(options.finish());
    for (const Job* job : served_.service.jobs().jobs())
        if (!job->is_done()) history.live[job->id()] = to_string(job->state());
    UniqueFd stream = TRY(served_.streams.start(call->uid(), std::move(history)));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

Result<> ManagerObject::read_log(std::shared_ptr<Call> call) {
    wire::DictReader options(TRY(call->dict()));
    LogReader reader{
        served_.service.store(), whose(*call), served_.service.events(), {}, {}, false, {}};
    reader.job = options.number("job");
    if (auto since = options.number("since")) reader.since = from_usec(*since);
    reader.follow = options.boolean("follow").value_or(false);
    TRY(options.finish());
    if (reader.job) {
        const Job* job = served_.service.jobs().find(*reader.job);
        reader.follow = reader.follow && job != nullptr && !job->is_done();
        // The runner lives on the loop thread; the store tells the same, a moment later.
        reader.job_has_ended = [&store = served_.service.store(), id = *reader.job] {
            auto record = store.job(id);
            return !record.ok() || !*record || (*record)->end.has_value();
        };
    }
    UniqueFd stream = TRY(served_.streams.start(call->uid(), std::move(reader)));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

Result<> ManagerObject::create_set(std::shared_ptr<Call> call) {
    BackupSet set;
    set.id = TRY(call->string());
    wire::DictReader config(TRY(call->dict()));
    wire::DictReader options(TRY(call->dict()));
    bool dry_run = options.boolean("dry-run").value_or(false);
    TRY(options.finish());
    TRY(change_set(set, config));
    TRY(config.finish());
    auto exists = [this, id = set.id] {
        auto known = served_.service.find_set(id);
        return known.ok() && !(*known)->is_found;
    };
    if (exists())
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "a set '" + set.id + "' exists already");
    served_.service.change_configuration(
        [&configuration = served_.service.configuration(), set, dry_run] {
            return dry_run ? configuration.check_set(set) : configuration.write_new_set(set);
        },
        [call, id = set.id](Result<> done) {
            if (!done.ok()) return call->fail(done.error());
            call->reply({wire::ObjectPath{wire::set_path(id)}});
        });
    return {};
}

Result<> ManagerObject::delete_set(std::shared_ptr<Call> call) {
    std::string id = TRY(call->string());
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id));
    if (set.is_found)
        return Error(ErrorKind::conflict, ErrorCode::unsupported,
                     "set '" + id + "' was found in " + set.origin +
                         " and is not set up on this machine: there is nothing to remove");
    if (served_.service.jobs().active_backup(id) != nullptr)
        return Error(ErrorKind::conflict, ErrorCode::busy,
                     "a backup of set '" + id + "' is running: cancel it first");
    served_.service.change_configuration([&configuration = served_.service.configuration(),
                                          set] { return configuration.remove_set(set); },
                                         answer_when_done(call));
    return {};
}

Result<> ManagerObject::add_repository(std::shared_ptr<Call> call) {
    AddRepository work{served_.service, {}, {}};
    work.policy.name = TRY(call->string());
    wire::DictReader config(TRY(call->dict()));
    work.secret_fd = std::make_shared<UniqueFd>(TRY(call->descriptor()));
    wire::DictReader options(TRY(call->dict()));
    work.policy.url = config.text("url").value_or("");
    TRY(config.finish());
    work.init = options.boolean("init").value_or(false);
    work.generated = options.boolean("generated").value_or(false);
    work.policy.password_file = options.text("password-file").value_or("");
    TRY(options.finish());
    served_.service.change_configuration(work, [this, call, name = work.policy.name,
                                                init = work.init](Result<> done) {
        if (!done.ok()) return call->fail(done.error());
        auto reply = [call, name] { call->reply({wire::ObjectPath{wire::repository_path(name)}}); };
        if (init) return reply();
        served_.service.refresh_repository(name, reply);  // what it holds is known then
    });
    return {};
}

Result<> ManagerObject::remove_repository(std::shared_ptr<Call> call) {
    std::string name = TRY(call->string());
    TRY(call->no_options());
    const Policy& policy = served_.service.policy();
    auto found = policy.repositories.find(name);
    if (found == policy.repositories.end())
        return Error(ErrorKind::not_found, ErrorCode::no_such_repository,
                     "there is no repository '" + name + "'");
    for (const auto& [id, set] : policy.sets)
        if (set.repository == name)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "set '" + id + "' uses the repository '" + name + "'");
    served_.service.change_configuration(
        [&configuration = served_.service.configuration(), repository = found->second] {
            return configuration.remove_repository(repository);
        },
        answer_when_done(call));
    return {};
}

Result<> ManagerObject::reload(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    served_.service.reload(answer_when_done(call));
    return {};
}

Result<> ManagerObject::check_configuration(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    answer_later(
        served_, call,
        [&configuration = served_.service.configuration()]() -> Result<std::vector<ConfigProblem>> {
            return configuration.load().problems;
        },
        [](Call& answer, std::vector<ConfigProblem> problems) {
            answer.reply_with([&](sd_bus_message* message) {
                int r = sd_bus_message_open_container(message, 'a', "(sus)");
                for (const ConfigProblem& problem : problems)
                    if (r >= 0)
                        r = sd_bus_message_append(message, "(sus)", printable(problem.file).c_str(),
                                                  problem.line, printable(problem.message).c_str());
                return r < 0 ? r : sd_bus_message_close_container(message);
            });
        });
    return {};
}

Result<> ManagerObject::show_configuration(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    call->reply({format_policy(served_.service.policy())});
    return {};
}

Result<> ManagerObject::explain_path(std::shared_ptr<Call> call) {
    std::string name = TRY(call->file_name());
    Path path = TRY(Path::parse(name));
    TRY(call->no_options());
    Service& service = served_.service;
    ExplainTask task;
    task.policy = service.shared_policy();
    task.pool = &service.pool();
    task.tracker = served_.tracker();
    for (const auto& [id, set] : task.policy->sets)
        task.sets[id] = {service.blocked_by(set), service.next_run_of(set), service.guard(id),
                         service.set_status(id).record, service.set_status(id).revision_count};
    task.own = own_places(*task.policy, service.state_dir());
    answer_later(
        served_, call,
        [task = std::move(task), path]() -> Result<Explanation> { return explain(task, path); },
        [](Call& answer, Explanation explanation) {
            answer.reply_with([&](sd_bus_message* message) {
                int r = wire::append_dict(message, explanation_dict(explanation));
                if (r >= 0) r = sd_bus_message_open_container(message, 'a', "a{sv}");
                for (const PathInSetNow& set : explanation.sets)
                    if (r >= 0) r = wire::append_dict(message, explanation_dict(set));
                return r < 0 ? r : sd_bus_message_close_container(message);
            });
        });
    return {};
}

}  // namespace backup
