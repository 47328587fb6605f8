#include "daemon/ipc/host_conditions.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include <fcntl.h>
#include <systemd/sd-bus.h>

#include "common/log.h"

namespace backup {

namespace {

constexpr Duration kAgain = std::chrono::minutes(1);
constexpr Duration kLookAtPressure = std::chrono::seconds(4);
// Uploads have stopped by then; logind waits five seconds for us.
constexpr Duration kLetGo = std::chrono::seconds(1);
// It is over only when it is clearly less, or runs would begin and stop all the time.
constexpr double kOver = 0.7;

constexpr const char* kProperties = "org.freedesktop.DBus.Properties";
constexpr const char* kLogin = "org.freedesktop.login1";
constexpr const char* kLoginPath = "/org/freedesktop/login1";
constexpr const char* kLoginManager = "org.freedesktop.login1.Manager";

// NetworkManager's numbers.
constexpr std::uint64_t kMeteredYes = 1, kMeteredGuessYes = 3;
constexpr std::uint64_t kConnectivityNone = 1, kConnectivityPortal = 2;

const wire::Value* find(const wire::Dict& dict, std::string_view key) {
    auto found = std::ranges::find(dict, key, &wire::DictEntry::key);
    return found == dict.end() ? nullptr : &found->value;
}
std::uint64_t number(const wire::Dict& dict, std::string_view key) {
    const wire::Value* value = find(dict, key);
    if (value == nullptr) return 0;
    if (const auto* small = std::get_if<std::uint32_t>(&value->held)) return *small;
    if (const auto* large = std::get_if<std::uint64_t>(&value->held)) return *large;
    return 0;
}
bool flag(const wire::Dict& dict, std::string_view key) {
    const wire::Value* value = find(dict, key);
    const auto* held = value == nullptr ? nullptr : std::get_if<bool>(&value->held);
    return held != nullptr && *held;
}
std::string text(const wire::Dict& dict, std::string_view key) {
    const wire::Value* value = find(dict, key);
    const auto* held = value == nullptr ? nullptr : std::get_if<std::string>(&value->held);
    return held == nullptr ? std::string() : *held;
}

// a{sv}, without what is of a type that we have no word for.
wire::Dict read_properties(sd_bus_message* message) {
    wire::Dict dict;
    if (sd_bus_message_enter_container(message, 'a', "{sv}") < 0) return dict;
    while (sd_bus_message_enter_container(message, 'e', "sv") > 0) {
        const char* key = nullptr;
        const char* contents = nullptr;
        char type = 0;
        if (sd_bus_message_read_basic(message, 's', &key) < 0 ||
            sd_bus_message_peek_type(message, &type, &contents) < 0)
            break;
        const std::string_view signature = contents == nullptr ? "" : contents;
        if (sd_bus_message_enter_container(message, 'v', contents) < 0) break;
        if (signature == "b") {
            int value = 0;
            if (sd_bus_message_read_basic(message, 'b', &value) >= 0)
                dict.push_back({key, value != 0});
        } else if (signature == "u") {
            std::uint32_t value = 0;
            if (sd_bus_message_read_basic(message, 'u', &value) >= 0) dict.push_back({key, value});
        } else if (signature == "s") {
            const char* value = nullptr;
            if (sd_bus_message_read_basic(message, 's', &value) >= 0)
                dict.push_back({key, std::string(value)});
        } else {
            sd_bus_message_skip(message, contents);
        }
        if (sd_bus_message_exit_container(message) < 0) break;
        if (sd_bus_message_exit_container(message) < 0) break;
    }
    return dict;
}

}  // namespace

// The properties of one object of one service.
struct HostConditions::Followed {
    std::string service, path, interface;
    std::function<void(const wire::Dict&)> taken;
    BusSlot changes, owner, call;
};

HostConditions::HostConditions(Loop& loop, std::function<void(std::vector<Reason>)> changed)
    : loop_(loop), changed_(std::move(changed)) {
    again_ = loop_.timer([this] { connect(); });
    let_go_ = loop_.timer([this] { inhibitor_.reset(); });
    pressure_timer_ = loop_.timer([this] { look_at_pressure(); });
}

HostConditions::~HostConditions() {
    inhibit_call_.reset();
    slots_.clear();
    followed_.clear();
}

void HostConditions::start() {
    connect();
}

void HostConditions::connect() {
    auto bus = Bus::open(loop_, Scope::system, [this](const Error&) {
        // Not from within the bus that goes with it.
        loop_.post([this] { lost(); });
    });
    // Containers and small systems have none: no conditions.
    if (!bus.ok()) return again_.start(kAgain);
    bus_ = std::move(*bus);
    follow("org.freedesktop.UPower", "/org/freedesktop/UPower", "org.freedesktop.UPower",
           [this](const wire::Dict& now) { on_battery_ = flag(now, "OnBattery"); });
    follow("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager",
           "org.freedesktop.NetworkManager", [this](const wire::Dict& now) {
               const std::uint64_t metered = number(now, "Metered");
               is_metered_ = metered == kMeteredYes || metered == kMeteredGuessYes;
               const std::uint64_t reach = number(now, "Connectivity");
               is_offline_ = reach == kConnectivityNone || reach == kConnectivityPortal;
           });
    follow("net.hadess.PowerProfiles", "/net/hadess/PowerProfiles", "net.hadess.PowerProfiles",
           [this](const wire::Dict& now) {
               saves_power_ = text(now, "ActiveProfile") == "power-saver";
           });
    follow("org.freedesktop.UPower.PowerProfiles", "/org/freedesktop/UPower/PowerProfiles",
           "org.freedesktop.UPower.PowerProfiles", [this](const wire::Dict& now) {
               saves_power_too_ = text(now, "ActiveProfile") == "power-saver";
           });
    listen_to_logind();
}

void HostConditions::lost() {
    inhibit_call_.reset();
    slots_.clear();
    followed_.clear();
    bus_.reset();
    inhibitor_.reset();
    on_battery_ = is_metered_ = is_offline_ = saves_power_ = saves_power_too_ = is_leaving_ = false;
    tell();
    again_.start(kAgain);
}

void HostConditions::follow(const char* service, const char* path, const char* interface,
                            std::function<void(const wire::Dict&)> taken) {
    auto made = std::make_unique<Followed>();
    Followed& followed = *made;
    followed.service = service;
    followed.path = path;
    followed.interface = interface;
    followed.taken = std::move(taken);
    // Whatever changed, all is read: what is invalidated is not in the signal.
    followed.changes = bus_->on_signal(service, path, kProperties, "PropertiesChanged",
                                       [this, &followed](sd_bus_message*) { read(followed); });
    followed.owner =
        bus_->on_signal("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                        "NameOwnerChanged", [this, &followed](sd_bus_message* message) {
                            const char *name = nullptr, *before = nullptr, *after = nullptr;
                            if (sd_bus_message_read(message, "sss", &name, &before, &after) < 0 ||
                                name != followed.service)
                                return;
                            if (*after != '\0') return read(followed);
                            followed.call.reset();
                            followed.taken({});
                            tell();
                        });
    followed_.push_back(std::move(made));
    read(followed);
}

