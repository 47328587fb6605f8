#include "ctl/client.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "backupd_config.h"
#include "common/path.h"
#include "ctl/exit_code.h"

namespace backup {

namespace {

constexpr const char* kName = BACKUPD_BUS_NAME;
const std::string kRoot = [] {
    std::string path = "/" BACKUPD_BUS_NAME;
    std::replace(path.begin(), path.end(), '.', '/');
    return path;
}();

// A password dialog may stand between the question and the answer; deriving a key takes its time
// too.
constexpr std::uint64_t kPatient = UINT64_MAX;
constexpr std::uint64_t kUsual = 60'000'000;

struct BusDeleter {
    void operator()(sd_bus* bus) const { sd_bus_flush_close_unref(bus); }
};
struct MessageDeleter {
    void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using Bus = std::unique_ptr<sd_bus, BusDeleter>;
using Message = std::unique_ptr<sd_bus_message, MessageDeleter>;

struct BusError {
    sd_bus_error error = SD_BUS_ERROR_NULL;
    ~BusError() { sd_bus_error_free(&error); }
};

ErrorKind kind_of(ErrorCode code) {
    switch (exit_code(code)) {
        case ExitCode::usage:
            return ErrorKind::invalid;
        case ExitCode::not_authorised:
            return ErrorKind::denied;
        case ExitCode::not_found:
        case ExitCode::repository_missing:
            return ErrorKind::not_found;
        case ExitCode::refused:
            return ErrorKind::conflict;
        case ExitCode::damage:
            return ErrorKind::corrupt;
        default:
            return ErrorKind::io;
    }
}

Error from_bus_error(const sd_bus_error& error, int result) {
    if (error.name == nullptr) {
        bool lost = result == -ECONNRESET || result == -ENOTCONN || result == -ETIMEDOUT ||
                    result == -EPIPE || result == -ESHUTDOWN;
        Error failure = Error::from_errno(
            -result, lost ? "the connection to backupd was lost" : "call backupd");
        return lost ? std::move(failure).with_code(ErrorCode::daemon_unreachable) : failure;
    }
    ErrorCode code = error_code_from_bus(error.name);
    std::string message = error.message != nullptr ? error.message : error.name;
    if (std::string_view(error.name) == SD_BUS_ERROR_NO_REPLY)
        message = "backupd did not answer\nsee what it is doing: backupctl log";
    if (code == ErrorCode::unsupported &&
        std::string_view(error.name) == SD_BUS_ERROR_UNKNOWN_METHOD)
        message = "the running backupd does not know this request; is it older than backupctl? (" +
                  message + ")";
    return {kind_of(code), code, message};
}

bool append(sd_bus_message* m, const Value& value);

bool append_names(sd_bus_message* m, const std::vector<std::string>& names) {
    if (sd_bus_message_open_container(m, 'a', "ay") < 0) return false;
    for (const auto& name : names)
        if (sd_bus_message_append_array(m, 'y', name.c_str(), name.size() + 1) < 0) return false;
    return sd_bus_message_close_container(m) >= 0;
}

bool append_texts(sd_bus_message* m, const std::vector<std::string>& texts) {
    if (sd_bus_message_open_container(m, 'a', "s") < 0) return false;
    for (const auto& text : texts)
        if (sd_bus_message_append(m, "s", text.c_str()) < 0) return false;
    return sd_bus_message_close_container(m) >= 0;
}

bool append_dict(sd_bus_message* m, const Dict& dict) {
    if (sd_bus_message_open_container(m, 'a', "{sv}") < 0) return false;
    for (const auto& [key, value] : dict.values()) {
        if (sd_bus_message_open_container(m, 'e', "sv") < 0) return false;
        if (sd_bus_message_append(m, "s", key.c_str()) < 0 || !append(m, value)) return false;
        if (sd_bus_message_close_container(m) < 0) return false;
    }
    return sd_bus_message_close_container(m) >= 0;
}

struct AppendVariant {
    sd_bus_message* m;
    template <typename Fill>
    bool in(const char* type, Fill fill) const {
        return sd_bus_message_open_container(m, 'v', type) >= 0 && fill() &&
               sd_bus_message_close_container(m) >= 0;
    }
    bool operator()(bool value) const {
        return sd_bus_message_append(m, "v", "b", int{value}) >= 0;
    }
    bool operator()(std::uint32_t value) const {
        return sd_bus_message_append(m, "v", "u", value) >= 0;
    }
    bool operator()(std::uint64_t value) const {
        return sd_bus_message_append(m, "v", "t", value) >= 0;
    }
    bool operator()(std::int64_t value) const {
        return sd_bus_message_append(m, "v", "x", value) >= 0;
    }
    bool operator()(double value) const { return sd_bus_message_append(m, "v", "d", value) >= 0; }
    bool operator()(const std::string& value) const {
        return sd_bus_message_append(m, "v", "s", value.c_str()) >= 0;
    }
    bool operator()(const FileName& value) const {
        return in("ay", [&] {
            return sd_bus_message_append_array(m, 'y', value.bytes.c_str(),
                                               value.bytes.size() + 1) >= 0;
        });
    }
    bool operator()(const std::vector<std::string>& values) const {
        return in("as", [&] { return append_texts(m, values); });
    }
    bool operator()(const std::vector<FileName>& values) const {
        std::vector<std::string> names;
        for (const auto& value : values) names.push_back(value.bytes);
        return in("aay", [&] { return append_names(m, names); });
    }
};
bool append(sd_bus_message* m, const Value& value) {
    return std::visit(AppendVariant{m}, value);
}

FileName read_name(sd_bus_message* m) {
    const void* data = nullptr;
    std::size_t size = 0;
    if (sd_bus_message_read_array(m, 'y', &data, &size) < 0) return {};
    std::string bytes(static_cast<const char*>(data), size);
    if (!bytes.empty() && bytes.back() == '\0') bytes.pop_back();
    return {std::move(bytes)};
}

// Reads what stands in a variant; types that no property of ours has are skipped.
std::optional<Value> read_contents(sd_bus_message* m, std::string_view type) {
    if (type == "s" || type == "o" || type == "g") {
        const char* text = nullptr;
        if (sd_bus_message_read_basic(m, type[0], &text) < 0) return std::nullopt;
        return Value(std::string(text));
    }
    if (type == "b") {
        int flag = 0;
        if (sd_bus_message_read_basic(m, 'b', &flag) < 0) return std::nullopt;
        return Value(flag != 0);
    }
    if (type == "u") {
        std::uint32_t number = 0;
        if (sd_bus_message_read_basic(m, 'u', &number) < 0) return std::nullopt;
        return Value(number);
    }
    if (type == "i") {
        std::int32_t number = 0;
        if (sd_bus_message_read_basic(m, 'i', &number) < 0) return std::nullopt;
        return Value(std::int64_t{number});
    }
    if (type == "t") {
        std::uint64_t number = 0;
        if (sd_bus_message_read_basic(m, 't', &number) < 0) return std::nullopt;
        return Value(number);
    }
    if (type == "x") {
        std::int64_t number = 0;
        if (sd_bus_message_read_basic(m, 'x', &number) < 0) return std::nullopt;
        return Value(number);
    }
    if (type == "d") {
        double number = 0;
        if (sd_bus_message_read_basic(m, 'd', &number) < 0) return std::nullopt;
        return Value(number);
    }
    if (type == "ay") return Value(read_name(m));
    if (type == "as" || type == "ao") {
        std::vector<std::string> texts;
        if (sd_bus_message_enter_container(m, 'a', type.substr(1).data()) < 0) return std::nullopt;
        const char* text = nullptr;
        while (sd_bus_message_read_basic(m, type[1], &text) > 0) texts.emplace_back(text);
        sd_bus_message_exit_container(m);
        return Value(std::move(texts));
    }
    if (type == "aay") {
        std::vector<FileName> names;
        if (sd_bus_message_enter_container(m, 'a', "ay") < 0) return std::nullopt;
        while (sd_bus_message_at_end(m, 0) == 0) names.push_back(read_name(m));
        sd_bus_message_exit_container(m);
        return Value(std::move(names));
    }
    sd_bus_message_skip(m, std::string(type).c_str());
    return std::nullopt;
}

bool read_dict(sd_bus_message* m, Dict& dict);

// A property that is itself a{sv} (Details) comes back through `nested`.
bool read_entry(sd_bus_message* m, Dict& dict, std::map<std::string, Dict>* nested) {
    const char* key = nullptr;
    const char* contents = nullptr;
    char type = 0;
    if (sd_bus_message_read_basic(m, 's', &key) <= 0) return false;
    if (sd_bus_message_peek_type(m, &type, &contents) <= 0 || type != 'v') return false;
    std::string inside = contents;
    if (sd_bus_message_enter_container(m, 'v', inside.c_str()) < 0) return false;
    if (inside == "a{sv}") {
        Dict inner;
        if (!read_dict(m, inner)) return false;
        if (nested != nullptr) (*nested)[key] = std::move(inner);
    } else if (auto value = read_contents(m, inside)) {
        dict.set(key, std::move(*value));
    }
    return sd_bus_message_exit_container(m) >= 0;
}

bool read_dict(sd_bus_message* m, Dict& dict, std::map<std::string, Dict>* nested) {
    if (sd_bus_message_enter_container(m, 'a', "{sv}") < 0) return false;
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        if (!read_entry(m, dict, nested)) return false;
        if (sd_bus_message_exit_container(m) < 0) return false;
    }
    return sd_bus_message_exit_container(m) >= 0;
}
bool read_dict(sd_bus_message* m, Dict& dict) {
    return read_dict(m, dict, nullptr);
}

Error garbled() {
    return {ErrorKind::io,
            "an answer of backupd could not be read: it does not match the interface"};
}

Result<std::string> read_text(const Message& m) {
    const char* text = nullptr;
    char type = 0;
    if (sd_bus_message_peek_type(m.get(), &type, nullptr) <= 0 || (type != 's' && type != 'o') ||
        sd_bus_message_read_basic(m.get(), type, &text) <= 0)
        return garbled();
    return std::string(text);
}

Result<UniqueFd> read_fd(const Message& m) {
    int fd = -1;
    if (sd_bus_message_read_basic(m.get(), 'h', &fd) <= 0) return garbled();
    int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);  // the message closes its own
    if (copy < 0) return Error::from_errno(errno, "keep a descriptor");
    return UniqueFd(copy);
}

Result<Dict> read_whole_dict(const Message& m) {
    Dict dict;
    if (!read_dict(m.get(), dict)) return garbled();
    return dict;
}

Result<std::vector<Dict>> read_dicts(const Message& m) {
    std::vector<Dict> list;
    if (sd_bus_message_enter_container(m.get(), 'a', "a{sv}") < 0) return garbled();
    while (sd_bus_message_at_end(m.get(), 0) == 0) {
        Dict dict;
        if (!read_dict(m.get(), dict)) return garbled();
        list.push_back(std::move(dict));
    }
    sd_bus_message_exit_container(m.get());
    return list;
}

void update(JobView& view, const Dict& changes) {
    auto text = [&](const char* key, std::string& into) {
        if (changes.has(key)) into = changes.text(key);
    };
    auto number = [&](const char* key, std::uint64_t& into) {
        if (changes.has(key)) into = changes.number(key);
    };
    number("Id", view.id);
    text("Kind", view.kind);
    text("Trigger", view.trigger);
    text("Object", view.target);
    text("State", view.state);
    text("Phase", view.phase);
    if (changes.has("Progress")) view.progress = changes.real("Progress");
    number("BytesDone", view.bytes_done);
    number("BytesTotal", view.bytes_total);
    number("ItemsDone", view.items_done);
    number("ItemsTotal", view.items_total);
    number("RateBytes", view.rate_bytes);
    number("StartedUSec", view.started_usec);
    number("EndedUSec", view.ended_usec);
    number("ExpectedEndUSec", view.expected_end_usec);
    number("ErrorCount", view.errors);
    text("Result", view.result);
    text("ErrorName", view.error_name);
    text("Message", view.message);
    text("Revision", view.revision);
}

}  // namespace

