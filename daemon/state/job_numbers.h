// JobNumbers gives numbers that only grow, even when the store of jobs is lost, or loses its latest
// records without a word (LevelDB takes a damaged end of its log for a write that was never
// finished): before a number is used, a small file beside the store says that it, or a higher one,
// was. Sixteen are claimed at a time, for a claim costs two syncs; what was not used is given back
// at the end, so only a crash leaves a gap. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "common/result.h"

namespace backup::state {

class JobNumbers {
  public:
    explicit JobNumbers(std::string file) : file_(std::move(file)) {}
    ~JobNumbers();
    JobNumbers(const JobNumbers&) = delete;
    JobNumbers& operator=(const JobNumbers&) = delete;

    // `highest_known`: what the store says was given last.
    Result<> load(std::uint64_t highest_known);
    // The next number, durably claimed; it is given again unless it was taken.
    Result<std::uint64_t> next();
    void take(std::uint64_t number) { last_ = number; }

  private:
    const std::string file_;
    std::uint64_t last_ = 0;
    std::uint64_t claimed_ = 0;  // as in the file
};

}  // namespace backup::state
