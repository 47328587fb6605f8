#include "daemon/ipc/bus.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "common/log.h"
#include "common/path.h"
#include "daemon/access/told_error.h"
#include "daemon/ipc/authorizer.h"

namespace backup {

namespace {

constexpr unsigned kMostPendingCalls = 32;  // per sender, and per uid but root's
constexpr int kMostMessagesPerTurn = 64;    // fair to everything else on the loop

std::uint64_t monotonic_usec() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

Error malformed(std::string_view what) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "malformed argument: " + std::string(what));
}

Error too_many_calls() {
    return {ErrorKind::conflict, ErrorCode::limits_exceeded, "too many calls wait for an answer"};
}

Error bus_error(int error_number, std::string_view what) {
    return Error::from_errno(error_number < 0 ? -error_number : error_number, what);
}

}  // namespace

void BusCloser::operator()(sd_bus* bus) const {
    sd_bus_close_unref(bus);
}
void BusCloser::operator()(sd_bus_message* message) const {
    sd_bus_message_unref(message);
}
void BusCloser::operator()(sd_bus_slot* slot) const {
    sd_bus_slot_unref(slot);
}

// ---- Call
// ----------------------------------------------------------------------------------------------------------------

Call::Call(Bus& bus, sd_bus_message* message) : bus_(&bus), message_(sd_bus_message_ref(message)) {
    if (const char* sender = sd_bus_message_get_sender(message)) sender_ = sender;
    ++bus_->pending_calls_[sender_];
}

Call::~Call() {
    if (!answered_)
        fail(Error(ErrorKind::cancelled, ErrorCode::shutting_down, "the daemon is stopping"));
    auto found = bus_->pending_calls_.find(sender_);
    if (found != bus_->pending_calls_.end() && --found->second == 0)
        bus_->pending_calls_.erase(found);
    if (!is_counted_) return;
    auto of_uid = bus_->pending_of_.find(caller_.uid);
    if (of_uid != bus_->pending_of_.end() && --of_uid->second == 0) bus_->pending_of_.erase(of_uid);
}

std::string_view Call::member() const {
    return sd_bus_message_get_member(message_.get());
}

Result<std::string> Call::string() {
    return wire::read_string(message_.get());
}
Result<std::uint64_t> Call::u64() {
    return wire::read_u64(message_.get());
}
Result<bool> Call::boolean() {
    int value = 0;
    if (sd_bus_message_read_basic(message_.get(), 'b', &value) < 0) return malformed("boolean");
    return value != 0;
}
Result<std::string> Call::file_name() {
    return wire::read_file_name(message_.get());
}
Result<std::vector<std::string>> Call::file_names() {
    return wire::read_file_names(message_.get());
}
Result<std::vector<std::string>> Call::strings() {
    return wire::read_strings(message_.get());
}
Result<wire::Dict> Call::dict() {
    return wire::read_dict(message_.get());
}

Result<UniqueFd> Call::descriptor() {
    int fd = -1;
    if (sd_bus_message_read_basic(message_.get(), 'h', &fd) < 0) return malformed("descriptor");
    UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!copy) return Error::from_errno(errno, "copy a descriptor");
    return copy;
}

Result<wire::DictReader> Call::options() {
    wire::DictReader options(TRY(dict()));
    if (access_ == Access::browse || access_ == Access::restore) (void)options.boolean("all");
    return options;
}

Result<> Call::no_options() {
    return TRY(options()).finish();
}

void Call::reply() {
    reply_with([](sd_bus_message*) { return 0; });
}

void Call::reply(const std::vector<wire::Value>& values) {
    reply_with([&](sd_bus_message* message) {
        for (const wire::Value& value : values)
            if (int r = wire::append_value(message, value); r < 0) return r;
        return 0;
    });
}

