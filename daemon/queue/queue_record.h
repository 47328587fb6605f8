// One key of the persistent form of a set's queue, as the state store keeps it. See mark_codec.h
// for the layout. A value.
#pragma once

#include <optional>
#include <string>

namespace backup {

struct QueueRecord {
    std::string key;
    std::optional<std::string> value;  // nothing: the key is gone
    bool operator==(const QueueRecord&) const = default;
};

// What else is kept with a queue, and dropped and written with it, has keys that begin so.
inline constexpr char kForeignRecord = '!';

}  // namespace backup
