// Reads what the daemon streams through a pipe: one JSON object per line, the last one says how it
// ended. Owns the descriptor. One thread; blocks.
#pragma once

#include <optional>
#include <string>

#include "common/result.h"
#include "common/unique_fd.h"
#include "ctl/json.h"

namespace backup {

class Stream {
  public:
    explicit Stream(UniqueFd fd) : fd_(std::move(fd)) {}
    // The next record, or nothing after a good end. An error the daemon reported keeps its code; an
    // end without the last line is an error: the list is not whole.
    Result<std::optional<Record>> next();
    // True: something to read or the end; false: `interrupt_fd` became readable first.
    bool wait(int interrupt_fd);

  private:
    UniqueFd fd_;
    std::string buffer_;
    std::size_t at_ = 0;
    bool ended_ = false;
};

}  // namespace backup
