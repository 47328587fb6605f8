// Why a set's next run waits, on the bus: Set.ExplainSchedule and Set.GetSchedule.
#include <algorithm>

#include <systemd/sd-bus.h>

#include "daemon/ipc/set_object.h"

namespace backup {

std::uint64_t SetObject::blocked_since(const BackupSet& set) const {
    std::uint64_t since = 0;
    for (const Reason& reason : served_.service.waiting_reasons(set))
        since = since == 0 ? to_usec(reason.since) : std::min(since, to_usec(reason.since));
    return since;
}

Result<> SetObject::explain_schedule(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    const BackupSet* set = TRY(served_.service.find_set(id_));
    const auto conditions = served_.service.explain_schedule(*set);
    call->reply_with([&](sd_bus_message* message) {
        int r = sd_bus_message_open_container(message, 'a', "(sbs)");
        for (const auto& one : conditions)
            if (r >= 0)
                r = sd_bus_message_append(message, "(sbs)", one.condition.c_str(),
                                          static_cast<int>(one.is_met), one.text.c_str());
        return r < 0 ? r : sd_bus_message_close_container(message);
    });
    return {};
}

Result<> SetObject::get_schedule(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    const BackupSet* set = TRY(served_.service.find_set(id_));
    const auto conditions = served_.service.explain_schedule(*set);
    call->reply_with([&](sd_bus_message* message) {
        int r = sd_bus_message_open_container(message, 'a', "a{sv}");
        for (const auto& one : conditions) {
            wire::Dict dict = {{"condition", one.condition},
                               {"met", one.is_met},
                               {"text", one.text},
                               {"since", to_usec(one.since)},
                               {"until", one.until ? to_usec(*one.until) : std::uint64_t{0}}};
            if (r >= 0) r = wire::append_dict(message, dict);
        }
        return r < 0 ? r : sd_bus_message_close_container(message);
    });
    return {};
}

}  // namespace backup
