#include "ctl/interrupt.h"

#include <csignal>

#include <sys/signalfd.h>
#include <unistd.h>

namespace backup {

namespace {
sigset_t interrupts() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}
}  // namespace

InterruptGuard::InterruptGuard() {
    sigset_t set = interrupts();
    sigprocmask(SIG_BLOCK, &set, nullptr);
    fd_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}
InterruptGuard::~InterruptGuard() {
    // What was taken through the descriptor must not kill us now.
    struct signalfd_siginfo info {};
    while (::read(fd_.get(), &info, sizeof info) > 0) {
    }
    sigset_t set = interrupts();
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace backup
