#include "daemon/writer/serve.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/path.h"
#include "daemon/runtime/nameless.h"
#include "daemon/writer/blob_service.h"
#include "daemon/writer/order.h"

namespace backup::writer {

namespace {

constexpr auto kTellEvery = std::chrono::milliseconds(250);

Error cannot_drop(const char* what) {
    return Error::from_errno(errno, std::string("give up rights: ") + what);
}

bool has_no_capability() {
    __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    if (::syscall(SYS_capget, &head, data) != 0) return false;
    for (const auto& half : data)
        if ((half.effective | half.permitted | half.inheritable) != 0) return false;
    return true;
}

// For good: uid, gid and groups are his in all their forms, no capability is left, and none can
// come back through a program. What he may not trace or read of a process whose ids have changed
// stays so.
Result<> become_for_good(const Person& person) {
    if (person.caller.uid == 0 || person.caller.uid == UINT32_MAX ||
        person.primary_gid == UINT32_MAX)
        return Error(ErrorKind::invalid, "this writer writes for people other than root only");
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return cannot_drop("no new privileges");
    if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) return cannot_drop("keep no capabilities");
    (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (::geteuid() == 0) {
        const std::vector<gid_t> groups(person.caller.gids.begin(), person.caller.gids.end());
        if (::setgroups(groups.size(), groups.data()) != 0) return cannot_drop("groups");
        const gid_t gid = person.primary_gid;
        if (::setresgid(gid, gid, gid) != 0) return cannot_drop("group");
        const uid_t uid = person.caller.uid;
        if (::setresuid(uid, uid, uid) != 0) return cannot_drop("user");
    }
    uid_t real = 0, effective = 0, saved = 0;
    if (::getresuid(&real, &effective, &saved) != 0 || real != person.caller.uid ||
        effective != real || saved != real || !has_no_capability() || ::setuid(0) == 0)
        return Error(ErrorKind::denied, "the rights of the daemon could not be given up");
    return {};
}

// Which rights those are is said by whoever started the process, not by the order.
Result<> become(const Person& person, bool keeps_rights) {
    if (person.keeps_rights != keeps_rights)
        return Error(ErrorKind::invalid, "this writer was not started for that");
    if (keeps_rights) {
        if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return cannot_drop("no new privileges");
    } else {
        TRY(become_for_good(person));
    }
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    ::umask(077);
    return {};
}

// Talks to the daemon: the restore's questions one at a time, its news at any time.
class Conversation {
  public:
    explicit Conversation(Channel& channel) : channel_(channel), listener_([this] { listen(); }) {}
    ~Conversation() {
        is_ending_ = true;
        channel_.shut_down();
        listener_.join();
    }

    std::stop_token stop() const { return stop_.get_token(); }
    // What the daemon does for us has a progress of its own, and nobody listens to ours.
    bool is_asking() const { return is_asking_; }
    void tell(Word word, std::string_view payload) {
        if (!channel_.send(static_cast<std::uint8_t>(word), payload).ok()) channel_.shut_down();
    }
    // The last word; the daemon may go now.
    void end(std::string_view result) {
        is_ending_ = true;
        tell(Word::done, result);
    }
    Result<std::string> ask(Word word, std::string_view payload) {
        std::lock_guard one(asking_);
        std::unique_lock lock(mutex_);
        answer_.reset();
        tell(word, payload);
        is_asking_ = true;
        answered_.wait(lock, [&] { return answer_.has_value() || is_over_; });
        is_asking_ = false;
        if (!answer_)
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "the daemon has stopped");
        return std::move(*answer_);
    }

    // An end of the daemon's has gone. Nobody said why: it was killed. What is unfinished is taken
    // up by who goes on.
    void lost() const {
        if (!is_told_ && !is_ending_) ::_exit(1);
    }

  private:
    void listen() {
        for (;;) {
            auto frame = channel_.receive();
            if (!frame.ok() || !*frame) break;
            if ((*frame)->kind == static_cast<std::uint8_t>(Word::stop)) {
                is_told_ = true;
                stop_.request_stop();
            }
            if ((*frame)->kind != static_cast<std::uint8_t>(Word::answer)) continue;
            std::lock_guard lock(mutex_);
            answer_ = std::move((*frame)->payload);
            answered_.notify_all();
        }
        lost();
        stop_.request_stop();
        std::lock_guard lock(mutex_);
        is_over_ = true;
        answered_.notify_all();
    }

