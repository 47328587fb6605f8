// ChangeTeller passes on to the change log what happens to each directory once only, and when the
// restore is over what it leaves behind. Thread-safe.
#pragma once

#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/restore/restore.h"

namespace backup {

class ChangeTeller final : public ChangeLog {
  public:
    // Both outlive it.
    ChangeTeller(ChangeLog& log, int target_fd) : log_(log), target_fd_(target_fd) {}

    void will_create(std::string_view path, std::string_view source) override;
    void will_change_entries(std::string_view path, const timespec& mtime) override;
    void will_alter(std::string_view path) override;
    void left(std::string_view path, const timespec& mtime) override;
    Result<> sync() override;

    // Sets the mtimes of directories in which something changed, then tells those of all.
    Result<> finish(const std::vector<std::pair<std::string, timespec>>& mtimes);

  private:
    ChangeLog& log_;
    const int target_fd_;
    std::mutex mutex_;  // guards all below
    std::set<std::string, std::less<>> directories_;
    bool is_durable_ = true;
};

}  // namespace backup
