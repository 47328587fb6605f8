// The program of polkit that asks for a password on our terminal (pkttyagent), where no desktop
// does. Main thread. Ends with the object.
#pragma once

#include <memory>

#include <sys/types.h>

#include "common/unique_fd.h"

namespace backup {

class PasswordAgent {
  public:
    // Nothing: there is no terminal to ask on, or no such program. Waits until it listens.
    static std::unique_ptr<PasswordAgent> start();
    ~PasswordAgent();
    PasswordAgent(const PasswordAgent&) = delete;
    PasswordAgent& operator=(const PasswordAgent&) = delete;

  private:
    explicit PasswordAgent(pid_t child) : child_(child) {}
    const pid_t child_;
};

}  // namespace backup