const std::string Client::kManager = kRoot;

struct Client::Impl {
    Bus bus;
    bool system = false;
    std::map<std::string, JobView> jobs;
    bool changed = false;
    bool daemon_gone = false;

    using Fill = std::function<bool(sd_bus_message*)>;
    Result<Message> call(const std::string& object, const std::string& interface,
                         const char* method, const Fill& fill, std::uint64_t timeout = kUsual) {
        sd_bus_message* raw = nullptr;
        int r = sd_bus_message_new_method_call(bus.get(), &raw, kName, object.c_str(),
                                               interface.c_str(), method);
        if (r < 0) return Error::from_errno(-r, "make a D-Bus message");
        Message request(raw);
        sd_bus_message_set_allow_interactive_authorization(request.get(), 1);
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
                         const Fill& fill, std::uint64_t timeout = kUsual) {
        return call(object, std::string(kName) + "." + interface, method, fill, timeout);
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
};

int Client::Impl::on_properties(sd_bus_message* m, void* self, sd_bus_error*) {
    auto& impl = *static_cast<Impl*>(self);
    const char* path = sd_bus_message_get_path(m);
    auto it = path == nullptr ? impl.jobs.end() : impl.jobs.find(path);
    const char* interface = nullptr;
    if (it == impl.jobs.end() || sd_bus_message_read_basic(m, 's', &interface) <= 0) return 0;
    Dict changes;
    if (std::string(interface) != std::string(kName) + ".Job" || !read_dict(m, changes)) return 0;
    update(it->second, changes);
    impl.changed = true;
    return 0;
}

int Client::Impl::on_finished(sd_bus_message* m, void* self, sd_bus_error*) {
    auto& impl = *static_cast<Impl*>(self);
    const char* path = sd_bus_message_get_path(m);
    const char *result = nullptr, *error_name = nullptr, *message = nullptr;
    if (path == nullptr || sd_bus_message_read(m, "sss", &result, &error_name, &message) <= 0)
        return 0;
    // May come before follow() asked: remembered, for it is said once.
    JobView& view = impl.jobs[path];
    view.object = path;
    Dict details;
    if (read_dict(m, details)) view.details = details;
    view.result = result;
    view.error_name = error_name;
    view.message = message;
    if (details.has("revision")) view.revision = details.text("revision");
    view.state = "done";
    view.finished = true;
    view.daemon_gone = false;
    impl.changed = true;
    return 0;
}

int Client::Impl::on_owner(sd_bus_message* m, void* self, sd_bus_error*) {
    const char *name = nullptr, *before = nullptr, *after = nullptr;
    if (sd_bus_message_read(m, "sss", &name, &before, &after) <= 0) return 0;
    // Restarted under our eyes counts, too: the new one knows nothing of the old one's runs.
    if (std::string_view(name) == kName && *before != '\0') static_cast<Impl*>(self)->lost();
    return 0;
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;
bool Client::on_system_bus() const {
    return impl_->system;
}

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

std::string explain(const Candidate& candidate) {
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
        for (const auto& candidate : candidates) message += "\n" + explain(candidate);
        message += how_to_start(candidates);
        return Error(ErrorKind::not_found, ErrorCode::daemon_unreachable, message);
    }
    auto impl = std::make_unique<Impl>();
    impl->system = best->system;
    impl->bus = std::move(best->bus);
    return std::unique_ptr<Client>(new Client(std::move(impl)));
}

Result<Dict> Client::properties(const std::string& object, const std::string& interface) {
    std::string name = std::string(kName) + "." + interface;
    Message reply =
        TRY(impl_->call(object, "org.freedesktop.DBus.Properties", "GetAll",
                        [&](auto* m) { return sd_bus_message_append(m, "s", name.c_str()) >= 0; }));
    return read_whole_dict(reply);
}

namespace {
Result<Client::NamedObjects> read_named(const Message& m) {
    Client::NamedObjects list;
    if (sd_bus_message_enter_container(m.get(), 'a', "(so)") < 0) return garbled();
    const char *name = nullptr, *object = nullptr;
    while (sd_bus_message_read(m.get(), "(so)", &name, &object) > 0)
        list.emplace_back(name, object);
    sd_bus_message_exit_container(m.get());
    std::sort(list.begin(), list.end());
    return list;
}
const auto no_options = [](sd_bus_message* m) { return append_dict(m, {}); };
auto only(const Dict& options) {
    return [&options](sd_bus_message* m) { return append_dict(m, options); };
}
}  // namespace

Result<Client::NamedObjects> Client::list_sets() {
    Message answer = TRY(impl_->ours(kManager, "Manager", "ListSets", no_options));
    return read_named(answer);
}
Result<Client::NamedObjects> Client::list_repositories() {
    Message answer = TRY(impl_->ours(kManager, "Manager", "ListRepositories", no_options));
    return read_named(answer);
}
Result<UniqueFd> Client::list_job_history(const Dict& options) {
    Message answer = TRY(impl_->ours(kManager, "Manager", "ListJobHistory", only(options)));
    return read_fd(answer);
}
Result<UniqueFd> Client::read_log(const Dict& options) {
    Message answer = TRY(impl_->ours(kManager, "Manager", "ReadLog", only(options)));
    return read_fd(answer);
}
Result<std::string> Client::create_set(const std::string& id, const Dict& config,
                                       const Dict& options) {
    Message answer = TRY(impl_->ours(
        kManager, "Manager", "CreateSet",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", id.c_str()) >= 0 && append_dict(m, config) &&
                   append_dict(m, options);
        },
        kPatient));
    return read_text(answer);
}
Result<> Client::delete_set(const std::string& id) {
    TRY(impl_->ours(
        kManager, "Manager", "DeleteSet",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", id.c_str()) >= 0 && append_dict(m, {});
        },
        kPatient));
    return {};
}
Result<std::string> Client::add_repository(const std::string& name, const Dict& config, int secret,
                                           const Dict& options) {
    Message answer = TRY(impl_->ours(
        kManager, "Manager", "AddRepository",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", name.c_str()) >= 0 && append_dict(m, config) &&
                   sd_bus_message_append(m, "h", secret) >= 0 && append_dict(m, options);
        },
        kPatient));
    return read_text(answer);
}
Result<> Client::remove_repository(const std::string& name) {
    TRY(impl_->ours(
        kManager, "Manager", "RemoveRepository",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", name.c_str()) >= 0 && append_dict(m, {});
        },
        kPatient));
    return {};
}
Result<> Client::reload() {
    TRY(impl_->ours(kManager, "Manager", "Reload", no_options, kPatient));
    return {};
}
Result<std::vector<Client::Problem>> Client::check_configuration() {
    Message m = TRY(impl_->ours(kManager, "Manager", "CheckConfiguration", no_options, kPatient));
    std::vector<Problem> problems;
    if (sd_bus_message_enter_container(m.get(), 'a', "(sus)") < 0) return garbled();
    const char *file = nullptr, *message = nullptr;
    std::uint32_t line = 0;
    while (sd_bus_message_read(m.get(), "(sus)", &file, &line, &message) > 0)
        problems.push_back({file, line, message});
    return problems;
}
Result<std::string> Client::show_configuration() {
    Message answer =
        TRY(impl_->ours(kManager, "Manager", "ShowConfiguration", no_options, kPatient));
    return read_text(answer);
}

