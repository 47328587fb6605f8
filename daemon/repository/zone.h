// The time zone that trees are written in, chosen and applied as Go's runtime does it, so that
// times come out byte for byte as restic writes them. glibc is not asked: it understands POSIX
// strings in TZ, Go does not.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "daemon/repository/tree.h"

namespace backup {

// A zone as read from a TZif file. Immutable; any thread.
class Zone {
  public:
    // Offset from UTC in seconds, valid for begin <= t < end.
    struct Period {
        std::int64_t begin, end;
        std::int32_t offset;
    };

    static std::shared_ptr<const Zone> utc();
    // From TZ: unset means /etc/localtime, empty UTC, a leading ':' is dropped, an absolute path is
    // that file, else a name below the zoneinfo directories; anything unreadable is UTC. Reads the
    // file anew at every call, so a backup that makes its own Zone notices a changed
    // /etc/localtime.
    static std::shared_ptr<const Zone> local();
    static std::shared_ptr<const Zone> from_tz(std::optional<std::string_view> tz);
    // The bytes of a TZif file; `invalid` for anything else.
    static Result<std::shared_ptr<const Zone>> parse(ByteView tzif);

    Period at(std::int64_t unix_seconds) const;

    // A rule from the footer of a TZif file: when summer time begins and ends in any year.
    struct RuleDay {
        enum class Kind : std::uint8_t { julian, zero_based, month_week_day } kind{};
        int day = 0, week = 0, month = 0;
        std::int32_t seconds = 0;  // after midnight; may be negative or beyond a day
    };
    struct Rule {
        std::int32_t standard = 0, summer = 0;
        bool has_summer = false;
        RuleDay begin, end;
    };

  private:
    Period at_rule(std::int64_t unix_seconds, std::int64_t from) const;
    struct Transition {
        std::int64_t at;
        std::int32_t offset;
    };
    std::vector<Transition> transitions_;
    std::int32_t first_offset_ = 0;
    std::optional<Rule> rule_;
};

// Writes times of one zone. Keeps the last offset and the last day, as neighbouring files have
// neighbouring times: one object per thread.
class ZoneFormatter {
  public:
    static constexpr std::size_t kLongest = 48;  // with room for copies of fixed size

    explicit ZoneFormatter(std::shared_ptr<const Zone> zone);
    // RFC 3339 with up to 9 fraction digits, without quotes. `out` has room for kLongest bytes;
    // returns the end.
    char* write(FileTime time, char* out);
    std::string text(FileTime time);

  private:
    void move_to(std::int64_t seconds);  // loads the period
    char* write_local(std::int64_t local, std::uint32_t nanoseconds, char* out);
    char* write_far(FileTime time, char* out);

    std::shared_ptr<const Zone> zone_;
    Zone::Period period_{0, 0, 0};
    std::int64_t day_;  // local day number whose date is in date_
    char date_[11];     // "2026-11-20T"
    char suffix_[6];    // "Z" or "+01:00"
    std::uint8_t suffix_size_ = 0;
};

// RFC 3339 with any offset and 0 to 9 fraction digits; nothing for other text.
std::optional<FileTime> parse_file_time(std::string_view text);

}  // namespace backup
