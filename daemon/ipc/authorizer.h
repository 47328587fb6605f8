// Authorizer asks polkit whether a caller may do something. Loop thread only; never waits: the
// answer may take as long as somebody types a password. Without polkit on the bus, or when it does
// not answer, nothing is granted. Root is not asked about: that is for whoever calls this.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/ipc/bus.h"

namespace backup {

class Authorizer {
  public:
    explicit Authorizer(Bus& bus) : bus_(bus) {}

    // `sender`: a unique name of the bus, which is what polkit judges, not a process. `action`: the
    // last part of its name, as in dbus/org.backupd1.policy. `interactive`: the caller can wait for
    // a dialog. Answered with nothing, or with `denied`/access_denied. A question about a caller
    // who leaves is taken back.
    void ask(const std::string& sender, std::string_view action, bool interactive,
             std::function<void(Result<>)> done);

  private:
    struct Question {
        std::string sender;
        std::function<void(Result<>)> done;
        BusSlot slot;
    };
    void answered(std::uint64_t id, sd_bus_message* answer, const std::string& action);
    void finish(std::uint64_t id, Result<> answer);
    void left(const std::string& name);

    Bus& bus_;
    std::uint64_t last_ = 0;
    std::map<std::uint64_t, Question> questions_;
    BusSlot departures_;  // while anything is asked
    BusSlot cancelling_;
};

}  // namespace backup
