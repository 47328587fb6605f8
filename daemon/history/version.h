// Version is one state of one path, as the index of history keeps it: what people see of it, and
// enough to tell a change of the content from one of the metadata. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/repository/tree.h"
#include "daemon/repository/tree_scanner.h"

namespace backup {

// The place of a revision in its line, counted from 1 in the order of feeding. 0: none.
using Ordinal = std::uint32_t;

struct Version {
    char kind = '?';  // f d l b c p s ?
    Ordinal first = 0;
    Ordinal last = 0;  // 0: open, the newest revision has it
    std::uint64_t size = 0;
    FileTime modified;
    std::uint32_t mode = 0;  // permission bits
    std::uint32_t uid = 0, gid = 0;
    std::uint32_t attributes = 0;  // hash of the extended attributes; 0: none
    // Hash of the content's blobs, of a link's target or of a device's number. Of directories 0:
    // what is in them has versions of its own.
    std::uint64_t content = 0;

    bool is_open() const { return last == 0; }
};

// Nothing that a restore would give back differs. Times of access and of change, inodes and counts
// of links do not count.
bool same_version(const Version& a, const Version& b);
bool same_content(const Version& a, const Version& b);

// `scanner` stands at the node; its range is left open, from `first`.
Result<Version> version_of(const RawNode& node, const TreeScanner& scanner, Ordinal first);

void append_varint(std::string& to, std::uint64_t value);
// Takes it from the front; false for what is no number.
bool take_varint(std::string_view& from, std::uint64_t& value);
void append_version(std::string& to, const Version& version);
bool take_version(std::string_view& from, Version& version);

}  // namespace backup