    Channel& channel_;
    std::stop_source stop_;
    std::atomic<bool> is_asking_{false}, is_ending_{false}, is_told_{false};
    std::mutex asking_;
    std::mutex mutex_;  // guards answer_ and is_over_
    std::condition_variable answered_;
    std::optional<std::string> answer_;
    bool is_over_ = false;
    std::thread listener_;  // the last: uses all of it
};

class RemoteLog final : public ChangeLog {
  public:
    explicit RemoteLog(Conversation& daemon) : daemon_(daemon) {}
    void will_create(std::string_view path, std::string_view source) override {
        Packer packer;
        packer.text(path).text(source);
        daemon_.tell(Word::will_create, packer.data());
    }
    void will_change_entries(std::string_view path, const timespec& mtime) override {
        tell_time(Word::will_change_entries, path, mtime);
    }
    void will_alter(std::string_view path) override {
        Packer packer;
        packer.text(path);
        daemon_.tell(Word::will_alter, packer.data());
    }
    void left(std::string_view path, const timespec& mtime) override {
        tell_time(Word::left, path, mtime);
    }
    Result<> sync() override {
        const std::string answer = TRY(daemon_.ask(Word::sync, {}));
        return Unpacker(answer).outcome();
    }

  private:
    void tell_time(Word word, std::string_view path, const timespec& mtime) {
        Packer packer;
        put_mtime(packer.text(path), mtime);
        daemon_.tell(word, packer.data());
    }
    Conversation& daemon_;
};

// To a service manager that ends who is stopped or hangs (WatchdogSec=); the daemon's end may be
// closed long since.
class Watchdog {
  public:
    Watchdog() {
        const char* path = ::getenv("NOTIFY_SOCKET");
        const std::size_t length = path == nullptr ? 0 : std::strlen(path);
        if (length < 2 || length >= sizeof address_.sun_path) return;
        address_.sun_family = AF_UNIX;
        std::memcpy(address_.sun_path, path, length);
        if (address_.sun_path[0] == '@') address_.sun_path[0] = '\0';
        size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
        socket_ = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    }
    void feed() const {
        constexpr std::string_view kAlive = "WATCHDOG=1";
        if (!socket_) return;
        (void)::sendto(socket_.get(), kAlive.data(), kAlive.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                       reinterpret_cast<const sockaddr*>(&address_), size_);
    }

