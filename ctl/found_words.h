// Kinds of objects, and what happened to them, as words. Pure.
#pragma once

#include <string>

#include "ctl/json.h"
#include "ctl/resolve.h"

namespace backup {

// From the letter of the bus ("f") to the word of JSON ("file").
std::string kind_of_letter(const std::string& letter);
// "home/7"; without a set's number the first digits of the id.
std::string revision_name(const std::string& set, std::uint64_t number, const std::string& id);
// Quoted where a shell would not take it as one word.
std::string shell_word(const std::string& text);
// "mtime" of an entry, in the same precision.
std::uint64_t mtime_usec(const Record& entry, const char* key = "mtime_ns");
std::string mtime_json(const Context& context, const Record& entry, const char* key = "mtime_ns");

}  // namespace backup
