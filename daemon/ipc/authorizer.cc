#include "daemon/ipc/authorizer.h"

#include <vector>

#include <systemd/sd-bus.h>

#include "backupd_config.h"

namespace backup {

namespace {

constexpr const char* kPolkit = "org.freedesktop.PolicyKit1";
constexpr const char* kPath = "/org/freedesktop/PolicyKit1/Authority";
constexpr const char* kInterface = "org.freedesktop.PolicyKit1.Authority";
constexpr std::uint32_t kAllowInteraction = 1;
// For a person who reads a dialog and looks for the password.
constexpr Duration kPatience = std::chrono::minutes(5);

Error refused(const std::string& why) {
    return {ErrorKind::denied, ErrorCode::access_denied, why};
}

std::string cancellation_id(std::uint64_t id) {
    return "backupd-" + std::to_string(id);
}

}  // namespace

void Authorizer::ask(const std::string& sender, std::string_view action, bool interactive,
                     std::function<void(Result<>)> done) {
    const std::uint64_t id = ++last_;
    const std::string name = BACKUPD_BUS_NAME "." + std::string(action);
    if (interactive && !departures_)
        departures_ = bus_.on_signal(
            "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
            "NameOwnerChanged", [this](sd_bus_message* message) {
                const char *who = "", *before = "", *now = "";
                if (sd_bus_message_read(message, "sss", &who, &before, &now) > 0 && *now == '\0')
                    left(who);
            });
    Question& question = questions_[id];
    question.sender = sender;
    question.done = std::move(done);
    BusSlot slot = bus_.ask(
        kPolkit, kPath, kInterface, "CheckAuthorization",
        [&](sd_bus_message* message) {
            return sd_bus_message_append(
                message, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s", sender.c_str(),
                name.c_str(), 0, interactive ? kAllowInteraction : 0u, cancellation_id(id).c_str());
        },
        [this, id, name](sd_bus_message* answer) { answered(id, answer, name); },
        {.starts_service = true, .patience = kPatience});
    if (!slot) return finish(id, refused("polkit cannot be asked (" + name + ")"));
    question.slot = std::move(slot);
}

void Authorizer::answered(std::uint64_t id, sd_bus_message* answer, const std::string& action) {
    int is_granted = 0, is_challenge = 0;
    if (answer == nullptr)
        return finish(id, refused("only root may do this here: there is no polkit that could "
                                  "say who else may (" +
                                  action + ")"));
    if (sd_bus_message_enter_container(answer, 'r', "bba{ss}") <= 0 ||
        sd_bus_message_read(answer, "bb", &is_granted, &is_challenge) < 0)
        return finish(id, refused("polkit's answer cannot be understood (" + action + ")"));
    if (is_granted != 0) return finish(id, {});
    if (is_challenge == 0) return finish(id, refused("polkit does not allow it (" + action + ")"));
    finish(id, Error(ErrorKind::denied, ErrorCode::consent_needed,
                     "polkit wants to see an administrator's password first, and nobody could be "
                     "asked for it (" +
                         action + ")"));
}

void Authorizer::finish(std::uint64_t id, Result<> answer) {
    auto found = questions_.find(id);
    if (found == questions_.end()) return;
    auto done = std::move(found->second.done);
    questions_.erase(found);
    if (questions_.empty()) departures_.reset();
    done(std::move(answer));
}

// The dialog on somebody's screen goes too.
void Authorizer::left(const std::string& name) {
    std::vector<std::uint64_t> gone;
    for (const auto& [id, question] : questions_)
        if (question.sender == name) gone.push_back(id);
    for (const std::uint64_t id : gone) {
        cancelling_ = bus_.ask(
            kPolkit, kPath, kInterface, "CancelCheckAuthorization",
            [&](sd_bus_message* message) {
                return sd_bus_message_append(message, "s", cancellation_id(id).c_str());
            },
            [](sd_bus_message*) {});
        finish(id, refused("the caller has left"));
    }
}

}  // namespace backup
