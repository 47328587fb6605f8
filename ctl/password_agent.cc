#include "ctl/password_agent.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/terminal.h"

extern char** environ;  // NOLINT: POSIX has it so

namespace backup {

namespace {
constexpr int kPatienceMs = 5000;
}

std::unique_ptr<PasswordAgent> PasswordAgent::start() {
    if (!is_terminal(STDIN_FILENO) || !is_terminal(STDERR_FILENO)) return nullptr;
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return nullptr;
    const UniqueFd listens(ends[0]);
    UniqueFd theirs(::fcntl(ends[1], F_DUPFD, 3));  // lives on in the program
    ::close(ends[1]);
    if (!theirs) return nullptr;
    std::string program = "pkttyagent", process = "--process", notify = "--notify-fd",
                fallback = "--fallback", pid = std::to_string(::getpid()),
                fd = std::to_string(theirs.get());
    std::array<char*, 7> arguments{program.data(), process.data(),  pid.data(), notify.data(),
                                   fd.data(),      fallback.data(), nullptr};
    pid_t child = 0;
    if (::posix_spawnp(&child, program.c_str(), nullptr, nullptr, arguments.data(), environ) != 0)
        return nullptr;
    std::unique_ptr<PasswordAgent> agent(new PasswordAgent(child));
    theirs.reset();
    // It closes its end once it is registered, or when it cannot be.
    pollfd wait{listens.get(), POLLIN, 0};
    while (::poll(&wait, 1, kPatienceMs) < 0 && errno == EINTR) {
    }
    return agent;
}

// SIGTERM lets it put the terminal right.
PasswordAgent::~PasswordAgent() {
    ::kill(child_, SIGTERM);
    ::kill(child_, SIGCONT);
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace backup
