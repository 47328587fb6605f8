// HoldBook knows who asked that nothing be uploaded: a person (a pause, which outlasts the daemon),
// and programs, for as long as they hold their end of a pipe. Loop thread only, but for what reads
// and writes the file. Pure but for that.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/schedule/reason.h"

namespace backup {

struct Pause {
    Timestamp since{};
    std::optional<Timestamp> until;  // nothing: until somebody resumes
};

class HoldBook {
  public:
    static constexpr std::size_t kMostByUser = 8;
    static constexpr Duration kLongestHold = std::chrono::hours(12);

    void pause(Pause pause) { pause_ = pause; }
    void resume() { pause_.reset(); }
    // Nothing when there is none, or its time is over.
    std::optional<Pause> pause_at(Timestamp now) const;

    // A number for release(); limits_exceeded when the user holds too many.
    Result<std::uint64_t> inhibit(std::string who, std::string why, std::uint32_t uid,
                                  Timestamp now);
    void release(std::uint64_t number) { inhibitors_.erase(number); }
    // Holds that outlasted what a program may ask for.
    void drop_old(Timestamp now);

    std::vector<Reason> reasons(Timestamp now) const;

  private:
    struct Inhibitor {
        std::string who, why;
        std::uint32_t uid = 0;
        Timestamp since{};
    };
    std::optional<Pause> pause_;
    std::map<std::uint64_t, Inhibitor> inhibitors_;
    std::uint64_t next_ = 1;
};

// The pause as it is kept in a file of the state. Blocking.
std::optional<Pause> read_pause(const std::string& file);
Result<> write_pause(const std::string& file, const std::optional<Pause>& pause);

}  // namespace backup
