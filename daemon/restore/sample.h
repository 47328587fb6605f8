// A sample: objects of a revision, chosen at random, to be given back for a try. Blocking; reads
// trees and no content. Of up to SampleLimits::directories directories every object is as likely as
// any other; of a larger tree so many directories are looked at, others each time.
#pragma once

#include <cstdint>
#include <random>
#include <stop_token>
#include <vector>

#include "daemon/restore/restore.h"

namespace backup {

struct SampleLimits {
    std::size_t files = 64;
    std::uint64_t bytes = std::uint64_t{256} << 20;  // of all together
    std::size_t directories = 4096;
};

struct Sample {
    std::vector<FoundNode> chosen;  // files, symbolic links, fifos; by path
    std::uint64_t bytes = 0;
    std::uint64_t passed_over = 0;   // files larger than all of it may be
    std::vector<Exception> damaged;  // directories of which the list, or some of it, cannot be had
};

// Below these; one that is no directory is chosen whatever the limits are. Errors: storage that
// cannot be reached, the stop.
Result<Sample> draw_sample(Repository& repository, const std::vector<FoundNode>& starts,
                           const SampleLimits& limits, std::mt19937_64& random,
                           std::stop_token stop);

}  // namespace backup