Result<Client::SetConfiguration> Client::set_configuration(const std::string& set) {
    Message m = TRY(impl_->ours(
        set, "Set", "GetConfiguration", [](auto*) { return true; }, kPatient));
    SetConfiguration answer;
    if (!read_dict(m.get(), answer.config) ||
        sd_bus_message_read_basic(m.get(), 't', &answer.generation) <= 0)
        return garbled();
    return answer;
}
Result<> Client::configure(const std::string& set, const Dict& changes, std::uint64_t generation,
                           const Dict& options) {
    TRY(impl_->ours(
        set, "Set", "Configure",
        [&](auto* m) {
            return append_dict(m, changes) && sd_bus_message_append(m, "t", generation) >= 0 &&
                   append_dict(m, options);
        },
        kPatient));
    return {};
}
Result<std::string> Client::start_backup(const std::string& set, const Dict& options) {
    Message answer = TRY(impl_->ours(set, "Set", "StartBackup", only(options), kPatient));
    return read_text(answer);
}
Result<Client::Revisions> Client::list_revisions(const std::string& object,
                                                 const std::string& interface,
                                                 const Dict& options) {
    Message m =
        TRY(impl_->ours(object, interface.c_str(), "ListRevisions", only(options), kPatient));
    Revisions answer;
    answer.list = TRY(read_dicts(m));
    answer.next_page = TRY(read_text(m));
    return answer;
}
Result<Dict> Client::revision(const std::string& set, const std::string& revision) {
    Message answer = TRY(impl_->ours(
        set, "Set", "GetRevision",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", revision.c_str()) >= 0 && append_dict(m, {});
        },
        kPatient));
    return read_whole_dict(answer);
}

