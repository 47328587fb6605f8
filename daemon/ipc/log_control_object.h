// org.freedesktop.LogControl1: `systemctl service-log-level backupd debug`. Loop thread only.
#pragma once

#include "daemon/ipc/interface.h"

namespace backup {

class LogControlObject final : public BusObject {
  public:
    static const Interface& interface();
    wire::Value property(std::string_view name) const override;
    Result<> set_property(std::string_view name, const std::string& text) override;
};

}  // namespace backup
