// What a Client holds: its bus, and the jobs it keeps up to date. For ctl/client*.cc only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "ctl/bus_values.h"
#include "ctl/client.h"
#include "ctl/password_agent.h"

namespace backup {

constexpr std::uint64_t kUsual = 60'000'000;
// A password dialog may stand between the question and the answer; deriving a key takes its time
// too.
constexpr std::uint64_t kPatient = UINT64_MAX;

inline const auto no_options = [](sd_bus_message* m) { return append_dict(m, {}); };
inline auto only(const Dict& options) {
    return [&options](sd_bus_message* m) { return append_dict(m, options); };
}

struct Client::Impl {
    Bus bus;
    bool system = false;
    bool all_users = false;
    std::unique_ptr<PasswordAgent> agent;
    std::map<std::string, JobView> jobs;
    bool changed = false;
    bool daemon_gone = false;
    bool bus_gone = false;
    std::vector<DaemonEvent> events;

    using Fill = std::function<bool(sd_bus_message*)>;
    // `asks`: somebody may be asked for a password before the answer comes.
    Result<Message> call(const std::string& object, const std::string& interface,
                         const char* method, const Fill& fill, std::uint64_t timeout = kUsual,
                         bool asks = true) {
        auto answer = call_once(object, interface, method, fill, timeout, asks);
        const bool wants_consent =
            !answer.ok() && answer.error().code() == ErrorCode::consent_needed;
        if (!wants_consent || !asks || !system || agent) return answer;
        agent = PasswordAgent::start();
        if (!agent) return answer;
        return call_once(object, interface, method, fill, kPatient, asks);
    }
    Result<Message> call_once(const std::string& object, const std::string& interface,
                              const char* method, const Fill& fill, std::uint64_t timeout,
                              bool asks) {
        sd_bus_message* raw = nullptr;
        int r = sd_bus_message_new_method_call(bus.get(), &raw, kName, object.c_str(),
                                               interface.c_str(), method);
        if (r < 0) return Error::from_errno(-r, "make a D-Bus message");
        Message request(raw);
        sd_bus_message_set_allow_interactive_authorization(request.get(), asks ? 1 : 0);
        if (!fill(request.get()))
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "an argument cannot be sent over D-Bus; is it valid UTF-8?");
        BusError error;
        sd_bus_message* reply = nullptr;
        r = sd_bus_call(bus.get(), request.get(), timeout, &error.error, &reply);
        if (r < 0) return from_bus_error(error.error, r);
        return Message(reply);
    }
    Result<Message> ours(const std::string& object, const char* interface, const char* method,
                         const Fill& fill, std::uint64_t timeout = kUsual, bool asks = true) {
        return call(object, std::string(kName) + "." + interface, method, fill, timeout, asks);
    }

    // Options of a method that shows what is stored.
    Dict browsing(Dict options = {}) const {
        if (all_users) options.set("all", Value(true));
        return options;
    }

    void lost() {
        daemon_gone = true;
        changed = true;
        for (auto& [object, view] : jobs)
            if (!view.finished) view.daemon_gone = true;
    }

    static int on_properties(sd_bus_message* m, void* self, sd_bus_error*);
    static int on_finished(sd_bus_message* m, void* self, sd_bus_error*);
    static int on_owner(sd_bus_message* m, void* self, sd_bus_error*);
    static int on_event(sd_bus_message* m, void* self, sd_bus_error*);
};

}  // namespace backup
