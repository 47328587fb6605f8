// Pauses, holds and health on the bus: Manager.Pause, Resume, Inhibit and GetHealth.
#include <fcntl.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "daemon/ipc/manager_object.h"

namespace backup {

std::uint64_t ManagerObject::paused_until() const {
    const auto pause = served_.service.pause_now();
    if (!pause) return 0;
    return pause->until ? to_usec(*pause->until) : UINT64_MAX;
}

Result<> ManagerObject::pause(std::shared_ptr<Call> call) {
    const std::uint64_t usec = TRY(call->u64());
    TRY(call->no_options());
    std::optional<Timestamp> until;
    constexpr std::uint64_t kDay = std::uint64_t{86'400} * 1'000'000;
    if (!call->caller().sees_all && (usec == 0 || usec > kDay))
        return Error(ErrorKind::denied, ErrorCode::access_denied,
                     "a pause of more than a day is for administrators");
    // Longer than anybody waits means: until resumed.
    constexpr std::uint64_t kMost = std::uint64_t{100} * 366 * 86'400 * 1'000'000;
    if (usec != 0 && usec < kMost)
        until = served_.service.clock().now() + std::chrono::microseconds(usec);
    served_.service.pause(until, answer_when_done(call));
    return {};
}

Result<> ManagerObject::resume(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    served_.service.resume(answer_when_done(call));
    return {};
}

Result<> ManagerObject::get_health(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    const HealthReport report = served_.service.health_report();
    call->reply_with([&](sd_bus_message* message) {
        int r = sd_bus_message_append(message, "s", to_string(report.health));
        if (r >= 0) r = sd_bus_message_open_container(message, 'a', "a{sv}");
        for (const HealthFinding& finding : report.findings) {
            const wire::Dict dict = {{"level", to_string(finding.level)},
                                     {"code", finding.code},
                                     {"subject", finding.subject},
                                     {"reason", finding.reason},
                                     {"remedy", finding.remedy}};
            if (r >= 0) r = wire::append_dict(message, dict);
        }
        return r < 0 ? r : sd_bus_message_close_container(message);
    });
    return {};
}

// The caller is given one end of a pipe. When the last copy of it is closed, by wish or by death,
// ours becomes readable.
Result<> ManagerObject::inhibit(std::shared_ptr<Call> call) {
    std::string who = TRY(call->string());
    std::string why = TRY(call->string());
    TRY(call->no_options());
    if (who.empty()) return invalid_argument("who: say who asks");
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return Error::from_errno(errno, "make a pipe");
    UniqueFd ours(ends[0]), theirs(ends[1]);
    const std::uint64_t number =
        TRY(served_.service.inhibit(std::move(who), std::move(why), call->uid()));
    auto watch = served_.service.loop().watch(ours.get(), FdWatch::readable | FdWatch::disconnected,
                                              [this, number](int) {
                                                  // Not from within the watch that goes with it.
                                                  served_.service.loop().post([this, number] {
                                                      if (inhibitors_.erase(number) != 0)
                                                          served_.service.release(number);
                                                  });
                                              });
    if (!watch.ok()) {
        served_.service.release(number);
        return std::move(watch).error();
    }
    inhibitors_[number] = {std::move(ours), std::move(*watch)};
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", theirs.get()); });
    return {};
}

}  // namespace backup
