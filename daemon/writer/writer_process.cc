#include "daemon/writer/writer_process.h"

#include <array>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/path.h"
#include "daemon/access/told_error.h"
#include "daemon/writer/blob_service.h"
#include "daemon/writer/order.h"
#include "daemon/writer/serve.h"

namespace backup::writer {

namespace {

constexpr std::size_t kChannels = 5;  // one of them for places
constexpr int kLookEveryMs = 200;
// Where the service manager starts writers (systemd/backupd-restore.socket and -root.socket).
// Without it they are children of ours, which takes the right to become somebody else.
constexpr const char* kSocketVariable = "BACKUPD_WRITER_SOCKET";
constexpr const char* kRootSocketVariable = "BACKUPD_ROOT_WRITER_SOCKET";
// For a writer that was asked to stop: it removes its temporary files first.
constexpr auto kPatience = std::chrono::seconds(30);

class Process {
  public:
    static Result<Process> start(const std::string& program, Rights rights, int control) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
        posix_spawn_file_actions_adddup2(&actions, control, 3);
        posix_spawn_file_actions_addclosefrom_np(&actions, 4);
        posix_spawn_file_actions_addchdir_np(&actions, "/");
        sigset_t none, all;
        sigemptyset(&none);
        sigfillset(&all);
        // A signal for the daemon's group is none for it: the daemon tells it to stop.
        posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        posix_spawnattr_setpgroup(&attributes, 0);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &all);
        std::string name = program, option = kKeepRights;
        std::array<char*, 3> arguments{name.data(),
                                       rights == Rights::root ? option.data() : nullptr, nullptr};
        // Of our environment nothing but what says how a time is written, and what is of tests.
        std::vector<std::string> texts{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"};
        for (const char* word : {"TZ", "ASAN_OPTIONS", "LSAN_OPTIONS", "BACKUPD_FAILPOINTS"})
            if (const char* value = ::getenv(word))
                texts.push_back(std::string(word) + "=" + value);
        std::vector<char*> environment;
        for (std::string& text : texts) environment.push_back(text.data());
        environment.push_back(nullptr);
        pid_t child = 0;
        const int problem = ::posix_spawn(&child, name.c_str(), &actions, &attributes,
                                          arguments.data(), environment.data());
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
        if (problem != 0) return Error::from_errno(problem, "run " + printable(program));
        return Process(child);
    }
    Process(Process&& other) noexcept : child_(std::exchange(other.child_, 0)) {}
    Process& operator=(Process&&) = delete;
    ~Process() {
        if (child_ == 0) return;
        ::kill(child_, SIGKILL);
        (void)wait();
    }

    // One that the service manager started, at the other end of a socket.
    static Process elsewhere() { return Process(0); }

    // How it ended, in words.
    std::string wait() {
        if (child_ == 0) return "ended: the journal of backupd-restore*.service says more";
        int status = 0;
        while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
        }
        child_ = 0;
        if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
        return "ended with status " + std::to_string(WEXITSTATUS(status));
    }
    // One that is elsewhere ends with the sockets.
    void kill() {
        if (child_ != 0) ::kill(child_, SIGKILL);
    }

  private:
    explicit Process(pid_t child) : child_(child) {}
    pid_t child_;
};

struct Writer {
    UniqueFd control;
    Process process;
};

