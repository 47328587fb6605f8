// The daemon itself on the bus: dbus/org.backupd1.Manager.xml. Loop thread only.
#pragma once

#include <map>

#include "daemon/ipc/served.h"

namespace backup {

class ManagerObject final : public BusObject {
  public:
    explicit ManagerObject(Served& served) : served_(served) {}

    static const Interface& interface();
    wire::Value property(std::string_view name) const override;

  private:
    Result<> list_sets(std::shared_ptr<Call> call);
    Result<> list_repositories(std::shared_ptr<Call> call);
    Result<> list_jobs(std::shared_ptr<Call> call);
    Result<> list_job_history(std::shared_ptr<Call> call);
    Result<> read_log(std::shared_ptr<Call> call);
    Result<> create_set(std::shared_ptr<Call> call);
    Result<> simulate(std::shared_ptr<Call> call);
    Result<> delete_set(std::shared_ptr<Call> call);
    Result<> add_repository(std::shared_ptr<Call> call);
    Result<> remove_repository(std::shared_ptr<Call> call);
    Result<> reload(std::shared_ptr<Call> call);
    Result<> check_configuration(std::shared_ptr<Call> call);
    Result<> show_configuration(std::shared_ptr<Call> call);
    Result<> explain_path(std::shared_ptr<Call> call);
    Result<> pause(std::shared_ptr<Call> call);
    Result<> resume(std::shared_ptr<Call> call);
    Result<> inhibit(std::shared_ptr<Call> call);
    std::uint64_t paused_until() const;
    Result<> get_health(std::shared_ptr<Call> call);

    Served& served_;
    // Our ends of the pipes of those who hold uploads up.
    struct Held {
        UniqueFd end;  // before what watches it
        FdWatch watch;
    };
    std::map<std::uint64_t, Held> inhibitors_;
};

}  // namespace backup
