#include "ctl/client.h"

#include <algorithm>
#include <cstdlib>

#include "ctl/client_connection.h"

namespace backup {

const std::string Client::kManager = [] {
    std::string path = "/" BACKUPD_BUS_NAME;
    std::replace(path.begin(), path.end(), '.', '/');
    return path;
}();

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;
bool Client::on_system_bus() const {
    return impl_->system;
}
void Client::show_all_users() {
    impl_->all_users = true;
}

Result<Dict> Client::properties(const std::string& object, const std::string& interface) {
    std::string name = std::string(kName) + "." + interface;
    Message reply =
        TRY(impl_->call(object, "org.freedesktop.DBus.Properties", "GetAll",
                        [&](auto* m) { return sd_bus_message_append(m, "s", name.c_str()) >= 0; }));
    return read_whole_dict(reply);
}

namespace {
Result<Client::NamedObjects> read_named(const Message& m) {
    Client::NamedObjects list;
    if (sd_bus_message_enter_container(m.get(), 'a', "(so)") < 0) return garbled();
    const char *name = nullptr, *object = nullptr;
    while (sd_bus_message_read(m.get(), "(so)", &name, &object) > 0)
        list.emplace_back(name, object);
    sd_bus_message_exit_container(m.get());
    std::sort(list.begin(), list.end());
    return list;
}
}  // namespace

Result<Client::NamedObjects> Client::list_sets() {
    Message answer = TRY(impl_->ours(kManager, "Manager", "ListSets", no_options));
    return read_named(answer);
}
Result<Client::NamedObjects> Client::list_repositories() {
    Message answer = TRY(impl_->ours(kManager, "Manager", "ListRepositories", no_options));
    return read_named(answer);
}
Result<UniqueFd> Client::list_job_history(const Dict& options) {
    Message answer = TRY(impl_->ours(kManager, "Manager", "ListJobHistory", only(options)));
    return read_fd(answer);
}
Result<UniqueFd> Client::read_log(const Dict& options) {
    Message answer = TRY(impl_->ours(kManager, "Manager", "ReadLog", only(options)));
    return read_fd(answer);
}
Result<std::string> Client::create_set(const std::string& id, const Dict& config,
                                       const Dict& options) {
    Message answer = TRY(impl_->ours(
        kManager, "Manager", "CreateSet",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", id.c_str()) >= 0 && append_dict(m, config) &&
                   append_dict(m, options);
        },
        kPatient));
    return read_text(answer);
}
Result<UniqueFd> Client::simulate(const std::string& id, const Dict& config, const Dict& options) {
    Message answer = TRY(impl_->ours(
        kManager, "Manager", "Simulate",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", id.c_str()) >= 0 && append_dict(m, config) &&
                   append_dict(m, options);
        },
        kPatient));
    return read_fd(answer);
}
Result<> Client::delete_set(const std::string& id) {
    TRY(impl_->ours(
        kManager, "Manager", "DeleteSet",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", id.c_str()) >= 0 && append_dict(m, {});
        },
        kPatient));
    return {};
}
Result<std::string> Client::add_repository(const std::string& name, const Dict& config, int secret,
                                           const Dict& options) {
    Message answer = TRY(impl_->ours(
        kManager, "Manager", "AddRepository",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", name.c_str()) >= 0 && append_dict(m, config) &&
                   sd_bus_message_append(m, "h", secret) >= 0 && append_dict(m, options);
        },
        kPatient));
    return read_text(answer);
}
Result<> Client::remove_repository(const std::string& name) {
    TRY(impl_->ours(
        kManager, "Manager", "RemoveRepository",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", name.c_str()) >= 0 && append_dict(m, {});
        },
        kPatient));
    return {};
}
Result<> Client::reload() {
    TRY(impl_->ours(kManager, "Manager", "Reload", no_options, kPatient));
    return {};
}
Result<Client::HealthNow> Client::health() {
    Message answer = TRY(impl_->ours(kManager, "Manager", "GetHealth", no_options));
    HealthNow now;
    now.health = TRY(read_text(answer));
    now.findings = TRY(read_dicts(answer));
    return now;
}
Result<std::string> Client::metrics() {
    return read_text(TRY(impl_->ours(kManager, "Metrics", "GetOpenMetrics", no_options)));
}
Result<> Client::pause(std::uint64_t usec) {
    TRY(impl_->ours(kManager, "Manager", "Pause", [&](auto* m) {
        return sd_bus_message_append(m, "t", usec) >= 0 && append_dict(m, {});
    }));
    return {};
}
Result<> Client::resume() {
    TRY(impl_->ours(kManager, "Manager", "Resume", no_options));
    return {};
}
Result<std::vector<Client::Problem>> Client::check_configuration() {
    Message m = TRY(impl_->ours(kManager, "Manager", "CheckConfiguration", no_options, kPatient));
    std::vector<Problem> problems;
    if (sd_bus_message_enter_container(m.get(), 'a', "(sus)") < 0) return garbled();
    const char *file = nullptr, *message = nullptr;
    std::uint32_t line = 0;
    while (sd_bus_message_read(m.get(), "(sus)", &file, &line, &message) > 0)
        problems.push_back({file, line, message});
    return problems;
}
Result<std::string> Client::show_configuration() {
    Message answer =
        TRY(impl_->ours(kManager, "Manager", "ShowConfiguration", no_options, kPatient));
    return read_text(answer);
}

