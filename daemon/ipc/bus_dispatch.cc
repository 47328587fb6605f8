// Who calls, and may he: between the arrival of a method call and its handler.
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "common/log.h"
#include "daemon/ipc/authorizer.h"
#include "daemon/ipc/bus.h"

namespace backup {

namespace {

Error unknown_caller() {
    return {ErrorKind::denied, ErrorCode::access_denied, "the bus does not tell who is calling"};
}

// The answer to GetConnectionCredentials. Without a uid he is nobody; without groups he has none.
Result<Caller> read_caller(sd_bus_message* answer) {
    Caller caller;
    bool is_known = false;
    if (answer == nullptr || sd_bus_message_enter_container(answer, 'a', "{sv}") <= 0)
        return unknown_caller();
    int r = 0;
    while ((r = sd_bus_message_enter_container(answer, 'e', "sv")) > 0) {
        const char* key = "";
        if (sd_bus_message_read_basic(answer, 's', &key) <= 0) return unknown_caller();
        if (std::string_view(key) == "UnixUserID") {
            if (sd_bus_message_read(answer, "v", "u", &caller.uid) <= 0) return unknown_caller();
            is_known = true;
        } else if (std::string_view(key) == "UnixGroupIDs") {
            const void* groups = nullptr;
            std::size_t bytes = 0;
            if (sd_bus_message_enter_container(answer, 'v', "au") <= 0 ||
                sd_bus_message_read_array(answer, 'u', &groups, &bytes) < 0 ||
                sd_bus_message_exit_container(answer) < 0)
                return unknown_caller();
            const auto* first = static_cast<const std::uint32_t*>(groups);
            caller.gids.assign(first, first + bytes / sizeof(std::uint32_t));
        } else if (sd_bus_message_skip(answer, "v") < 0) {
            return unknown_caller();
        }
        if (sd_bus_message_exit_container(answer) < 0) return unknown_caller();
    }
    if (r < 0 || !is_known) return unknown_caller();
    caller.sees_all = caller.uid == 0;
    return caller;
}

// What a request that shows or gives back asks for besides.
struct Besides {
    bool all = false, as_root = false;
};

// Reads the options, which are the last argument, and leaves the message as it was. What cannot be
// read asks for nothing: the handler says what is wrong with it.
Besides besides(sd_bus_message* message, const Interface::Method& method) {
    Besides asked;
    constexpr std::string_view kOptions = "a{sv}";
    if ((method.access != Access::browse && method.access != Access::restore) ||
        !method.in.ends_with(kOptions))
        return asked;
    const std::string before = method.in.substr(0, method.in.size() - kOptions.size());
    if (before.empty() || sd_bus_message_skip(message, before.c_str()) >= 0) {
        if (auto options = wire::read_dict(message); options.ok()) {
            wire::DictReader reader(std::move(*options));
            asked.all = reader.boolean("all").value_or(false);
            asked.as_root =
                method.access == Access::restore && reader.boolean("as-root").value_or(false);
        }
    }
    if (sd_bus_message_rewind(message, 1) < 0) return {};
    return asked;
}

const char* action_of(Access access, const Besides& asked) {
    if (asked.as_root) return "restore-all";
    if (asked.all) return "browse-all";
    switch (access) {
        case Access::own:
        case Access::browse:
        case Access::restore:
            return "browse";
        case Access::start_backup:
            return "start-backup";
        case Access::pause:
            return "pause";
        case Access::requester:
        case Access::manage:
            return "manage";
        case Access::remove:
            return "delete";
        case Access::anyone:
        case Access::root:
            break;
    }
    return "";
}

}  // namespace

// Root may do all. Of the others polkit is asked, but for plain status and what is their own; each
// answer is logged.
void Bus::judge(const std::string& path, const Interface& interface,
                const Interface::Method& method, std::shared_ptr<Call> call) {
    BusObject* object = find(path, interface);
    if (object == nullptr)
        return call->fail(Error(ErrorKind::not_found, "the object " + path + " is gone"));
    const bool is_own =
        method.access == Access::requester && object->is_own(call->uid(), method.name);
    call->as_root_ = call->uid() == 0;
    if (call->uid() == 0 || method.access == Access::anyone || is_own)
        return handle(*object, method, call);
    if (method.access == Access::root)
        return call->fail(Error(ErrorKind::denied, ErrorCode::access_denied,
                                "only root may call " + method.name));
    const bool interactive =
        sd_bus_message_get_allow_interactive_authorization(call->message_.get()) > 0;
    const Besides asked = besides(call->message_.get(), method);
    const std::string action = action_of(method.access, asked);
    authorizer_->ask(call->sender_, action, interactive,
                     [this, call, path, &interface, &method, action, asked](Result<> answer) {
                         const std::string what = "uid " + std::to_string(call->uid()) + ", " +
                                                  method.name + " of " + path + " (" + action +
                                                  "): ";
                         if (!answer.ok()) {
                             log_notice(what + "refused: " + answer.error().message());
                             return call->fail(answer.error());
                         }
                         log_info(what + "allowed by polkit");
                         call->caller_.sees_all = action == "manage" || asked.all || asked.as_root;
                         call->as_root_ = asked.as_root;
                         BusObject* now = find(path, interface);
                         if (now != nullptr) return handle(*now, method, call);
                         call->fail(Error(ErrorKind::not_found, "the object " + path + " is gone"));
                     });
}

void Bus::handle(BusObject& object, const Interface::Method& method,
                 const std::shared_ptr<Call>& call) {
    auto handled = method.handler(object, call);
    if (!handled.ok()) call->fail(handled.error());
}

void Bus::ask_for_caller(const std::string& sender, std::function<void(Result<Caller>)> done) {
    const std::uint64_t id = ++last_asked_;
    BusSlot slot = ask(
        "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
        "GetConnectionCredentials",
        [&](sd_bus_message* message) {
            return sd_bus_message_append(message, "s", sender.c_str());
        },
        [this, id, done](sd_bus_message* answer) {
            const BusSlot asked = std::move(credentials_[id]);
            credentials_.erase(id);
            done(read_caller(answer));
        });
    if (!slot) return done(unknown_caller());
    credentials_[id] = std::move(slot);
}

}  // namespace backup
