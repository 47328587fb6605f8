// Checkpoints makes checkpoints of a walk while it runs, on a thread of its own, and the last one
// of a walk that was stopped. See checkpoint.h for what they are.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "daemon/archive/walk.h"

namespace backup {

class Checkpoints {
  public:
    // `covered`: files and bytes that have nodes so far; asked while no worker adds any.
    struct Covered {
        std::uint64_t files = 0, bytes = 0;
    };
    Checkpoints(Walk& walk, std::function<Covered()> covered)
        : walk_(walk), covered_(std::move(covered)) {}
    ~Checkpoints() { stop(); }

    void start();
    // Waits for one under way.
    void stop();
    // When the workers have ended before their work did.
    void make_last();

  private:
    void run(std::stop_token stop);
    bool is_due(MonotonicTime now) const;
    void make();
    Result<Checkpoint> collect();
    // The tree of a directory as far as it is known, and its place in its parent.
    Result<BlobId> save_partial(const Directory& directory);

    Walk& walk_;
    const std::function<Covered()> covered_;
    std::map<const ChildDirectory*, BlobId>
        partial_;  // of directories under way; only in collect()
    std::uint64_t bytes_at_last_ = 0;
    MonotonicTime last_{};
    Duration cost_{};  // for how long the last one held the workers
    bool has_failed_ = false;
    std::jthread thread_;
};

}  // namespace backup
