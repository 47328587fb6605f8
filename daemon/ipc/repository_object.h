// A repository on the bus: dbus/org.backupd1.Repository.xml. Loop thread only.
#pragma once

#include "daemon/ipc/served.h"

namespace backup {

class RepositoryObject final : public BusObject {
  public:
    RepositoryObject(Served& served, std::string name);

    static const Interface& interface();
    const std::string& path() const { return path_; }
    wire::Value property(std::string_view name) const override;

  private:
    Result<> unlock(std::shared_ptr<Call> call);
    Result<> test(std::shared_ptr<Call> call);
    Result<> remove_locks(std::shared_ptr<Call> call);
    Result<> list_keys(std::shared_ptr<Call> call);
    Result<> add_key(std::shared_ptr<Call> call);
    Result<> remove_key(std::shared_ptr<Call> call);
    Result<> check(std::shared_ptr<Call> call);
    Result<> collect(std::shared_ptr<Call> call);
    Result<> audit(std::shared_ptr<Call> call);
    Result<> list_revisions(std::shared_ptr<Call> call);
    Result<> get_details(std::shared_ptr<Call> call);
    Result<RepositoryPolicy> policy() const;

    Served& served_;
    const std::string name_, path_;
};

}  // namespace backup
