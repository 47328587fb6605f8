// ObjectTree puts what the Service knows on the bus: one object per set, repository and job,
// changes as signals. Loop thread only.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "daemon/ipc/job_object.h"
#include "daemon/ipc/log_control_object.h"
#include "daemon/ipc/manager_object.h"
#include "daemon/ipc/metrics_object.h"
#include "daemon/ipc/repository_object.h"
#include "daemon/ipc/restore_object.h"
#include "daemon/ipc/set_object.h"

namespace backup {

class ObjectTree final : private ServiceListener {
  public:
    ObjectTree(Loop& loop, Bus& bus, Service& service);
    ~ObjectTree();

    // When the name is ours and the service has begun.
    void begin() { restore_.begin(); }

  private:
    void job_added(const Job& job) override;
    void job_changed(const Job& job) override;
    void job_finished(const Job& job) override;
    void job_removed(const Job& job) override;
    void set_added(const std::string& id) override;
    void set_removed(const std::string& id) override;
    void set_changed(const std::string& id) override;
    void repository_added(const std::string& name) override;
    void repository_removed(const std::string& name) override;
    void repository_changed(const std::string& name) override;
    void any_changed() override;
    void health_changed(const std::string& health, const std::string& before,
                        const std::string& reason) override;
    void guard_asked(const std::string& set, const std::string& kind) override;
    void revision_committed(const std::string& set, const std::string& revision,
                            const Job& job) override;

    void add_job(const Job& job);
    void add_set(const std::string& id);
    void add_repository(const std::string& name);

    Bus& bus_;
    Service& service_;
    StreamSet streams_;
    Served served_;
    ManagerObject manager_;
    MetricsObject metrics_;
    RestoreObject restore_;
    LogControlObject log_control_;
    std::map<std::string, std::unique_ptr<SetObject>> sets_;
    std::map<std::string, std::unique_ptr<RepositoryObject>> repositories_;
    std::map<std::uint64_t, std::unique_ptr<JobObject>> jobs_;
};

}  // namespace backup
