// Interface describes one D-Bus interface as a table: members, signatures, names of arguments, who
// may call. Built once, then constant; must outlive the Bus. A test compares what is served with
// dbus/*.xml.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/wire.h"

struct sd_bus_vtable;

namespace backup {

class Call;

// What stands behind a path. Property values are asked for on the loop thread and must not block.
class BusObject {
  public:
    virtual ~BusObject() = default;
    virtual wire::Value property(std::string_view name) const = 0;
    // For methods that are for whoever asked for what stands here.
    virtual bool is_own(std::uint32_t /*uid*/, std::string_view /*method*/) const { return false; }
    // Only for properties declared writable.
    virtual Result<> set_property(std::string_view name, const std::string& text);
};

// Who may call on the system bus; on a session bus everybody there is the owner. Root always may.
enum class Access : std::uint8_t {
    anyone,        // plain status
    own,           // whom polkit lets look at his files; answers with what is his
    browse,        // the same; what he gets to see is up to rule R, but for the option `all`
    restore,       // the same; as root with the option `as-root`
    start_backup,  // whom polkit lets, as all that follow
    pause,
    requester,  // whoever asked for the job, and else whoever may manage
    manage,
    remove,
    root,
};
enum class Changes : std::uint8_t { emitted, constant, silent };

class Interface {
  public:
    using Handler = std::function<Result<>(BusObject&, std::shared_ptr<Call>)>;
    struct Method {
        std::string name, in, out;
        Access access;
        Handler handler;
    };

    // `name` is the last part ("Manager") or a full name.
    explicit Interface(std::string_view name);
    ~Interface();
    Interface(const Interface&) = delete;
    Interface& operator=(const Interface&) = delete;

    // Names of arguments are separated by commas.
    Interface& add_method(std::string_view name, std::string_view in, std::string_view in_names,
                          std::string_view out, std::string_view out_names, Access access,
                          Handler handler);
    // `handler` reads its arguments and either answers, keeps the call to answer later, or returns
    // the error to answer with.
    template <typename Object>
    Interface& method(std::string_view name, std::string_view in, std::string_view in_names,
                      std::string_view out, std::string_view out_names, Access access,
                      Result<> (Object::*handler)(std::shared_ptr<Call>)) {
        return add_method(name, in, in_names, out, out_names, access,
                          [handler](BusObject& object, std::shared_ptr<Call> call) {
                              return (static_cast<Object&>(object).*handler)(std::move(call));
                          });
    }
    Interface& property(std::string_view name, std::string_view type,
                        Changes changes = Changes::emitted);
    // Text only; written by privileged senders (sd-bus checks).
    Interface& writable(std::string_view name, Changes changes = Changes::silent);
    Interface& signal(std::string_view name, std::string_view types, std::string_view names);

    const std::string& name() const { return name_; }
    const Method* find(std::string_view member) const;
    const std::vector<std::string>& emitted_properties() const { return emitted_; }
    // Made at the first call.
    const sd_bus_vtable* table() const;

  private:
    friend class Bus;
    struct Property {
        std::string name, type;
        Changes changes;
        bool writable;
    };
    struct Signal {
        std::string name, types, names;
    };
    std::string name_;
    std::deque<Method> methods_;
    std::deque<std::string> method_names_;  // of arguments, each ended by NUL
    std::deque<Property> properties_;
    std::deque<Signal> signals_;
    std::vector<std::string> emitted_;
    mutable std::unique_ptr<std::vector<sd_bus_vtable>> table_;
};

}  // namespace backup
