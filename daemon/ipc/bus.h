// Bus is our connection to a message bus, driven by the Loop: one hook before the loop sleeps lets
// sd-bus work, then a poll and a timer are armed from what it asks for. Loop thread only, with all
// that hangs on it: objects, calls, messages. Failure: a lost bus calls on_lost once; the
// connection is dead then.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/unique_fd.h"
#include "common/wire.h"
#include "daemon/access/caller.h"
#include "daemon/ipc/interface.h"
#include "daemon/runtime/loop.h"

struct sd_bus;
struct sd_bus_message;
struct sd_bus_slot;

namespace backup {

enum class Scope : std::uint8_t { system, user };

class Authorizer;
class Bus;

struct BusCloser {
    void operator()(sd_bus* bus) const;
    void operator()(sd_bus_message* message) const;
    void operator()(sd_bus_slot* slot) const;
};
using BusSlot = std::unique_ptr<sd_bus_slot, BusCloser>;

// One method call that waits for its answer, which may be given much later. Answered at most once;
// destroyed without an answer it says that the daemon is shutting down.
class Call {
  public:
    Call(Bus& bus, sd_bus_message* message);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    std::string_view member() const;
    std::uint32_t uid() const { return caller_.uid; }
    // Who asks, and whether rule R binds him.
    const Caller& caller() const { return caller_; }
    // What he asks for is to be done with root's rights: he is root, or was let.
    bool as_root() const { return as_root_; }

    // The arguments, in order.
    Result<std::string> string();
    Result<std::uint64_t> u64();
    Result<bool> boolean();
    Result<std::string> file_name();
    Result<std::vector<std::string>> file_names();
    Result<std::vector<std::string>> strings();
    Result<wire::Dict> dict();
    Result<UniqueFd> descriptor();  // a copy of its own
    // The options of the method. `all`, where there is that, was decided about before.
    Result<wire::DictReader> options();
    // Of a method that knows none besides.
    Result<> no_options();

    void reply();
    void reply(const std::vector<wire::Value>& values);
    // For what wire::Value cannot say: `fill` appends to the message and returns negative errno.
    void reply_with(const std::function<int(sd_bus_message*)>& fill);
    void fail(const Error& error);

  private:
    friend class Bus;
    Bus* bus_;
    std::unique_ptr<sd_bus_message, BusCloser> message_;
    std::string sender_;
    Caller caller_;
    Access access_ = Access::root;
    bool as_root_ = false;
    bool answered_ = false;
    bool is_counted_ = false;  // in pending_of_
};

class Bus {
  public:
    // Connects; the handshake goes on while the loop runs.
    static Result<std::unique_ptr<Bus>> open(Loop& loop, Scope scope,
                                             std::function<void(Error)> on_lost);
    ~Bus();

    Scope scope() const { return scope_; }
    // Once, after the objects are there. Refused when somebody has the name.
    void request_name(std::function<void(Result<>)> done);

    // Serves `object` at `path` until `remove` or the end. Several interfaces may share a path.
    void add(const std::string& path, const Interface& interface, BusObject& object);
    void add_object_manager(const std::string& path);
    // All interfaces of the path. Announce before removing.
    void remove(const std::string& path);
    void announce_added(const std::string& path);
    void announce_removed(const std::string& path);

    // Some properties at this path may have changed: those that differ from what was last told are
    // sent before the loop sleeps, and for a path with a pace not more often than that.
    void touch(const std::string& path);
    void set_pace(const std::string& path, Duration least_between);
    // Tells at once, whatever the pace.
    void tell_changes(const std::string& path);

    void emit(const std::string& path, const std::string& interface, const std::string& member,
              const std::vector<wire::Value>& values);

    // What other services say. `told` gets each such signal; `answered` the answer, or nullptr when
    // the service is away, refuses, or takes too long; no service is started for it but where asked
    // for. The slot ends it. None may be kept longer than the Bus.
    BusSlot on_signal(const char* sender, const char* path, const char* interface,
                      const char* member, std::function<void(sd_bus_message*)> told);
    struct Asking {
        bool starts_service = false;
        Duration patience = Duration::zero();  // zero: as is usual on a bus, 25 s
    };
    BusSlot ask(const char* service, const char* path, const char* interface, const char* member,
                const std::function<int(sd_bus_message*)>& fill,
                std::function<void(sd_bus_message*)> answered, const Asking& how);
    BusSlot ask(const char* service, const char* path, const char* interface, const char* member,
                const std::function<int(sd_bus_message*)>& fill,
                std::function<void(sd_bus_message*)> answered) {
        return ask(service, path, interface, member, fill, std::move(answered), Asking());
    }

    // Writes out what is queued; blocks. For the end only.
    void flush();

  private:
    friend class Call;
    friend class Interface;
    struct Callbacks;  // sd-bus's C frames
    struct Registration;
    struct Node;

    Bus(Loop& loop, Scope scope, std::function<void(Error)> on_lost);
    void turn();
    void lost(int error_number);
    void flush_changes();
    void tell(Node& node, const std::string& path);
    void dispatch(Registration& registration, const Interface::Method& method,
                  std::shared_ptr<Call> call);
    static void handle(BusObject& object, const Interface::Method& method,
                       const std::shared_ptr<Call>& call);
    // The object may have gone while something was asked.
    BusObject* find(const std::string& path, const Interface& interface);
    void judge(const std::string& path, const Interface& interface, const Interface::Method& method,
               std::shared_ptr<Call> call);
    void ask_for_caller(const std::string& sender, std::function<void(Result<Caller>)> done);

    Loop& loop_;
    const Scope scope_;
    std::function<void(Error)> on_lost_;
    std::unique_ptr<sd_bus, BusCloser> bus_;
    LoopHandle prepare_;
    FdWatch poll_;
    Timer timer_, pace_timer_;
    int poll_mask_ = -1;
    std::map<std::string, std::unique_ptr<Node>> nodes_;
    std::set<std::string> dirty_;
    std::vector<BusSlot> managers_;
    std::map<std::string, unsigned> pending_calls_;  // by sender
    std::map<std::uint32_t, unsigned> pending_of_;   // by uid, of people other than root
    std::unique_ptr<Authorizer> authorizer_;
    std::map<std::uint64_t, BusSlot> credentials_;  // asked for
    std::uint64_t last_asked_ = 0;
    BusSlot name_slot_;
    std::function<void(Result<>)> name_done_;
};

}  // namespace backup