  private:
    sockaddr_un address_{};
    socklen_t size_ = 0;
    UniqueFd socket_;
};

void tell_exceptions(Conversation& daemon, const ExceptionLog& log) {
    for (const Exception& one : log.list()) {
        Packer packer;
        packer.text(one.path).error(one.error);
        daemon.tell(Word::exception, packer.data());
    }
}

Result<RestoreResult> carry_out(Order& order, bool keeps_rights, int target, BlobSource& blobs,
                                Conversation& daemon, Progress& progress,
                                ExceptionLog& exceptions) {
    SystemClock clock;
    RemoteLog log(daemon);
    RestoreRequest& request = order.request;
    request.target_fd = target;
    request.leaves_privileges = !keeps_rights;
    request.clock = &clock;
    if (order.has_change_log) request.change_log = &log;
    if (order.has_spares)
        request.spares = [&](const std::string& source, const std::string& path,
                             bool is_directory) {
            Packer packer;
            packer.text(source).text(path).flag(is_directory);
            const auto answer = daemon.ask(Word::spares, packer.data());
            return !answer.ok() || Unpacker(*answer).flag();
        };
    if (order.has_protect)
        request.protect = [&](const std::vector<TouchedObject>& touched) -> Result<Unsettled> {
            daemon.tell(Word::progress, pack_progress(progress));
            const std::string answer = TRY(daemon.ask(Word::protect, pack_touched(touched)));
            return unpack_unsettled(answer);
        };
    const auto ask_of = [&](Word word, const std::string& path) {
        Packer packer;
        packer.text(path);
        const auto answer = daemon.ask(word, packer.data());
        return answer.ok() && Unpacker(*answer).flag();
    };
    if (order.has_alters)
        request.alters = [&](const std::string& path) { return ask_of(Word::alters, path); };
    if (order.has_is_ours)
        request.is_ours = [&](const std::string& path) { return ask_of(Word::is_ours, path); };
    RestoreSource source;
    source.blobs = &blobs;
    source.snapshot = std::move(order.snapshot);
    source.selected = std::move(order.selected);
    source.rule = order.rule();
    return run_restore(request, source, progress, exceptions, daemon.stop());
}

// From the root that this process has: what the daemon opens by itself is read-only to it. What had
// no links on its way when the order was first given: one that is there now leads where nobody
// asked for.
Result<UniqueFd> find_target(UniqueFd given, const std::string& path) {
    if (path.empty()) return given;
    given.reset(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!given) return Error::from_errno(errno, "open /");
    const std::string below = path.substr(std::min(path.find_first_not_of('/'), path.size()));
    if (below.empty()) return given;
    open_how how{};
    how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    UniqueFd found(
        static_cast<int>(::syscall(SYS_openat2, given.get(), below.c_str(), &how, sizeof how)));
    if (!found) return Error::from_errno(errno, "open " + printable(path));
    return found;
}

bool is(const Frame& frame, Word word) {
    return frame.kind == static_cast<std::uint8_t>(word);
}

Result<Frame> receive(Channel& channel, Word word, Word other) {
    auto frame = TRY(channel.receive());
    if (!frame || (!is(*frame, word) && !is(*frame, other)))
        return Error(ErrorKind::invalid, "there is no order");
    return std::move(*frame);
}

Result<> touch(Channel& channel, const std::string& directory) {
    const auto inode = touch_nameless(directory);
    Packer packer;
    if (inode.ok())
        packer.outcome({}).number(*inode);
    else
        packer.outcome(inode.error());
    return channel.send(static_cast<std::uint8_t>(Word::answer), packer.data());
}

}  // namespace

Result<> serve(UniqueFd control, bool keeps_rights) {
    Channel channel(std::move(control));
    const auto refuse = [&](Error why) -> Result<> {
        TRY(channel.send(static_cast<std::uint8_t>(Word::done), pack_result(why)));
        return why;
    };
    const Frame first = TRY(receive(channel, Word::person, Word::person));
    auto person = unpack_person(first.payload);
    if (!person.ok()) return refuse(std::move(person).error());
    if (Result<> became = become(*person, keeps_rights); !became.ok())
        return refuse(std::move(became).error());

    Frame second = TRY(receive(channel, Word::order, Word::touch));
    if (is(second, Word::touch)) return touch(channel, second.payload);
    auto order = unpack_order(second.payload);
    if (!order.ok()) return refuse(std::move(order).error());
    std::vector<UniqueFd> descriptors = std::move(second.descriptors);
    if (descriptors.size() < 3) return refuse(Error(ErrorKind::invalid, "there is no target"));
    auto target = find_target(std::move(descriptors.front()), order->request.target_path);
    if (!target.ok()) return refuse(std::move(target).error());
    descriptors.erase(descriptors.begin());
    Progress progress;
    ExceptionLog exceptions(progress);
    Conversation daemon(channel);
    RemoteBlobs blobs(std::move(descriptors), [&daemon] { daemon.lost(); });
    Result<RestoreResult> result = Error(ErrorKind::io, "not begun");
    {
        std::jthread teller([&](const std::stop_token& over) {
            std::mutex mutex;
            std::condition_variable_any wake;
            std::unique_lock lock(mutex);
            const Watchdog watchdog;
            while (!over.stop_requested()) {
                if (!daemon.is_asking()) daemon.tell(Word::progress, pack_progress(progress));
                if (!daemon.stop().stop_requested()) watchdog.feed();
                wake.wait_for(lock, over, kTellEvery, [] { return false; });
            }
        });
        result =
            carry_out(*order, keeps_rights, target->get(), blobs, daemon, progress, exceptions);
    }
    daemon.tell(Word::progress, pack_progress(progress));
    tell_exceptions(daemon, exceptions);
    daemon.end(pack_result(result));
    return {};
}

}  // namespace backup::writer