Result<Writer> start_writer(const std::string& program, Rights rights) {
    const char* variable = rights == Rights::root ? kRootSocketVariable : kSocketVariable;
    const char* socket_path = ::getenv(variable);
    if (socket_path == nullptr || *socket_path == '\0') {
        auto [control, theirs] = TRY(socket_pair());
        Process process = TRY(Process::start(program, rights, theirs.get()));
        return Writer{std::move(control), std::move(process)};
    }
    UniqueFd control(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!control) return Error::from_errno(errno, "make a socket");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string_view path(socket_path);
    if (path.size() >= sizeof address.sun_path)
        return Error(ErrorKind::invalid, std::string(variable) + " is too long");
    path.copy(address.sun_path, path.size());
    if (::connect(control.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return Error::from_errno(errno, "reach the program that writes (backupd-restore*.socket)");
    return Writer{std::move(control), Process::elsewhere()};
}

// One restore, told and answered.
class Listener {
  public:
    Listener(Channel& channel, const RestoreRequest& request, const Caller& caller,
             Progress& progress, ExceptionLog& exceptions)
        : channel_(channel),
          request_(request),
          caller_(caller),
          progress_(progress),
          exceptions_(exceptions) {}

    // Something once the writer has told how it ended.
    Result<std::optional<Result<RestoreResult>>> hear(const Frame& frame) {
        Unpacker from(frame.payload);
        switch (static_cast<Word>(frame.kind)) {
            case Word::progress:
                TRY(unpack_progress(frame.payload, progress_));
                return nothing();
            case Word::exception: {
                std::string path = from.text();
                Error error = from.error();
                TRY(from.finish());
                exceptions_.add(std::move(path), std::move(error));
                return nothing();
            }
            case Word::protect:
                return protect(frame.payload);
            case Word::spares:
                return spares(from);
            case Word::alters:
                return ask(request_.alters, from);
            case Word::is_ours:
                return ask(request_.is_ours, from);
            case Word::will_create:
            case Word::will_change_entries:
            case Word::will_alter:
            case Word::left:
            case Word::sync:
                return log(static_cast<Word>(frame.kind), from);
            case Word::done:
                return std::optional(unpack_result(frame.payload));
            case Word::person:
            case Word::order:
            case Word::touch:
            case Word::stop:
            case Word::answer:
                break;
        }
        return Error(ErrorKind::io, "the writer says what it cannot mean");
    }

  private:
    using Heard = Result<std::optional<Result<RestoreResult>>>;
    static Heard nothing() { return std::optional<Result<RestoreResult>>(); }
    // What is said of a path is written down, and believed when the restore is taken back: it is
    // one below the target, or the writer is not what it was.
    static Result<> check(const std::string& path) {
        auto parsed = Path::parse(path);
        if (parsed.ok() && parsed->text() == path) return {};
        return Error(ErrorKind::io, "the writer names a path that is none");
    }
    Heard answer(std::string_view payload) {
        TRY(channel_.send(static_cast<std::uint8_t>(Word::answer), payload));
        return nothing();
    }

    Heard protect(std::string_view payload) {
        auto touched = TRY(unpack_touched(payload));
        for (const TouchedObject& one : touched) TRY(check(one.path));
        Result<Unsettled> kept = Error(ErrorKind::io, "not kept");
        if (request_.protect) kept = request_.protect(touched);
        if (!kept.ok())
            kept = told_and_logged(caller_, kept.error(), "keeping what a restore replaces");
        return answer(pack_unsettled(kept));
    }

    Heard spares(Unpacker& from) {
        const std::string source = from.text(), path = from.text();
        const bool is_directory = from.flag();
        TRY(from.finish());
        TRY(check(path));
        Packer packer;
        packer.flag(!request_.spares || request_.spares(source, path, is_directory));
        return answer(packer.data());
    }

    Heard ask(const std::function<bool(const std::string&)>& question, Unpacker& from) {
        const std::string path = from.text();
        TRY(from.finish());
        TRY(check(path));
        Packer packer;
        packer.flag(question && question(path));
        return answer(packer.data());
    }

    Heard log(Word word, Unpacker& from) {
        ChangeLog* changes = request_.change_log;
        if (changes == nullptr) return Error(ErrorKind::io, "the writer tells what nobody asked");
        if (word == Word::sync) {
            Packer packer;
            packer.outcome(changes->sync());
            return answer(packer.data());
        }
        const std::string path = from.text();
        TRY(check(path));
        if (word == Word::will_create) {
            const std::string source = from.text();
            TRY(from.finish());
            changes->will_create(path, source);
        } else if (word == Word::will_alter) {
            TRY(from.finish());
            changes->will_alter(path);
        } else {
            const timespec time = take_mtime(from);
            TRY(from.finish());
            if (word == Word::left)
                changes->left(path, time);
            else
                changes->will_change_entries(path, time);
        }
        return nothing();
    }

    Channel& channel_;
    const RestoreRequest& request_;
    const Caller& caller_;
    Progress& progress_;
    ExceptionLog& exceptions_;
};

// Until the writer tells its end, or has gone, or does not stop when it should.
Result<RestoreResult> listen(Channel& channel, Listener& listener, Process& process,
                             std::stop_token stop, std::chrono::milliseconds silence) {
    std::optional<std::chrono::steady_clock::time_point> asked;
    auto heard = std::chrono::steady_clock::now();
    for (;;) {
        const auto now = std::chrono::steady_clock::now();
        if (stop.stop_requested() && !asked) {
            asked = now;
            (void)channel.send(static_cast<std::uint8_t>(Word::stop), {});
        }
        if (asked && now - *asked > kPatience) {
            process.kill();
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        }
        auto frame = channel.receive(kLookEveryMs);
        if (!frame.ok() && frame.error().kind() == ErrorKind::transient) {
            if (std::chrono::steady_clock::now() - heard < silence) continue;
            process.kill();
            return Error(ErrorKind::io, "the process that writes was stopped");
        }
        if (!frame.ok() || !*frame) {
            if (stop.stop_requested())
                return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
            return Error(ErrorKind::io, "the process that writes has " + process.wait());
        }
        auto end = TRY(listener.hear(**frame));
        if (end) return std::move(*end);
        heard = std::chrono::steady_clock::now();
    }
}

}  // namespace

std::string writer_program() {
    char text[4096];
    const ssize_t length = ::readlink("/proc/self/exe", text, sizeof text);
    std::string program(text, length > 0 ? static_cast<std::size_t>(length) : 0);
    return program.substr(0, program.rfind('/') + 1) + "backupd-restore";
}

Result<std::uint64_t> touch_as_root(const std::string& program, const std::string& directory) {
    constexpr auto kPatienceToTouch = std::chrono::seconds(10);
    Writer writer = TRY(start_writer(program, Rights::root));
    Channel channel(std::move(writer.control));
    channel.set_patience(kPatienceToTouch);
    const Person person{{.uid = 0, .gids = {}, .sees_all = true}, 0, true};
    (void)channel.send(static_cast<std::uint8_t>(Word::person), pack_person(person));
    (void)channel.send(static_cast<std::uint8_t>(Word::touch), directory);
    auto frame = TRY(channel.receive(static_cast<int>(
        std::chrono::duration_cast<std::chrono::milliseconds>(kPatienceToTouch).count())));
    if (!frame) return Error(ErrorKind::io, "the process that writes has " + writer.process.wait());
    Unpacker from(frame->payload);
    TRY(from.outcome());
    const std::uint64_t inode = from.number();
    TRY(from.finish());
    return inode;
}

Result<RestoreResult> run_restore_as(const Caller& caller, Rights rights,
                                     const std::string& program, const RestoreRequest& request,
                                     Repository& repository, Progress& progress,
                                     ExceptionLog& exceptions, std::stop_token stop,
                                     std::chrono::milliseconds silence) {
    progress.phase = Phase::loading;
    Order order;
    order.sees_all = caller.sees_all;
    if (!order.sees_all) order.named = identify(caller);
    const AccessRule rule = order.rule();
    auto opened = open_source(request, repository, rule, stop);
    if (!opened.ok()) return told_and_logged(caller, opened.error(), "a restore");
    RestoreSource source = std::move(*opened);
    order.request.revision = request.revision;
    order.request.paths = request.paths;
    order.request.target_path = request.target_path;
    order.request.on_conflict = request.on_conflict;
    order.request.threads = request.threads;
    order.request.full_paths = request.full_paths;
    order.request.dry_run = request.dry_run;
    order.request.verify = request.verify;
    order.request.goes_on = request.goes_on;
    order.request.delete_others = request.delete_others;
    order.request.longest_kept = request.longest_kept;
    order.request.only_remove = request.only_remove;
    order.request.remove = request.remove;
    order.request.unchanged_since = request.unchanged_since;
    order.request.mtimes = request.mtimes;
    order.has_alters = request.alters != nullptr;
    order.has_is_ours = request.is_ours != nullptr;
    order.has_spares = request.spares != nullptr;
    order.has_protect = request.protect != nullptr;
    order.has_change_log = request.change_log != nullptr;
    order.snapshot.time = source.snapshot.time;
    order.snapshot.paths = source.snapshot.paths;
    order.selected = std::move(source.selected);
    Grants grants(rule);
    for (const Selected& one : order.selected) grants.show(one.node);

    Writer writer = TRY(start_writer(program, rights));
    Channel channel(std::move(writer.control));
    channel.set_patience(silence);
    const bool keeps_rights = rights == Rights::root;
    const Person person{caller, keeps_rights ? 0 : primary_group(caller), keeps_rights};
    // A writer that has ended already says why, if it could.
    (void)channel.send(static_cast<std::uint8_t>(Word::person), pack_person(person));
    std::vector<std::unique_ptr<Channel>> blob_channels;
    std::vector<UniqueFd> handed;
    std::vector<int> descriptors{request.target_fd};
    for (std::size_t i = 0; i < kChannels; ++i) {
        auto [ours, other] = TRY(socket_pair());
        blob_channels.push_back(std::make_unique<Channel>(std::move(ours)));
        descriptors.push_back(other.get());
        handed.push_back(std::move(other));
    }
    const std::string payload = TRY(pack_order(order));
    (void)channel.send(static_cast<std::uint8_t>(Word::order), payload, descriptors);
    handed.clear();

    std::vector<std::jthread> servers;
    for (auto& one : blob_channels)
        servers.emplace_back([&repository, &grants, &request, &caller, blobs = one.get()] {
            serve_blobs(*blobs, repository.blobs(), grants, request.pace.get(), caller);
        });
    Listener listener(channel, request, caller, progress, exceptions);
    Result<RestoreResult> result = listen(channel, listener, writer.process, stop, silence);
    // Its descriptors close with it; a server that waits for it wakes up then, or by this.
    for (auto& one : blob_channels) one->shut_down();
    servers.clear();
    return result;
}

}  // namespace backup::writer