Result<Client::SetConfiguration> Client::set_configuration(const std::string& set, bool asks) {
    Message m = TRY(impl_->ours(
        set, "Set", "GetConfiguration", [](auto*) { return true; }, kPatient, asks));
    SetConfiguration answer;
    if (!read_dict(m.get(), answer.config) ||
        sd_bus_message_read_basic(m.get(), 't', &answer.generation) <= 0)
        return garbled();
    return answer;
}
Result<> Client::configure(const std::string& set, const Dict& changes, std::uint64_t generation,
                           const Dict& options) {
    TRY(impl_->ours(
        set, "Set", "Configure",
        [&](auto* m) {
            return append_dict(m, changes) && sd_bus_message_append(m, "t", generation) >= 0 &&
                   append_dict(m, options);
        },
        kPatient));
    return {};
}
Result<std::string> Client::start_backup(const std::string& set, const Dict& options) {
    Message answer = TRY(impl_->ours(set, "Set", "StartBackup", only(options), kPatient));
    return read_text(answer);
}
Result<Client::Revisions> Client::list_revisions(const std::string& object,
                                                 const std::string& interface,
                                                 const Dict& options) {
    const Dict sent = interface == "Set" ? impl_->browsing(options) : options;
    Message m = TRY(impl_->ours(object, interface.c_str(), "ListRevisions", only(sent), kPatient));
    Revisions answer;
    answer.list = TRY(read_dicts(m));
    answer.next_page = TRY(read_text(m));
    return answer;
}
Result<Dict> Client::revision(const std::string& set, const std::string& revision) {
    Message answer = TRY(impl_->ours(
        set, "Set", "GetRevision",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", revision.c_str()) >= 0 &&
                   append_dict(m, impl_->browsing());
        },
        kPatient));
    return read_whole_dict(answer);
}

namespace {
auto revision_and_path(const std::string& revision, const std::string& path, const Dict& options) {
    return [&](sd_bus_message* m) {
        return sd_bus_message_append(m, "s", revision.c_str()) >= 0 &&
               sd_bus_message_append_array(m, 'y', path.c_str(), path.size() + 1) >= 0 &&
               append_dict(m, options);
    };
}
}  // namespace

