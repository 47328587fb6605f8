// Ctrl-C as something to read in place of an end: a verb that watches says its last word first.
#pragma once

#include "common/unique_fd.h"

namespace backup {

// Blocks SIGINT and SIGTERM while it lives and makes them readable at fd().
class InterruptGuard {
  public:
    InterruptGuard();
    ~InterruptGuard();
    InterruptGuard(const InterruptGuard&) = delete;
    InterruptGuard& operator=(const InterruptGuard&) = delete;
    int fd() const { return fd_.get(); }

  private:
    UniqueFd fd_;
};

}  // namespace backup
