// Which daemon: the one on the system bus or the one on the session bus.
#include <cerrno>
#include <cstring>

#include <unistd.h>

#include "ctl/client_connection.h"

namespace backup {

namespace {

enum class Presence { no_bus, absent, startable, running };

struct Candidate {
    bool system = false;
    Bus bus;
    Presence presence = Presence::no_bus;
    std::string problem;
};

bool names_include(sd_bus* bus, const char* method, const char* name) {
    BusError error;
    sd_bus_message* raw = nullptr;
    if (sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                           "org.freedesktop.DBus", method, &error.error, &raw, "") < 0)
        return false;
    Message reply(raw);
    if (sd_bus_message_enter_container(reply.get(), 'a', "s") < 0) return false;
    const char* text = nullptr;
    while (sd_bus_message_read_basic(reply.get(), 's', &text) > 0)
        if (std::string_view(text) == name) return true;
    return false;
}

Candidate look_at(bool system) {
    Candidate candidate;
    candidate.system = system;
    sd_bus* raw = nullptr;
    int r = system ? sd_bus_open_system(&raw) : sd_bus_open_user(&raw);
    if (r < 0) {
        candidate.problem =
            r == -ENOMEDIUM
                ? "no address of one is known (DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR)"
                : std::strerror(-r);
        return candidate;
    }
    candidate.bus.reset(raw);
    BusError error;
    r = sd_bus_get_name_creds(raw, kName, 0, nullptr);
    if (r >= 0)
        candidate.presence = Presence::running;
    else if (r == -ENXIO)
        candidate.presence = names_include(raw, "ListActivatableNames", kName) ? Presence::startable
                                                                               : Presence::absent;
    else
        candidate.problem = std::strerror(-r);
    return candidate;
}

std::string why_not(const Candidate& candidate) {
    std::string which = candidate.system ? "system" : "session";
    if (candidate.presence == Presence::no_bus)
        return "the " + which + " bus cannot be reached: " + candidate.problem;
    return "there is no backupd on the " + which + " bus";
}

std::string how_to_start(const std::vector<Candidate>& candidates) {
    std::string text;
    for (const auto& candidate : candidates)
        text +=
            candidate.system
                ? "\nstart the machine's: systemctl enable --now backupd"
                : "\nstart your own: systemctl --user enable --now backupd, or run: backupd --user";
    return text;
}

}  // namespace

Result<std::unique_ptr<Client>> Client::connect(BusChoice choice) {
    std::vector<bool> order;  // true: the system bus
    bool system_first = ::geteuid() == 0;
    if (choice != BusChoice::user && (system_first || choice == BusChoice::system))
        order.push_back(true);
    if (choice != BusChoice::system) order.push_back(false);
    if (choice == BusChoice::automatic && !system_first) order.push_back(true);
    std::vector<Candidate> candidates;
    for (bool system : order) {
        candidates.push_back(look_at(system));
        if (candidates.back().presence == Presence::running) break;
    }
    Candidate* best = nullptr;
    for (auto& candidate : candidates)
        if (candidate.presence == Presence::running) best = &candidate;
    if (best == nullptr)
        for (auto& candidate : candidates)
            if (best == nullptr && candidate.presence == Presence::startable) best = &candidate;
    if (best == nullptr) {
        std::string message = "backupd is not running";
        for (const auto& candidate : candidates) message += "\n" + why_not(candidate);
        message += how_to_start(candidates);
        return Error(ErrorKind::not_found, ErrorCode::daemon_unreachable, message);
    }
    auto impl = std::make_unique<Impl>();
    impl->system = best->system;
    impl->bus = std::move(best->bus);
    return std::unique_ptr<Client>(new Client(std::move(impl)));
}

}  // namespace backup