Result<UniqueFd> Client::list_files(const std::string& set, const std::string& revision,
                                    const std::string& path, const Dict& options) {
    const Dict sent = impl_->browsing(options);
    Message answer = TRY(
        impl_->ours(set, "Set", "ListFiles", revision_and_path(revision, path, sent), kPatient));
    return read_fd(answer);
}
Result<UniqueFd> Client::list_versions(const std::string& set, const std::string& path,
                                       const Dict& options) {
    Message answer = TRY(impl_->ours(
        set, "Set", "ListVersions",
        [&](auto* m) {
            return sd_bus_message_append_array(m, 'y', path.c_str(), path.size() + 1) >= 0 &&
                   append_dict(m, impl_->browsing(options));
        },
        kPatient));
    return read_fd(answer);
}
Result<UniqueFd> Client::find(const std::string& set, const std::string& pattern,
                              const Dict& options) {
    Message answer = TRY(impl_->ours(
        set, "Set", "Find",
        [&](auto* m) {
            return sd_bus_message_append_array(m, 'y', pattern.c_str(), pattern.size() + 1) >= 0 &&
                   append_dict(m, impl_->browsing(options));
        },
        kPatient));
    return read_fd(answer);
}
Result<UniqueFd> Client::diff(const std::string& set, const std::string& from,
                              const std::string& to, const std::string& path) {
    Message answer = TRY(impl_->ours(
        set, "Set", "Diff",
        [&](auto* m) {
            return sd_bus_message_append(m, "ss", from.c_str(), to.c_str()) >= 0 &&
                   sd_bus_message_append_array(m, 'y', path.c_str(), path.size() + 1) >= 0 &&
                   append_dict(m, impl_->browsing());
        },
        kPatient));
    return read_fd(answer);
}
Result<Client::OpenedFile> Client::open_file(const std::string& set, const std::string& revision,
                                             const std::string& path) {
    const Dict sent = impl_->browsing();
    Message m =
        TRY(impl_->ours(set, "Set", "OpenFile", revision_and_path(revision, path, sent), kPatient));
    OpenedFile answer;
    answer.content = TRY(read_fd(m));
    answer.job = TRY(read_text(m));
    answer.attributes = TRY(read_whole_dict(m));
    return answer;
}
Result<Client::OpenedFile> Client::export_tree(const std::string& set, const std::string& revision,
                                               const std::vector<std::string>& paths) {
    Message m = TRY(impl_->ours(
        set, "Set", "ExportTree",
        [&](auto* message) {
            return sd_bus_message_append(message, "s", revision.c_str()) >= 0 &&
                   append_names(message, paths) && append_dict(message, impl_->browsing());
        },
        kPatient));
    OpenedFile answer;
    answer.content = TRY(read_fd(m));
    answer.job = TRY(read_text(m));
    return answer;
}
Result<UniqueFd> Client::list_queue(const std::string& set, const Dict& options) {
    Message answer = TRY(impl_->ours(set, "Set", "ListQueue", only(options), kPatient));
    return read_fd(answer);
}
Result<Client::Tracking> Client::tracking(const std::string& set) {
    Message answer = TRY(impl_->ours(set, "Set", "GetTracking", no_options));
    Tracking tracking;
    tracking.status = TRY(read_whole_dict(answer));
    tracking.volumes = TRY(read_dicts(answer));
    return tracking;
}
Result<std::vector<Dict>> Client::schedule(const std::string& set) {
    Message answer = TRY(impl_->ours(set, "Set", "GetSchedule", no_options));
    return read_dicts(answer);
}
Result<std::vector<Dict>> Client::guard(const std::string& set) {
    Message answer = TRY(impl_->ours(set, "Set", "GetGuard", no_options));
    return read_dicts(answer);
}
Result<std::string> Client::answer_guard(const std::string& set, const std::string& answer) {
    Message reply = TRY(impl_->ours(
        set, "Set", "AnswerGuard",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", answer.c_str()) >= 0 && append_dict(m, {});
        },
        kPatient));
    return read_text(reply);
}
Result<Client::Explanation> Client::explain(const std::string& path) {
    Message m = TRY(impl_->ours(
        kManager, "Manager", "Explain",
        [&](auto* message) {
            return sd_bus_message_append_array(message, 'y', path.c_str(), path.size() + 1) >= 0 &&
                   append_dict(message, {});
        },
        kPatient));
    Explanation explanation;
    explanation.path = TRY(read_whole_dict(m));
    if (sd_bus_message_enter_container(m.get(), 'a', "a{sv}") < 0) return garbled();
    while (sd_bus_message_at_end(m.get(), 0) == 0) {
        Explanation::Set set;
        if (!read_dict(m.get(), set.facts, &set.parts)) return garbled();
        explanation.sets.push_back(std::move(set));
    }
    return explanation;
}
Result<std::string> Client::verify(const std::string& set,
                                   const std::vector<std::string>& revisions, const Dict& options) {
    Message answer = TRY(impl_->ours(
        set, "Set", "Verify",
        [&](auto* m) { return append_texts(m, revisions) && append_dict(m, options); }, kPatient));
    return read_text(answer);
}
Result<std::string> Client::drill(const std::string& set, const std::vector<std::string>& paths,
                                  const Dict& options) {
    Message answer = TRY(impl_->ours(
        set, "Set", "Drill",
        [&](auto* m) { return append_names(m, paths) && append_dict(m, options); }, kPatient));
    return read_text(answer);
}

Result<std::string> Client::collect(const std::string& repository, const Dict& options) {
    Message answer = TRY(impl_->ours(repository, "Repository", "Collect", only(options), kPatient));
    return read_text(answer);
}
Result<std::string> Client::audit(const std::string& repository) {
    Message answer = TRY(impl_->ours(repository, "Repository", "Audit", no_options, kPatient));
    return read_text(answer);
}
Result<std::string> Client::pin(const std::string& set, const std::string& revision, bool pinned) {
    Message answer = TRY(impl_->ours(
        set, "Set", "PinRevision",
        [&](auto* m) {
            return sd_bus_message_append(m, "sb", revision.c_str(), pinned ? 1 : 0) >= 0 &&
                   append_dict(m, {});
        },
        kPatient));
    return read_text(answer);
}
Result<std::string> Client::delete_revisions(const std::string& set,
                                             const std::vector<std::string>& revisions) {
    Message answer = TRY(impl_->ours(
        set, "Set", "DeleteRevisions",
        [&](auto* m) { return append_texts(m, revisions) && append_dict(m, {}); }, kPatient));
    return read_text(answer);
}
Result<UniqueFd> Client::plan_retention(const std::string& set) {
    Message answer = TRY(impl_->ours(set, "Set", "PlanRetention", no_options, kPatient));
    return read_fd(answer);
}
Result<std::uint32_t> Client::restore_trash(const std::string& set,
                                            const std::vector<std::string>& revisions) {
    Message m = TRY(impl_->ours(
        set, "Set", "RestoreTrash",
        [&](auto* message) { return append_texts(message, revisions) && append_dict(message, {}); },
        kPatient));
    std::uint32_t restored = 0;
    if (sd_bus_message_read_basic(m.get(), 'u', &restored) <= 0) return garbled();
    return restored;
}