namespace {
auto revision_and_path(const std::string& revision, const std::string& path, const Dict& options) {
    return [&](sd_bus_message* m) {
        return sd_bus_message_append(m, "s", revision.c_str()) >= 0 &&
               sd_bus_message_append_array(m, 'y', path.c_str(), path.size() + 1) >= 0 &&
               append_dict(m, options);
    };
}
}  // namespace

Result<UniqueFd> Client::list_files(const std::string& set, const std::string& revision,
                                    const std::string& path, const Dict& options) {
    Message answer = TRY(
        impl_->ours(set, "Set", "ListFiles", revision_and_path(revision, path, options), kPatient));
    return read_fd(answer);
}
Result<Client::OpenedFile> Client::open_file(const std::string& set, const std::string& revision,
                                             const std::string& path) {
    Dict none;
    Message m =
        TRY(impl_->ours(set, "Set", "OpenFile", revision_and_path(revision, path, none), kPatient));
    OpenedFile answer;
    answer.content = TRY(read_fd(m));
    answer.job = TRY(read_text(m));
    answer.attributes = TRY(read_whole_dict(m));
    return answer;
}
Result<std::string> Client::verify(const std::string& set,
                                   const std::vector<std::string>& revisions, const Dict& options) {
    Message answer = TRY(impl_->ours(
        set, "Set", "Verify",
        [&](auto* m) { return append_texts(m, revisions) && append_dict(m, options); }, kPatient));
    return read_text(answer);
}

