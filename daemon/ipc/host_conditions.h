// HostConditions finds out what the machine is in the middle of: on battery, on a network that
// costs or leads nowhere, saving power, under pressure, about to sleep. It listens to the system
// bus and never starts a service there; a service that is absent is no condition. Loop thread only.
//
// While jobs run it holds a delay inhibitor of logind: told that the machine is about to sleep or
// to go down, it says so (uploads stop where they are) and lets go a second later.
//
// Failure: no system bus, or one that is lost, is looked for again each minute.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/unique_fd.h"
#include "daemon/ipc/bus.h"
#include "daemon/runtime/loop.h"
#include "daemon/schedule/reason.h"

namespace backup {

class HostConditions {
  public:
    // `changed` gets all that is not as runs would like it, each time that this changes.
    HostConditions(Loop& loop, std::function<void(std::vector<Reason>)> changed);
    ~HostConditions();

    void start();
    // Whether any set wants to know of pressure, and from which percentage on.
    void watch_pressure(bool wanted, unsigned percent);
    // Jobs run: the machine is asked to give us a moment before it sleeps.
    void set_busy(bool busy);

  private:
    struct Followed;

    void connect();
    void lost();
    void follow(const char* service, const char* path, const char* interface,
                std::function<void(const wire::Dict&)> taken);
    void read(Followed& followed);
    void listen_to_logind();
    void take_inhibitor();
    void going_away(bool is_going, const char* what);
    void look_at_pressure();
    void tell();

    Loop& loop_;
    const std::function<void(std::vector<Reason>)> changed_;
    std::unique_ptr<Bus> bus_;
    std::vector<std::unique_ptr<Followed>> followed_;  // before the bus goes
    std::vector<BusSlot> slots_;
    BusSlot inhibit_call_;
    UniqueFd inhibitor_;
    Timer again_, let_go_, pressure_timer_;
    unsigned pressure_percent_ = 0;  // 0: nobody asks
    bool is_busy_ = false;
    bool on_battery_ = false, is_metered_ = false, is_offline_ = false;
    bool saves_power_ = false, saves_power_too_ = false;  // by either name of that service
    bool is_pressed_ = false, is_leaving_ = false;
    std::vector<Reason> told_;
};

// The largest "some avg10" of the files of /proc/pressure, in percent; nothing: the kernel does not
// tell. Reads from BACKUPD_PRESSURE_DIR in the environment instead, for tests.
std::optional<double> pressure_now();

}  // namespace backup
