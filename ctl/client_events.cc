// All that happens at the daemon, for those who watch it.
#include <utility>

#include "ctl/client_connection.h"

namespace backup {

namespace {

constexpr const char* kProperties = "org.freedesktop.DBus.Properties";
constexpr const char* kObjectManager = "org.freedesktop.DBus.ObjectManager";

std::string interface_of(const char* part) {
    return std::string(kName) + "." + part;
}

}  // namespace

int Client::Impl::on_event(sd_bus_message* m, void* self, sd_bus_error*) {
    using Kind = DaemonEvent::Kind;
    auto& impl = *static_cast<Impl*>(self);
    const auto tell = [&](Kind kind, std::string object, std::string text = {}) {
        impl.events.push_back({kind, std::move(object), std::move(text)});
        impl.changed = true;
        return 0;
    };
    const char* path = sd_bus_message_get_path(m);
    if (path == nullptr) return 0;
    const char *first = nullptr, *second = nullptr, *third = nullptr;
    if (sd_bus_message_is_signal(m, kProperties, "PropertiesChanged") > 0) {
        if (sd_bus_message_read_basic(m, 's', &first) <= 0 || first != interface_of("Set"))
            return 0;
        // Many at once are one.
        if (!impl.events.empty() && impl.events.back().kind == Kind::set_changed &&
            impl.events.back().object == path)
            return 0;
        return tell(Kind::set_changed, path);
    }
    if (sd_bus_message_is_signal(m, interface_of("Manager").c_str(), "JobNew") > 0) {
        std::uint64_t id = 0;
        if (sd_bus_message_read(m, "to", &id, &first) <= 0) return 0;
        return tell(Kind::job_new, first);
    }
    if (sd_bus_message_is_signal(m, interface_of("Set").c_str(), "RevisionCommitted") > 0) {
        if (sd_bus_message_read(m, "so", &first, &second) <= 0) return 0;
        return tell(Kind::revision, path, first);
    }
    if (sd_bus_message_is_signal(m, kObjectManager, nullptr) > 0) {
        if (sd_bus_message_read_basic(m, 'o', &first) <= 0) return 0;
        if (!std::string_view(first).starts_with(kManager + "/set/")) return 0;
        return tell(Kind::sets_changed, first);
    }
    if (sd_bus_message_is_signal(m, "org.freedesktop.DBus", "NameOwnerChanged") > 0) {
        if (sd_bus_message_read(m, "sss", &first, &second, &third) <= 0 ||
            std::string_view(first) != kName)
            return 0;
        if (*second != '\0') tell(Kind::gone, {});
        if (*third != '\0') tell(Kind::back, {});
    }
    return 0;
}

Result<> Client::watch_events() {
    const std::string ours = "type='signal',sender='" + std::string(kName) + "',";
    const std::string rules[] = {
        ours + "path_namespace='" + kManager + "/set',interface='" + kProperties +
            "',member='PropertiesChanged'",
        ours + "path='" + kManager + "',interface='" + interface_of("Manager") +
            "',member='JobNew'",
        ours + "path_namespace='" + kManager + "/set',interface='" + interface_of("Set") +
            "',member='RevisionCommitted'",
        ours + "path='" + kManager + "',interface='" + kObjectManager + "'",
        "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
        "member='NameOwnerChanged',arg0='" +
            std::string(kName) + "'",
    };
    for (const std::string& rule : rules) {
        int r =
            sd_bus_add_match(impl_->bus.get(), nullptr, rule.c_str(), Impl::on_event, impl_.get());
        if (r < 0)
            return Error::from_errno(-r, "listen to backupd")
                .with_code(ErrorCode::daemon_unreachable);
    }
    return {};
}

std::vector<DaemonEvent> Client::take_events() {
    return std::exchange(impl_->events, {});
}

bool Client::is_connected() const {
    return !impl_->bus_gone;
}

}  // namespace backup
