// Reason is one thing that keeps a run from beginning or going on, in words of the bus and in a
// sentence that everybody may read: no names of files, no addresses.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/result.h"

namespace backup {

enum class Condition : std::uint8_t {
    paused,       // somebody said so
    inhibited,    // a program asked for quiet
    guard,        // a question about the set waits for its answer
    locked,       // the repository's password is not known, or another tool holds its lock
    offline,      // the repository or the network cannot be reached
    window,       // it is not the time
    battery,      // no mains
    metered,      // the network costs
    pressure,     // the machine is busy
    power_saver,  // the machine is to save power
    low_space,    // the storage is full
    sleep,        // the machine is about to sleep or to go down
    restore,      // somebody waits for a restore
};
inline constexpr std::size_t kConditions = 13;
std::string_view to_string(Condition condition);
std::optional<Condition> condition_from_string(std::string_view word);

struct Reason {
    Condition condition;
    std::string text;
    Timestamp since{};
    std::optional<Timestamp> until;  // when it ends by itself, if that is known
    bool of_storage = false;         // offline: it is the repository, not the network
    bool operator==(const Reason&) const = default;
};

// A time for people, to the second.
std::string to_second(Timestamp time);

// Conditions that a person chose not to wait for.
class Ignored {
  public:
    // Words of conditions, or "all": those that may be ignored. `invalid` for others: what protects
    // data is not for ignoring.
    static Result<Ignored> parse(const std::vector<std::string>& words);
    void add(Condition condition) { bits_ |= bit(condition); }
    void add(const Ignored& other) { bits_ |= other.bits_; }
    bool has(Condition condition) const { return (bits_ & bit(condition)) != 0; }
    bool empty() const { return bits_ == 0; }

  private:
    static std::uint32_t bit(Condition condition) {
        return std::uint32_t{1} << static_cast<unsigned>(condition);
    }
    std::uint32_t bits_ = 0;
};

}  // namespace backup
