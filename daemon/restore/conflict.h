// What to do about something that is already there. Pure: looks at descriptions, never at the disk.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "daemon/restore/restore.h"

namespace backup {

enum class Action : std::uint8_t {
    create,        // nothing is there
    replace,       // make it and rename it over what is there
    keep_both,     // make it under another name
    skip,          // leave what is there
    unchanged,     // what is there is what was asked for
    set_metadata,  // the content is right, the rest is not
    conflict,      // refused: `fail`
    refuse,        // cannot be done: a directory with something in it stands in the way
    set_aside,     // left alone: in use, or changed since the restore was planned
};

// Something is made and put in place.
inline bool is_made(Action action) {
    return action == Action::create || action == Action::replace || action == Action::keep_both;
}

// What is there, compared with what shall be there.
struct Existing {
    bool is_there = false;
    bool same_type = false;
    bool same_content = false;
    bool same_metadata = false;
    bool is_newer = false;             // its mtime is not before the revision's
    bool is_filled_directory = false;  // a directory with entries; never removed
    bool is_shared = false;            // has further names that are none of ours
};

// Objects other than directories.
Action decide(ConflictMode mode, const Existing& existing);

// Suffix of `keep_both`: " (backup 2026-11-20 09.30)", local time.
std::string backup_suffix(Timestamp revision_time);
// "photo.jpg" -> "photo (backup 2026-11-20 09.30).jpg"; attempt 2 and up: "photo (backup 2026-11-20
// 09.30 2).jpg". Extensions such as .tar.gz stay whole; at most 255 bytes, shortened between
// characters.
std::string keep_both_name(std::string_view name, std::string_view suffix, unsigned attempt);

}  // namespace backup
