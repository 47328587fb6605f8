// PlanRecord is what a look at the target, before anything is written, finds out: what will be
// touched, and how much space the restore needs. Filled by BatchWriter in a dry run, from several
// threads.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include "daemon/restore/restore.h"
#include "daemon/restore/stamps.h"

namespace backup {

class PlanRecord {
  public:
    // More of them are counted, not listed.
    static constexpr std::size_t kMostSteps = 10'000;

    explicit PlanRecord(bool lists_steps) : lists_steps_(lists_steps) {}

    // A file or the like is made where nothing was; `bytes` of content.
    void create(std::string action, std::string path, dev_t device, std::uint64_t bytes);
    // What is there gives way to an object of `bytes`.
    void replace(std::string path, const struct stat& there, std::uint64_t bytes);
    // Other metadata for what is there.
    void alter(std::string path, const struct stat& there);
    void remove(std::string path, const struct stat& there);
    // Metadata that the target is not able to take.
    void cannot_hold(const char* what);

    struct Space {
        std::uint64_t created = 0;    // content that has to find room
        std::uint64_t replacing = 0;  // content of files that something gives way to
        std::uint64_t given_up = 0;   // blocks of what gives way
        std::uint64_t largest = 0;    // one file
        std::uint64_t objects = 0;    // new inodes
        std::string path;             // of one object on it
        // At the worst moment: files are beside those that they replace, a few batches at a time.
        std::uint64_t needed() const;
    };

    ObjectStamps& stamps() { return stamps_; }
    // Files whose content is right already, whatever becomes of their metadata.
    ObjectStamps& known_right() { return known_right_; }
    std::vector<TouchedObject> take_touched();
    std::vector<PlannedStep> take_steps() { return std::move(steps_); }
    std::vector<std::string> cannot_hold_lines() const;
    std::map<dev_t, Space> space() const { return space_; }
    bool touches_anything() const { return !touched_.empty(); }
    std::uint64_t bytes_created() const { return bytes_created_; }
    std::uint64_t bytes_replaced() const { return bytes_replaced_; }
    std::uint64_t bytes_deleted() const { return bytes_deleted_; }

  private:
    void step(const char* action, const std::string& path, std::uint64_t bytes);

    const bool lists_steps_;
    ObjectStamps stamps_, known_right_;
    mutable std::mutex mutex_;  // guards all below
    std::vector<TouchedObject> touched_;
    std::vector<PlannedStep> steps_;
    std::map<dev_t, Space> space_;
    std::map<std::string, std::uint64_t> cannot_hold_;
    std::uint64_t bytes_created_ = 0, bytes_replaced_ = 0, bytes_deleted_ = 0;
};

}  // namespace backup