void Call::reply_with(const std::function<int(sd_bus_message*)>& fill) {
    assert(!answered_);
    answered_ = true;
    if (!sd_bus_message_get_expect_reply(message_.get())) return;
    sd_bus_message* made = nullptr;
    int r = sd_bus_message_new_method_return(message_.get(), &made);
    std::unique_ptr<sd_bus_message, BusCloser> answer(made);
    if (r >= 0) r = fill(made);
    if (r >= 0) r = sd_bus_send(nullptr, made, nullptr);
    if (r < 0 && r != -ENOTCONN && r != -ECONNRESET) {
        log_warning("cannot answer " + std::string(member()) + ": " + std::strerror(-r));
        answered_ = false;
        fail(bus_error(r, "answer the call"));
    }
}

namespace {

// Lines stay lines: the first says what happened, the others what more there is to say.
std::string printable_lines(std::string_view text) {
    std::string lines;
    for (;;) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        lines += printable(text.substr(0, end));
        if (end == text.size()) return lines;
        lines += '\n';
        text.remove_prefix(end + 1);
    }
}

}  // namespace

void Call::fail(const Error& error) {
    assert(!answered_);
    answered_ = true;
    if (error.code() == ErrorCode::access_denied || error.code() == ErrorCode::consent_needed)
        log_notice("refused to uid " + std::to_string(caller_.uid) + ": " + std::string(member()));
    if (!sd_bus_message_get_expect_reply(message_.get())) return;
    const Error told = told_to(caller_, error);
    if (told.message() != error.message())
        log_warning(std::string(member()) + " for uid " + std::to_string(caller_.uid) + ": " +
                    error.message());
    sd_bus_error text = SD_BUS_ERROR_NULL;
    sd_bus_error_set(&text, wire::error_name(told).c_str(),
                     printable_lines(told.message()).c_str());
    sd_bus_reply_method_error(message_.get(), &text);
    sd_bus_error_free(&text);
}

// ---- Bus
// -----------------------------------------------------------------------------------------------------------------

struct Bus::Registration {
    Bus* bus;
    const Interface* interface;
    BusObject* object;
    BusSlot slot;
    std::map<std::string, wire::Value, std::less<>> told;  // values last seen by the bus
};

struct Bus::Node {
    std::vector<std::unique_ptr<Registration>> registrations;
    Duration pace = Duration::zero();
    std::uint64_t last_told = 0;  // monotonic microseconds
};

Bus::Bus(Loop& loop, Scope scope, std::function<void(Error)> on_lost)
    : loop_(loop),
      scope_(scope),
      on_lost_(std::move(on_lost)),
      authorizer_(std::make_unique<Authorizer>(*this)) {}

Result<std::unique_ptr<Bus>> Bus::open(Loop& loop, Scope scope,
                                       std::function<void(Error)> on_lost) {
    const char* which = scope == Scope::system ? "system" : "session";
    sd_bus* raw = nullptr;
    int r = scope == Scope::system ? sd_bus_open_system(&raw) : sd_bus_open_user(&raw);
    if (r < 0)
        return bus_error(r, "connect to the " + std::string(which) + " bus")
            .with_code(ErrorCode::offline);
    std::unique_ptr<Bus> bus(new Bus(loop, scope, std::move(on_lost)));
    bus->bus_.reset(raw);
    sd_bus_set_exit_on_disconnect(raw, 0);
    bus->timer_ = loop.timer([] {});  // waking up is all it is for
    bus->pace_timer_ = loop.timer([] {});
    bus->prepare_ = loop.before_sleep([owner = bus.get()] { owner->turn(); });
    return bus;
}

Bus::~Bus() {
    prepare_.reset();
    poll_.reset();
    name_slot_.reset();
    nodes_.clear();
    managers_.clear();
    credentials_.clear();
    authorizer_.reset();  // calls that wait for an answer go here; they still use pending_calls_
    bus_.reset();
}

