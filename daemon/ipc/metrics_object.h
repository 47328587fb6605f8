// What is counted and measured, on the bus: dbus/org.backupd1.Metrics.xml. Loop thread only.
#pragma once

#include "daemon/ipc/served.h"

namespace backup {

class MetricsObject final : public BusObject {
  public:
    explicit MetricsObject(Served& served) : served_(served) {}

    static const Interface& interface();
    wire::Value property(std::string_view name) const override;

  private:
    Result<> get_open_metrics(std::shared_ptr<Call> call);

    Served& served_;
};

}  // namespace backup
