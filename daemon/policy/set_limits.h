// How much a set may hold and change: plain structs. 0: no limit.
#pragma once

#include <cstdint>
#include <string_view>

namespace backup {

struct LimitValues {
    std::uint64_t items = 0;      // files and directories of a revision
    std::uint64_t bytes = 0;      // of its files
    std::uint64_t file_size = 0;  // of one file
    std::uint64_t churn = 0;      // bytes of new and changed files within a day
    std::uint64_t revisions = 0;  // of the set, the trash not counted

    bool any() const {
        return items != 0 || bytes != 0 || file_size != 0 || churn != 0 || revisions != 0;
    }
    bool operator==(const LimitValues&) const = default;
};

// Over a soft limit somebody is told. A hard one stops: what is in the last revision stays in the
// next, what would go beyond the limit is left out and listed. See daemon/archive/admission.h.
struct Limits {
    LimitValues soft, hard;
    bool any() const { return soft.any() || hard.any(); }
    bool operator==(const Limits&) const = default;
};

struct LimitName {
    std::string_view name;
    std::uint64_t LimitValues::*member;
    bool is_size;  // bytes; else a number
};
inline constexpr LimitName kLimits[] = {
    {"items", &LimitValues::items, false},         {"bytes", &LimitValues::bytes, true},
    {"file-size", &LimitValues::file_size, true},  {"churn", &LimitValues::churn, true},
    {"revisions", &LimitValues::revisions, false},
};

}  // namespace backup