void Bus::turn() {
    flush_changes();
    int r = 0;
    for (int n = 0; n < kMostMessagesPerTurn; ++n) {
        r = sd_bus_process(bus_.get(), nullptr);
        if (r <= 0) break;
    }
    if (r < 0) return lost(-r);
    flush_changes();
    int events = sd_bus_get_events(bus_.get());
    if (events < 0) return lost(-events);
    int mask = ((events & POLLIN) != 0 ? FdWatch::readable : 0) |
               ((events & POLLOUT) != 0 ? FdWatch::writable : 0);
    if (mask != poll_mask_) {
        poll_mask_ = mask;
        if (!poll_) {
            auto watch = loop_.watch(sd_bus_get_fd(bus_.get()), mask, [](int) {});
            if (!watch.ok()) return lost(EBADF);
            poll_ = std::move(*watch);
        } else {
            poll_.set(mask);
        }
    }
    std::uint64_t deadline = 0;  // absolute; 0 while messages are queued
    if (sd_bus_get_timeout(bus_.get(), &deadline) < 0 || deadline == UINT64_MAX)
        return timer_.stop();
    std::uint64_t now = monotonic_usec();
    timer_.start(deadline <= now ? Duration::zero() : std::chrono::microseconds(deadline - now));
}

void Bus::lost(int error_number) {
    prepare_.reset();
    poll_.reset();
    timer_.reset();
    pace_timer_.reset();
    if (auto tell_owner = std::exchange(on_lost_, nullptr))
        tell_owner(Error::from_errno(error_number, "the bus connection is lost"));
}

namespace {

using Heard = std::function<void(sd_bus_message*)>;

// The function lives as long as the slot.
BusSlot keep(sd_bus_slot* slot, std::unique_ptr<Heard> heard) {
    sd_bus_slot_set_destroy_callback(slot,
                                     [](void* userdata) { delete static_cast<Heard*>(userdata); });
    (void)heard.release();
    return BusSlot(slot);
}

}  // namespace

BusSlot Bus::on_signal(const char* sender, const char* path, const char* interface,
                       const char* member, std::function<void(sd_bus_message*)> told) {
    auto heard = std::make_unique<Heard>(std::move(told));
    sd_bus_slot* slot = nullptr;
    const int r = sd_bus_match_signal_async(
        bus_.get(), &slot, sender, path, interface, member,
        [](sd_bus_message* message, void* userdata, sd_bus_error*) {
            (*static_cast<Heard*>(userdata))(message);
            return 0;
        },
        nullptr, heard.get());
    return r < 0 ? BusSlot() : keep(slot, std::move(heard));
}

BusSlot Bus::ask(const char* service, const char* path, const char* interface, const char* member,
                 const std::function<int(sd_bus_message*)>& fill,
                 std::function<void(sd_bus_message*)> answered, const Asking& how) {
    sd_bus_message* made = nullptr;
    int r = sd_bus_message_new_method_call(bus_.get(), &made, service, path, interface, member);
    std::unique_ptr<sd_bus_message, BusCloser> message(made);
    if (r >= 0) r = sd_bus_message_set_auto_start(made, how.starts_service ? 1 : 0);
    if (r >= 0) r = fill(made);
    auto heard = std::make_unique<Heard>(std::move(answered));
    sd_bus_slot* slot = nullptr;
    if (r >= 0)
        r = sd_bus_call_async(
            bus_.get(), &slot, made,
            [](sd_bus_message* answer, void* userdata, sd_bus_error*) {
                (*static_cast<Heard*>(userdata))(
                    sd_bus_message_is_method_error(answer, nullptr) > 0 ? nullptr : answer);
                return 0;
            },
            heard.get(), static_cast<std::uint64_t>(how.patience / std::chrono::microseconds(1)));
    return r < 0 ? BusSlot() : keep(slot, std::move(heard));
}

