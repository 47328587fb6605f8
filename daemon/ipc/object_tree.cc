#include "daemon/ipc/object_tree.h"

namespace backup {

namespace {

constexpr const char* kLogControlPath = "/org/freedesktop/LogControl1";
constexpr Duration kJobPace = std::chrono::milliseconds(500);
constexpr Duration kSetPace = std::chrono::milliseconds(500);

}  // namespace

ObjectTree::ObjectTree(Loop& loop, Bus& bus, Service& service)
    : bus_(bus),
      service_(service),
      streams_(loop),
      served_{bus, service, streams_},
      manager_(served_),
      metrics_(served_),
      restore_(served_) {
    bus_.add_object_manager(wire::root_path());
    bus_.add(wire::root_path(), ManagerObject::interface(), manager_);
    bus_.add(wire::root_path(), MetricsObject::interface(), metrics_);
    bus_.add(wire::restore_path(), RestoreObject::interface(), restore_);
    bus_.add(kLogControlPath, LogControlObject::interface(), log_control_);
    bus_.set_pace(wire::root_path(), kJobPace);
    for (const auto& [name, repository] : service_.policy().repositories) add_repository(name);
    for (const auto& [id, set] : service_.policy().sets) add_set(id);
    for (const Job* job : service_.jobs().jobs()) add_job(*job);
    service_.set_listener(this);
}

ObjectTree::~ObjectTree() {
    service_.set_listener(nullptr);
}

void ObjectTree::add_set(const std::string& id) {
    auto object = std::make_unique<SetObject>(served_, id);
    bus_.add(object->path(), SetObject::interface(), *object);
    bus_.set_pace(object->path(), kSetPace);
    sets_[id] = std::move(object);
}

void ObjectTree::add_repository(const std::string& name) {
    auto object = std::make_unique<RepositoryObject>(served_, name);
    bus_.add(object->path(), RepositoryObject::interface(), *object);
    repositories_[name] = std::move(object);
}

void ObjectTree::add_job(const Job& job) {
    auto object = std::make_unique<JobObject>(served_, job);
    bus_.add(object->path(), JobObject::interface(), *object);
    bus_.set_pace(object->path(), kJobPace);
    jobs_[job.id()] = std::move(object);
}

void ObjectTree::job_added(const Job& job) {
    add_job(job);
    std::string path = wire::job_path(job.id());
    bus_.announce_added(path);
    bus_.emit(wire::root_path(), ManagerObject::interface().name(), "JobNew",
              {job.id(), wire::ObjectPath{path}, job.record().kind});
}

void ObjectTree::job_changed(const Job& job) {
    bus_.touch(wire::job_path(job.id()));
}

void ObjectTree::job_finished(const Job& job) {
    // The properties first: who hears of the end reads the final values.
    std::string path = wire::job_path(job.id());
    if (!job.record().set.empty()) bus_.tell_changes(wire::set_path(job.record().set));
    bus_.tell_changes(path);
    if (auto found = jobs_.find(job.id()); found != jobs_.end()) found->second->tell_end();
}

void ObjectTree::job_removed(const Job& job) {
    std::string path = wire::job_path(job.id());
    bus_.announce_removed(path);
    bus_.emit(wire::root_path(), ManagerObject::interface().name(), "JobRemoved",
              {job.id(), wire::ObjectPath{path}, job.record().outcome});
    bus_.remove(path);
    jobs_.erase(job.id());
}

void ObjectTree::set_added(const std::string& id) {
    add_set(id);
    bus_.announce_added(wire::set_path(id));
}

void ObjectTree::set_removed(const std::string& id) {
    std::string path = wire::set_path(id);
    bus_.announce_removed(path);
    bus_.remove(path);
    sets_.erase(id);
}

void ObjectTree::set_changed(const std::string& id) {
    bus_.touch(wire::set_path(id));
}

void ObjectTree::repository_added(const std::string& name) {
    add_repository(name);
    bus_.announce_added(wire::repository_path(name));
}

void ObjectTree::repository_removed(const std::string& name) {
    std::string path = wire::repository_path(name);
    bus_.announce_removed(path);
    bus_.remove(path);
    repositories_.erase(name);
}

void ObjectTree::repository_changed(const std::string& name) {
    bus_.touch(wire::repository_path(name));
}

void ObjectTree::any_changed() {
    bus_.touch(wire::root_path());
}

void ObjectTree::health_changed(const std::string& health, const std::string& before,
                                const std::string& reason) {
    bus_.tell_changes(wire::root_path());
    bus_.emit(wire::root_path(), ManagerObject::interface().name(), "HealthChanged",
              {health, before, reason});
}

void ObjectTree::guard_asked(const std::string& set, const std::string& kind) {
    bus_.tell_changes(wire::set_path(set));
    bus_.emit(wire::set_path(set), SetObject::interface().name(), "GuardAsked", {kind});
}

void ObjectTree::revision_committed(const std::string& set, const std::string& revision,
                                    const Job& job) {
    bus_.tell_changes(wire::set_path(set));
    bus_.emit(wire::set_path(set), SetObject::interface().name(), "RevisionCommitted",
              {revision, job_object(job)});
}

}  // namespace backup
