// Reads one node of a tree in exactly the encoding that restic and we write: fields in order, no
// white space, no zero where a zero is left out. Anything else is refused, without an error, for
// the general decoder to judge. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "daemon/repository/tree_scanner.h"

namespace backup {

struct StandardNode {
    // The text begins with a node and goes on behind it. True: `node` is filled (`bytes` tells
    // where it ends), with views into the text and, for a quoted name, into `name_buffer`, which
    // must outlive it.
    static bool read(std::string_view text, RawNode& node, std::string& name_buffer);
};

// A JSON string whose quotes stand around `json`; the scanner has checked it.
std::string unescaped_text(std::string_view json);

}  // namespace backup
