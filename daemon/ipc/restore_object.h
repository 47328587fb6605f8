// Restores on the bus: dbus/org.backupd1.Restore.xml. Loop thread only.
#pragma once

#include "daemon/ipc/served.h"

namespace backup {

class RestoreObject final : public BusObject {
  public:
    explicit RestoreObject(Served& served) : served_(served) {}

    static const Interface& interface();
    wire::Value property(std::string_view name) const override;

  private:
    struct Asked;
    Result<> restore_to(std::shared_ptr<Call> call);
    Result<> restore_in_place(std::shared_ptr<Call> call);
    Result<> start(std::shared_ptr<Call> call, Asked asked);

    Served& served_;
};

}  // namespace backup