void Bus::request_name(std::function<void(Result<>)> done) {
    name_done_ = std::move(done);
    sd_bus_slot* slot = nullptr;
    int r = sd_bus_request_name_async(
        bus_.get(), &slot, std::string(wire::bus_name()).c_str(), 0,
        [](sd_bus_message* answer, void* userdata, sd_bus_error*) {
            auto* bus = static_cast<Bus*>(userdata);
            auto finish = std::exchange(bus->name_done_, nullptr);
            std::string name(wire::bus_name());
            if (const sd_bus_error* error = sd_bus_message_get_error(answer)) {
                finish(Error(ErrorKind::denied, ErrorCode::access_denied,
                             "the bus refuses the name " + name + ": " +
                                 (error->message != nullptr ? error->message : error->name)));
                return 1;
            }
            std::uint32_t code = 0;
            sd_bus_message_read_basic(answer, 'u', &code);
            if (code == 1 || code == 4)  // owner now, or before already
                finish({});
            else
                finish(Error(
                    ErrorKind::conflict, ErrorCode::busy,
                    "the name " + name + " is taken: another backupd is running on this bus"));
            return 1;
        },
        this);
    name_slot_.reset(slot);
    if (r < 0) std::exchange(name_done_, nullptr)(bus_error(r, "ask for the bus name"));
}

void Bus::add(const std::string& path, const Interface& interface, BusObject& object) {
    auto& node = nodes_[path];
    if (!node) node = std::make_unique<Node>();
    auto registration = std::make_unique<Registration>();
    registration->bus = this;
    registration->interface = &interface;
    registration->object = &object;
    sd_bus_slot* slot = nullptr;
    int r = sd_bus_add_object_vtable(bus_.get(), &slot, path.c_str(), interface.name().c_str(),
                                     interface.table(), registration.get());
    assert(r >= 0 && "a table that sd-bus refuses is a mistake of ours");
    if (r < 0) return log_error("cannot serve " + path + ": " + std::strerror(-r));
    registration->slot.reset(slot);
    for (const std::string& name : interface.emitted_properties())
        registration->told.emplace(name, object.property(name));
    node->registrations.push_back(std::move(registration));
}

void Bus::add_object_manager(const std::string& path) {
    sd_bus_slot* slot = nullptr;
    [[maybe_unused]] int r = sd_bus_add_object_manager(bus_.get(), &slot, path.c_str());
    assert(r >= 0);
    managers_.emplace_back(slot);
}

void Bus::remove(const std::string& path) {
    nodes_.erase(path);
    dirty_.erase(path);
}

void Bus::announce_added(const std::string& path) {
    sd_bus_emit_object_added(bus_.get(), path.c_str());
}
void Bus::announce_removed(const std::string& path) {
    sd_bus_emit_object_removed(bus_.get(), path.c_str());
}

void Bus::touch(const std::string& path) {
    dirty_.insert(path);
}

void Bus::set_pace(const std::string& path, Duration least_between) {
    if (auto found = nodes_.find(path); found != nodes_.end()) found->second->pace = least_between;
}

void Bus::tell_changes(const std::string& path) {
    dirty_.erase(path);
    if (auto found = nodes_.find(path); found != nodes_.end()) tell(*found->second, path);
}

void Bus::flush_changes() {
    if (dirty_.empty() || !pace_timer_) return;
    std::uint64_t now = monotonic_usec(), soonest = UINT64_MAX;
    std::set<std::string> later;
    for (const std::string& path : std::exchange(dirty_, {})) {
        auto found = nodes_.find(path);
        if (found == nodes_.end()) continue;
        Node& node = *found->second;
        auto pace = static_cast<std::uint64_t>(node.pace / std::chrono::microseconds(1));
        if (node.last_told + pace > now) {
            soonest = std::min(soonest, node.last_told + pace - now);
            later.insert(path);
            continue;
        }
        tell(node, path);
    }
    dirty_.merge(later);
    if (soonest != UINT64_MAX) pace_timer_.start(std::chrono::microseconds(soonest));
}