void HostConditions::read(Followed& followed) {
    followed.call = bus_->ask(
        followed.service.c_str(), followed.path.c_str(), kProperties, "GetAll",
        [&followed](sd_bus_message* message) {
            return sd_bus_message_append(message, "s", followed.interface.c_str());
        },
        [this, &followed](sd_bus_message* answer) {
            followed.taken(answer == nullptr ? wire::Dict{} : read_properties(answer));
            tell();
        });
}

void HostConditions::listen_to_logind() {
    for (const auto& [member, what] :
         {std::pair{"PrepareForSleep", "sleep"}, std::pair{"PrepareForShutdown", "go down"}})
        slots_.push_back(bus_->on_signal(kLogin, kLoginPath, kLoginManager, member,
                                         [this, what = what](sd_bus_message* message) {
                                             int is_going = 0;
                                             if (sd_bus_message_read(message, "b", &is_going) >= 0)
                                                 going_away(is_going != 0, what);
                                         }));
    if (is_busy_) take_inhibitor();
}

void HostConditions::set_busy(bool busy) {
    if (busy == is_busy_) return;
    is_busy_ = busy;
    if (busy) return take_inhibitor();
    inhibit_call_.reset();
    inhibitor_.reset();
}

void HostConditions::take_inhibitor() {
    if (bus_ == nullptr || inhibitor_ || is_leaving_) return;
    inhibit_call_ = bus_->ask(
        kLogin, kLoginPath, kLoginManager, "Inhibit",
        [](sd_bus_message* message) {
            return sd_bus_message_append(message, "ssss", "sleep:shutdown", "backupd",
                                         "what is being stored is brought to a safe state",
                                         "delay");
        },
        [this](sd_bus_message* answer) {
            int fd = -1;
            if (answer == nullptr || sd_bus_message_read(answer, "h", &fd) < 0) return;
            if (is_busy_ && !is_leaving_) inhibitor_ = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
        });
}

void HostConditions::going_away(bool is_going, const char* what) {
    is_leaving_ = is_going;
    log_info(is_going ? std::string("the machine is about to ") + what : "the machine is back");
    tell();
    if (is_going) return let_go_.start(kLetGo);
    let_go_.stop();
    if (is_busy_) take_inhibitor();
}

void HostConditions::watch_pressure(bool wanted, unsigned percent) {
    const unsigned now = wanted ? percent : 0;
    if (now == pressure_percent_) return;
    pressure_percent_ = now;
    look_at_pressure();
}

void HostConditions::look_at_pressure() {
    if (pressure_percent_ == 0) {
        pressure_timer_.stop();
        is_pressed_ = false;
        return tell();
    }
    pressure_timer_.start(kLookAtPressure);
    const double most = pressure_now().value_or(0);
    is_pressed_ = most >= pressure_percent_ * (is_pressed_ ? kOver : 1.0);
    tell();
}

void HostConditions::tell() {
    std::vector<Reason> reasons;
    const auto add = [&reasons](bool holds, Condition condition, const char* sentence) {
        if (holds) reasons.push_back({condition, sentence});
    };
    add(on_battery_, Condition::battery, "the machine runs on battery");
    add(is_metered_, Condition::metered, "the network is metered");
    add(is_offline_, Condition::offline, "the network leads nowhere");
    add(saves_power_ || saves_power_too_, Condition::power_saver, "the machine saves power");
    add(is_pressed_, Condition::pressure, "the machine is busy");
    add(is_leaving_, Condition::sleep, "the machine is about to sleep or to go down");
    if (reasons == told_) return;
    told_ = reasons;
    changed_(std::move(reasons));
}

std::optional<double> pressure_now() {
    const char* other = std::getenv("BACKUPD_PRESSURE_DIR");
    const std::string folder = other != nullptr ? other : "/proc/pressure";
    std::optional<double> most;
    for (const char* name : {"cpu", "io", "memory"}) {
        std::ifstream file(folder + "/" + name);
        std::string kind, average;
        if (!(file >> kind >> average) || kind != "some" || !average.starts_with("avg10="))
            continue;
        const double percent = std::atof(average.c_str() + 6);
        most = std::max(most.value_or(0), percent);
    }
    return most;
}

}  // namespace backup
