// A LevelDB environment whose writes fail on demand. The class itself hides in failing_env.cc,
// which is built without run-time type information, as the LevelDB of the distribution is.
#pragma once

#include <cstdint>

namespace leveldb {
class Env;
}

namespace backup {

struct WriteFaults {
    // Appends and syncs of the log until the failing one; UINT64_MAX: none fails.
    std::uint64_t fail_at = UINT64_MAX;
    std::uint64_t lasts = 1;     // how many in a row
    std::uint64_t calls = 0;     // so far
    std::uint64_t failures = 0;  // so far
    bool disk_full = false;      // every write and every new file fails
};

leveldb::Env* make_failing_env(WriteFaults& faults);
void free_env(leveldb::Env* env);

}  // namespace backup