void Bus::tell(Node& node, const std::string& path) {
    for (auto& registration : node.registrations) {
        std::vector<char*> names;
        for (auto& [name, told] : registration->told) {
            wire::Value now = registration->object->property(name);
            if (now == told) continue;
            told = std::move(now);
            names.push_back(const_cast<char*>(name.c_str()));
        }
        if (names.empty()) continue;
        names.push_back(nullptr);
        node.last_told = monotonic_usec();
        sd_bus_emit_properties_changed_strv(bus_.get(), path.c_str(),
                                            registration->interface->name().c_str(), names.data());
    }
}

void Bus::emit(const std::string& path, const std::string& interface, const std::string& member,
               const std::vector<wire::Value>& values) {
    sd_bus_message* made = nullptr;
    int r = sd_bus_message_new_signal(bus_.get(), &made, path.c_str(), interface.c_str(),
                                      member.c_str());
    std::unique_ptr<sd_bus_message, BusCloser> message(made);
    for (const wire::Value& value : values)
        if (r >= 0) r = wire::append_value(made, value);
    if (r >= 0) r = sd_bus_send(bus_.get(), made, nullptr);
    if (r < 0) log_warning("cannot send the signal " + member + ": " + std::strerror(-r));
}

void Bus::flush() {
    flush_changes();
    sd_bus_flush(bus_.get());
}

struct Bus::Callbacks {
    static int on_method(sd_bus_message* message, void* userdata, sd_bus_error* error) {
        auto* registration = static_cast<Registration*>(userdata);
        Bus& bus = *registration->bus;
        const Interface::Method* method =
            registration->interface->find(sd_bus_message_get_member(message));
        if (method == nullptr) return 0;
        auto call = std::make_shared<Call>(bus, message);
        if (bus.pending_calls_[call->sender_] > kMostPendingCalls) {
            call->fail(too_many_calls());
            return 1;
        }
        bus.dispatch(*registration, *method, std::move(call));
        return 1;
    }

    static int on_property(sd_bus*, const char*, const char*, const char* property,
                           sd_bus_message* reply, void* userdata, sd_bus_error*) {
        auto* registration = static_cast<Registration*>(userdata);
        return wire::append_value(reply, registration->object->property(property));
    }

    static int on_set_property(sd_bus*, const char*, const char*, const char* property,
                               sd_bus_message* value, void* userdata, sd_bus_error* error) {
        auto* registration = static_cast<Registration*>(userdata);
        auto text = wire::read_string(value);
        if (!text.ok()) return -EINVAL;
        auto set = registration->object->set_property(property, *text);
        if (set.ok()) return 1;
        return sd_bus_error_set(error, wire::error_name(set.error()).c_str(),
                                set.error().message().c_str());
    }
};

// On a session bus everybody is the owner. On the system bus the identity comes from the bus
// itself, asked for without waiting: by the time of the answer the object may be gone, so it is
// looked up again.
void Bus::dispatch(Registration& registration, const Interface::Method& method,
                   std::shared_ptr<Call> call) {
    call->access_ = method.access;
    if (scope_ == Scope::user) {
        call->caller_.uid = getuid();
        call->caller_.sees_all = true;
        call->as_root_ = getuid() == 0;
        return handle(*registration.object, method, call);
    }
    std::string path = sd_bus_message_get_path(call->message_.get());
    ask_for_caller(call->sender_,
                   [this, call, path = std::move(path), interface = registration.interface,
                    &method](Result<Caller> caller) {
                       if (!caller.ok()) return call->fail(caller.error());
                       call->caller_ = std::move(*caller);
                       // One person has many connections; each call may hold descriptors.
                       if (call->uid() != 0) {
                           call->is_counted_ = true;
                           if (++pending_of_[call->uid()] > kMostPendingCalls)
                               return call->fail(too_many_calls());
                       }
                       judge(path, *interface, method, call);
                   });
}