namespace {
auto secret_only(int secret) {
    return [secret](sd_bus_message* m) {
        return sd_bus_message_append(m, "h", secret) >= 0 && append_dict(m, {});
    };
}
}  // namespace

Result<> Client::unlock(const std::string& repository, int secret) {
    TRY(impl_->ours(repository, "Repository", "Unlock", secret_only(secret), kPatient));
    return {};
}
Result<Dict> Client::test(const std::string& repository, int secret) {
    Message answer =
        TRY(impl_->ours(repository, "Repository", "Test", secret_only(secret), kPatient));
    return read_whole_dict(answer);
}
Result<std::uint32_t> Client::remove_locks(const std::string& repository, const Dict& options) {
    Message m = TRY(impl_->ours(repository, "Repository", "RemoveLocks", only(options), kPatient));
    std::uint32_t removed = 0;
    if (sd_bus_message_read_basic(m.get(), 'u', &removed) <= 0) return garbled();
    return removed;
}
Result<std::vector<Dict>> Client::list_keys(const std::string& repository) {
    Message answer = TRY(impl_->ours(repository, "Repository", "ListKeys", no_options, kPatient));
    return read_dicts(answer);
}
Result<std::string> Client::add_key(const std::string& repository, int secret) {
    Message answer =
        TRY(impl_->ours(repository, "Repository", "AddKey", secret_only(secret), kPatient));
    return read_text(answer);
}
Result<> Client::remove_key(const std::string& repository, const std::string& key) {
    TRY(impl_->ours(
        repository, "Repository", "RemoveKey",
        [&](auto* m) {
            return sd_bus_message_append(m, "s", key.c_str()) >= 0 && append_dict(m, {});
        },
        kPatient));
    return {};
}
Result<std::string> Client::check(const std::string& repository, const Dict& options) {
    Message answer = TRY(impl_->ours(repository, "Repository", "Check", only(options), kPatient));
    return read_text(answer);
}
Result<Dict> Client::repository_details(const std::string& repository) {
    Message answer = TRY(impl_->ours(repository, "Repository", "GetDetails", no_options, kPatient));
    return read_whole_dict(answer);
}

