// Daemon owns everything and wires it together: state, service, bus, signals. Made and run on one
// thread, the loop's.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/ipc/bus.h"
#include "daemon/ipc/host_conditions.h"
#include "daemon/ipc/object_tree.h"
#include "daemon/jobs/service.h"
#include "daemon/notifier.h"
#include "daemon/runtime/loop.h"

namespace backup {

struct DaemonOptions {
    Scope scope = Scope::user;
    std::string config_dir, vendor_dir, state_dir, runtime_dir, credentials_dir;
    // A job that does not stop in this time is left behind, its end recorded.
    Duration stop_patience = std::chrono::seconds(10);
};

class Daemon {
  public:
    // Takes the state directory and connects to the bus.
    static Result<std::unique_ptr<Daemon>> make(DaemonOptions options);
    ~Daemon();

    // Until SIGTERM, SIGINT or the loss of the bus. The error is why it did not end well.
    Result<> run();

  private:
    explicit Daemon(DaemonOptions options) : options_(std::move(options)) {}
    Result<> prepare();
    void name_is_ours(Result<> answer);
    void stop(std::optional<Error> why);
    void give_up_waiting();

    const DaemonOptions options_;
    // Destroyed from the last to the first: what is above is used by what is below.
    SystemClock clock_;
    EventLog events_{clock_};
    Loop loop_;
    std::unique_ptr<StateStore> store_;
    std::unique_ptr<Bus> bus_;
    std::unique_ptr<Service> service_;
    std::unique_ptr<ObjectTree> objects_;
    std::unique_ptr<HostConditions> host_;
    Notifier notifier_;
    LoopHandle on_terminate_, on_interrupt_, on_hang_up_;
    Timer patience_;
    bool stopping_ = false;
    std::optional<Error> failure_;
};

}  // namespace backup