BusObject* Bus::find(const std::string& path, const Interface& interface) {
    auto found = nodes_.find(path);
    if (found != nodes_.end())
        for (auto& current : found->second->registrations)
            if (current->interface == &interface) return current->object;
    return nullptr;
}

// ---- Interface
// -----------------------------------------------------------------------------------------------------------

Result<> BusObject::set_property(std::string_view name, const std::string&) {
    return Error(ErrorKind::denied, std::string(name) + " is read-only");
}

namespace {

// "a,b" -> "a\0b\0"
std::string with_ends(std::string_view names) {
    std::string list(names);
    std::ranges::replace(list, ',', '\0');
    if (!list.empty()) list += '\0';
    return list;
}

}  // namespace

Interface::Interface(std::string_view name)
    : name_(name.find('.') == std::string_view::npos ? wire::interface_name(name)
                                                     : std::string(name)) {}
Interface::~Interface() = default;

Interface& Interface::add_method(std::string_view name, std::string_view in,
                                 std::string_view in_names, std::string_view out,
                                 std::string_view out_names, Access access, Handler handler) {
    methods_.push_back(
        {std::string(name), std::string(in), std::string(out), access, std::move(handler)});
    method_names_.push_back(with_ends(in_names) + with_ends(out_names));
    return *this;
}

Interface& Interface::property(std::string_view name, std::string_view type, Changes changes) {
    properties_.push_back({std::string(name), std::string(type), changes, false});
    if (changes == Changes::emitted) emitted_.emplace_back(name);
    return *this;
}

Interface& Interface::writable(std::string_view name, Changes changes) {
    properties_.push_back({std::string(name), "s", changes, true});
    return *this;
}

Interface& Interface::signal(std::string_view name, std::string_view types,
                             std::string_view names) {
    signals_.push_back({std::string(name), std::string(types), with_ends(names)});
    return *this;
}

const Interface::Method* Interface::find(std::string_view member) const {
    auto found = std::ranges::find(methods_, member, &Method::name);
    return found == methods_.end() ? nullptr : &*found;
}

const sd_bus_vtable* Interface::table() const {
    if (table_) return table_->data();
    table_ = std::make_unique<std::vector<sd_bus_vtable>>();
    table_->push_back(SD_BUS_VTABLE_START(0));
    for (std::size_t i = 0; i < methods_.size(); ++i) {
        sd_bus_vtable entry{};
        entry.type = _SD_BUS_VTABLE_METHOD;
        // Our own check decides (Bus::dispatch): that of sd-bus would block on the bus.
        entry.flags = SD_BUS_VTABLE_UNPRIVILEGED;
        entry.x.method = {methods_[i].name.c_str(),
                          methods_[i].in.c_str(),
                          methods_[i].out.c_str(),
                          &Bus::Callbacks::on_method,
                          0,
                          method_names_[i].c_str()};
        table_->push_back(entry);
    }
    for (const Property& property : properties_) {
        sd_bus_vtable entry{};
        entry.type = property.writable ? _SD_BUS_VTABLE_WRITABLE_PROPERTY : _SD_BUS_VTABLE_PROPERTY;
        switch (property.changes) {
            case Changes::emitted:
                entry.flags = SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE;
                break;
            case Changes::constant:
                entry.flags = SD_BUS_VTABLE_PROPERTY_CONST;
                break;
            case Changes::silent:
                break;
        }
        entry.x.property = {property.name.c_str(), property.type.c_str(),
                            &Bus::Callbacks::on_property,
                            property.writable ? &Bus::Callbacks::on_set_property : nullptr, 0};
        table_->push_back(entry);
    }
    for (const Signal& signal : signals_) {
        sd_bus_vtable entry{};
        entry.type = _SD_BUS_VTABLE_SIGNAL;
        entry.x.signal = {signal.name.c_str(), signal.types.c_str(), signal.names.c_str()};
        table_->push_back(entry);
    }
    table_->push_back(SD_BUS_VTABLE_END);
    return table_->data();
}

}  // namespace backup
