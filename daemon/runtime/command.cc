#include "daemon/runtime/command.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <tuple>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/path.h"
#include "common/unique_fd.h"

namespace backup {

namespace {

constexpr std::size_t kMostOutput = 64 << 10;
constexpr std::size_t kMostErrors = 4 << 10;
constexpr int kLookEveryMs = 50;

std::vector<std::string> environment_of(const CommandRequest& request) {
    std::vector<std::string> list;
    for (const char* name :
         {"HOME", "LANG", "LC_ALL", "TZ", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"})
        if (const char* value = std::getenv(name)) list.push_back(std::string(name) + "=" + value);
    const char* path = std::getenv("PATH");
    list.push_back(std::string("PATH=") +
                   (path != nullptr ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"));
    for (const auto& [name, value] : request.environment) list.push_back(name + "=" + value);
    return list;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (std::string& text : texts) list.push_back(text.data());
    list.push_back(nullptr);
    return list;
}

Result<std::array<UniqueFd, 2>> make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno(errno, "make a pipe");
    return std::array<UniqueFd, 2>{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// A file in memory: a program that does not read cannot make us wait.
Result<UniqueFd> make_input(const std::string& text) {
    UniqueFd fd(::memfd_create("input", MFD_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "make the input of a command");
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t wrote = ::write(fd.get(), text.data() + done, text.size() - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return Error::from_errno(errno, "make the input of a command");
        done += static_cast<std::size_t>(wrote);
    }
    ::lseek(fd.get(), 0, SEEK_SET);
    return fd;
}

struct SpawnSettings {
    SpawnSettings() {
        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
    }
    ~SpawnSettings() {
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
    }
    SpawnSettings(const SpawnSettings&) = delete;
    SpawnSettings& operator=(const SpawnSettings&) = delete;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
};

Result<pid_t> spawn(std::vector<std::string> arguments, std::vector<std::string> environment,
                    int input, int output, int errors) {
    SpawnSettings settings;
    posix_spawn_file_actions_adddup2(&settings.actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&settings.actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&settings.actions, errors, STDERR_FILENO);
    // A group of its own, so that all of it can be killed; signals as a program expects them.
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setflags(&settings.attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                       POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&settings.attributes, 0);
    posix_spawnattr_setsigmask(&settings.attributes, &none);
    posix_spawnattr_setsigdefault(&settings.attributes, &all);
    pid_t child = 0;
    const int problem =
        ::posix_spawnp(&child, arguments[0].c_str(), &settings.actions, &settings.attributes,
                       pointers(arguments).data(), pointers(environment).data());
    if (problem != 0) return Error::from_errno(problem, "run " + printable(arguments[0]));
    return child;
}

bool runs_services() {
    const char* value = std::getenv("BACKUPD_COMMANDS");
    return value != nullptr && std::string_view(value) == "services";
}

// systemd-run(1) waits for the service and hands on its output and its exit status.
std::vector<std::string> as_service(const CommandRequest& request, const std::string& unit) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(request.timeout).count();
    std::vector<std::string> list{
        "systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--no-ask-password",
        "--unit=" + unit, "--description=A command of backupd's",
        // Also while the machine goes down: what one before a run began must be ended.
        "--property=DefaultDependencies=no",
        // Should nobody be there any more to end it.
        "--property=RuntimeMaxSec=" + std::to_string(seconds + 60),
        // As a child of ours would run.
        "--property=Nice=10", "--property=CPUWeight=20", "--property=IOWeight=20",
        "--property=UMask=0077"};
    for (std::string& variable : environment_of(request))
        list.push_back("--setenv=" + std::move(variable));
    list.emplace_back("--");
    for (const std::string& word : request.argv) {
        // The service manager would put values of variables into all but the program's name.
        const bool is_program = &word == &request.argv.front();
        std::string plain;
        for (char c : word) plain += c == '$' && !is_program ? "$$" : std::string(1, c);
        list.push_back(std::move(plain));
    }
    return list;
}

void kill_services(const std::string& units) {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null) return;
    auto child = spawn({"systemctl", "--quiet", "kill", "--signal=SIGKILL", units},
                       environment_of({}), null.get(), null.get(), null.get());
    int status = 0;
    while (child.ok() && ::waitpid(*child, &status, 0) < 0 && errno == EINTR) {
    }
}

constexpr std::string_view kUnits = "backupd-command-";

std::string next_unit() {
    static std::atomic<unsigned> next{0};
    return std::string(kUnits) + std::to_string(::getpid()) + "-" + std::to_string(next++) +
           ".service";
}

// A command that runs.
class Running {
  public:
    Running(pid_t child, std::string unit) : child_(child), unit_(std::move(unit)) {}

    // More than once, until it has ended.
    void kill() {
        const auto now = std::chrono::steady_clock::now();
        if (unit_.empty() || (first_ && now - *first_ > kPatience)) {
            ::kill(-child_, SIGKILL);
            return;
        }
        if (!first_) first_ = now;
        // Who waits for the service tells its end; it may not have been started yet.
        if (last_ && now - *last_ < std::chrono::seconds(1)) return;
        kill_services(unit_);
        last_ = now;
    }

  private:
    static constexpr auto kPatience = std::chrono::seconds(20);
    const pid_t child_;
    const std::string unit_;  // empty: a child
    std::optional<std::chrono::steady_clock::time_point> first_, last_;
};

// Takes what there is. False: it was closed.
bool drain(int fd, std::string& into, std::size_t most, bool keeps_the_end) {
    std::array<char, 4096> buffer;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0) return errno == EINTR || errno == EAGAIN;
    if (got == 0) return false;
    into.append(buffer.data(), static_cast<std::size_t>(got));
    if (into.size() > most) {
        if (keeps_the_end)
            into.erase(0, into.size() - most);
        else
            into.resize(most);
    }
    return true;
}

}  // namespace

std::string CommandResult::sentence() const {
    std::string text = timed_out ? "took too long and was stopped"
                                 : "ended with status " + std::to_string(exit_code);
    std::string last = errors;
    while (!last.empty() && (last.back() == '\n' || last.back() == ' ')) last.pop_back();
    if (const auto line = last.rfind('\n'); line != std::string::npos) last.erase(0, line + 1);
    return last.empty() ? text : text + ": " + printable(last);
}

Result<CommandResult> run_command(const CommandRequest& request, std::stop_token stop) {
    if (request.argv.empty())
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, "no command");
    UniqueFd input = TRY(make_input(request.input));
    std::array<UniqueFd, 2> output = TRY(make_pipe());
    std::array<UniqueFd, 2> errors = TRY(make_pipe());
    const std::string unit = runs_services() ? next_unit() : std::string();
    if (!unit.empty() && ::access(request.argv[0].c_str(), X_OK) != 0)
        return Error::from_errno(errno, "run " + printable(request.argv[0]));
    const pid_t child =
        TRY(spawn(unit.empty() ? request.argv : as_service(request, unit), environment_of(request),
                  input.get(), output[1].get(), errors[1].get()));
    Running running(child, unit);
    output[1].reset();
    errors[1].reset();
    const auto end = std::chrono::steady_clock::now() + request.timeout;
    CommandResult result;
    std::array<pollfd, 2> ends = {{{output[0].get(), POLLIN, 0}, {errors[0].get(), POLLIN, 0}}};
    int status = 0;
    bool has_ended = false;
    while (!has_ended) {
        if (stop.stop_requested() || std::chrono::steady_clock::now() >= end) {
            result.timed_out = true;
            running.kill();
        }
        ::poll(ends.data(), ends.size(), kLookEveryMs);
        if (ends[0].revents != 0 && !drain(ends[0].fd, result.output, kMostOutput, false))
            ends[0].fd = -1;
        if (ends[1].revents != 0 && !drain(ends[1].fd, result.errors, kMostErrors, true))
            ends[1].fd = -1;
        // What it left in the background may keep the pipes: only the program itself counts.
        const pid_t waited = ::waitpid(child, &status, WNOHANG);
        has_ended = waited == child || (waited < 0 && errno != EINTR);
    }
    for (auto [fd, into, most, keeps] :
         {std::tuple{ends[0].fd, &result.output, kMostOutput, false},
          std::tuple{ends[1].fd, &result.errors, kMostErrors, true}}) {
        if (fd < 0) continue;
        ::fcntl(fd, F_SETFL, O_NONBLOCK);
        for (int i = 0; i < 64 && drain(fd, *into, most, keeps) && errno != EAGAIN; ++i) errno = 0;
    }
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

void end_commands_left_over() {
    if (runs_services()) kill_services(std::string(kUnits) + "*.service");
}

}  // namespace backup