Result<std::string> Client::restore(const std::string& set, const std::string& revision,
                                    const std::vector<std::string>& paths, int directory,
                                    const Dict& options) {
    Message answer = TRY(impl_->ours(
        kManager + "/restore", "Restore", directory < 0 ? "RestoreInPlace" : "RestoreTo",
        [&](auto* m) {
            return sd_bus_message_append(m, "ss", set.c_str(), revision.c_str()) >= 0 &&
                   append_names(m, paths) &&
                   (directory < 0 || sd_bus_message_append(m, "h", directory) >= 0) &&
                   append_dict(m, options);
        },
        kPatient));
    return read_text(answer);
}

namespace {
// A job whose object is gone, or never was, is an unknown object to the bus.
Error no_such_job(Error error, const std::string& object) {
    if (error.code() != ErrorCode::unsupported && error.code() != ErrorCode::none) return error;
    return {ErrorKind::not_found, ErrorCode::no_such_job,
            "no job " + Client::name_of_object(object) +
                " is running or has ended lately\nall of them: backupctl jobs"};
}
}  // namespace

Result<> Client::cancel(const std::string& job) {
    auto reply = impl_->ours(job, "Job", "Cancel", no_options, kPatient);
    if (!reply.ok()) return no_such_job(std::move(reply).error(), job);
    return {};
}
Result<UniqueFd> Client::job_report(const std::string& job) {
    auto reply = impl_->ours(job, "Job", "GetReport", no_options);
    if (!reply.ok()) return no_such_job(std::move(reply).error(), job);
    return read_fd(*reply);
}