namespace {
auto secret_only(int secret) {
    return [secret](sd_bus_message* m) {
        return sd_bus_message_append(m, "h", secret) >= 0 && append_dict(m, {});
    };
}
}  // namespace

Result<> Client::unlock(const std::string& repository, int secret) {
    TRY(impl_->ours(repository, "Repository", "Unlock", secret_only(secret), kPatient));
    return {};
}
Result<Dict> Client::test(const std::string& repository, int secret) {
    Message answer =
        TRY(impl_->ours(repository, "Repository", "Test", secret_only(secret), kPatient));
    return read_whole_dict(answer);
}
Result<std::uint32_t> Client::remove_locks(const std::string& repository, const Dict& options) {
    Message m = TRY(impl_->ours(repository, "Repository", "RemoveLocks", only(options), kPatient));
    std::uint32_t removed = 0;
    if (sd_bus_message_read_basic(m.get(), 'u', &removed) <= 0) return garbled();
    return removed;
}
Result<std::vector<Dict>> Client::list_keys(const std::string& repository) {
    Message answer = TRY(impl_->ours(repository, "Repository", "ListKeys", no_options, kPatient));
    return read_dicts(answer);
}
Result<std::string> Client::add_key(const std::string& repository, int secret) {
    Message answer =
        TRY(impl_->ours(repository, "Repository", "AddKey", secret_only(secret), kPatient));
    return read_text(answer);
}
Result<> Client::remove_key(const std::string& repository, const std::string& key) {
    TRY(impl_->ours(
        repository, "Repository", "RemoveKey",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", key.c_str()) >= 0 && append_dict(m, {});
        },
        kPatient));
    return {};
}
Result<std::string> Client::check(const std::string& repository, const Dict& options) {
    Message answer = TRY(impl_->ours(repository, "Repository", "Check", only(options), kPatient));
    return read_text(answer);
}
Result<Dict> Client::repository_details(const std::string& repository) {
    Message answer = TRY(impl_->ours(repository, "Repository", "GetDetails", no_options, kPatient));
    return read_whole_dict(answer);
}

Result<std::string> Client::undo(std::uint64_t restore, const Dict& options) {
    Message answer = TRY(impl_->ours(
        kManager + "/restore", "Restore", "Undo",
        [&](auto* m) {
            return sd_bus_message_append(m, "t", restore) >= 0 && append_dict(m, options);
        },
        kPatient));
    return read_text(answer);
}

Result<std::string> Client::resume_restore(std::uint64_t restore, const Dict& options) {
    Message answer = TRY(impl_->ours(
        kManager + "/restore", "Restore", "Resume",
        [&](auto* m) {
            return sd_bus_message_append(m, "t", restore) >= 0 &&
                   append_dict(m, impl_->browsing(options));
        },
        kPatient));
    return read_text(answer);
}

Result<std::string> Client::restore(const std::string& set, const std::string& revision,
                                    const std::vector<std::string>& paths, int directory,
                                    const Dict& options) {
    Message answer = TRY(impl_->ours(
        kManager + "/restore", "Restore", directory < 0 ? "RestoreInPlace" : "RestoreTo",
        [&](auto* m) {
            return sd_bus_message_append(m, "ss", set.c_str(), revision.c_str()) >= 0 &&
                   append_names(m, paths) &&
                   (directory < 0 || sd_bus_message_append(m, "h", directory) >= 0) &&
                   append_dict(m, impl_->browsing(options));
        },
        kPatient));
    return read_text(answer);
}

std::string Client::set_object(const std::string& id) {
    char* encoded = nullptr;
    if (sd_bus_path_encode((kManager + "/set").c_str(), id.c_str(), &encoded) < 0) return {};
    std::string path = encoded;
    std::free(encoded);
    return path;
}
std::string Client::job_object(std::uint64_t id) {
    return kManager + "/job/" + std::to_string(id);
}

std::string Client::name_of_object(const std::string& object) {
    std::size_t slash = object.rfind('/');
    if (slash == std::string::npos || slash == 0) return {};
    char* name = nullptr;
    if (sd_bus_path_decode(object.c_str(), object.substr(0, slash).c_str(), &name) <= 0) return {};
    std::string text(name);
    std::free(name);
    return text;
}

}  // namespace backup