Result<> Client::watch_jobs() {
    std::string sender = "type='signal',sender='" + std::string(kName) + "',";
    std::string jobs = "path_namespace='" + kManager + "/job',";
    const std::pair<std::string, sd_bus_message_handler_t> matches[] = {
        {sender + jobs + "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
         Impl::on_properties},
        {sender + jobs + "interface='" + kName + ".Job',member='Finished'", Impl::on_finished},
        {"type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
         "member='NameOwnerChanged',arg0='" +
             std::string(kName) + "'",
         Impl::on_owner},
    };
    for (const auto& [rule, handler] : matches) {
        int r = sd_bus_add_match(impl_->bus.get(), nullptr, rule.c_str(), handler, impl_.get());
        if (r < 0)
            return Error::from_errno(-r, "listen to backupd")
                .with_code(ErrorCode::daemon_unreachable);
    }
    return {};
}

Result<JobView> Client::follow(const std::string& job) {
    Message reply{nullptr};
    std::string interface = std::string(kName) + ".Job";
    auto answer = impl_->call(job, "org.freedesktop.DBus.Properties", "GetAll", [&](auto* m) {
        return sd_bus_message_append(m, "s", interface.c_str()) >= 0;
    });
    auto known = impl_->jobs.find(job);
    bool seen_end = known != impl_->jobs.end() && known->second.finished;
    if (!answer.ok()) {
        if (seen_end) return known->second;
        if (answer.error().code() == ErrorCode::daemon_unreachable) {
            // Gone between its promise and this question: the job is known by its number only.
            JobView& view = impl_->jobs[job];
            view.object = job;
            view.id = std::strtoull(job.c_str() + job.rfind('/') + 1, nullptr, 10);
            view.daemon_gone = true;
            return view;
        }
        return no_such_job(std::move(answer).error(), job);
    }
    Dict dict;
    std::map<std::string, Dict> nested;
    if (!read_dict(answer->get(), dict, &nested)) return garbled();
    JobView& view = impl_->jobs[job];
    view.object = job;
    update(view, dict);
    if (auto details = nested.find("Details"); details != nested.end() && !details->second.empty())
        view.details = details->second;
    if (view.state == "done") view.finished = true;
    if (impl_->daemon_gone && !view.finished) view.daemon_gone = true;
    return view;
}

const JobView& Client::view(const std::string& job) const {
    return impl_->jobs.at(job);
}

WaitEnd Client::wait(std::chrono::milliseconds most, int interrupt_fd) {
    auto deadline = std::chrono::steady_clock::now() + most;
    impl_->changed = false;
    while (true) {
        int r = 0;
        while ((r = sd_bus_process(impl_->bus.get(), nullptr)) > 0) {
        }
        if (r < 0 && !impl_->daemon_gone) impl_->lost();
        if (impl_->changed) return WaitEnd::changed;
        auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return WaitEnd::timeout;
        int events = sd_bus_get_events(impl_->bus.get());
        struct pollfd fds[2] = {
            {sd_bus_get_fd(impl_->bus.get()), static_cast<short>(events < 0 ? 0 : events), 0},
            {interrupt_fd, POLLIN, 0}};
        r = ::poll(fds, 2, static_cast<int>(std::min<std::int64_t>(left.count() + 1, 1'000'000)));
        if (r > 0 && (fds[1].revents & POLLIN) != 0) return WaitEnd::interrupted;
    }
}

std::string Client::job_object(std::uint64_t id) {
    return kManager + "/job/" + std::to_string(id);
}

std::string Client::name_of_object(const std::string& object) {
    std::size_t slash = object.rfind('/');
    if (slash == std::string::npos || slash == 0) return {};
    char* name = nullptr;
    if (sd_bus_path_decode(object.c_str(), object.substr(0, slash).c_str(), &name) <= 0) return {};
    std::string text(name);
    std::free(name);
    return text;
}

}  // namespace backup
