// Names of files and directories on their way to their final name: ".backupd-<who>-<number>.tmp",
// beside the target. <who> says which process on which machine since which boot makes it, so that
// leftovers of a crash are recognised without a lock or a journal, and nothing of a run that is
// still going on is ever removed.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace backup {

// Thread-safe. One for the process: numbers are not used twice.
std::string next_temp_name();
// The same for something that a later run can go on with: `content` says what it is to become.
std::string next_temp_name(std::uint64_t content);

// The first name that a running process would make. For tests.
std::string temp_name_of_process(std::uint64_t pid);

bool is_temp_name(std::string_view name);

// True when whoever made it is gone: this machine since an earlier boot, or a process of this boot
// that no longer runs. Names of other machines and of other process namespaces are never said to be
// left over.
bool is_left_over(std::string_view name);

// What it was to become; nothing: nobody can go on with it.
std::optional<std::uint64_t> content_of_temp_name(std::string_view name);

// Left-over entries of a directory that a later run can go on with.
std::vector<std::string> resumable_leftovers(int directory_fd);

// Removes left-over entries of a directory that belong to our user (any, as root). Returns how
// many. Errors are not reported: a leftover that stays does no harm. `but_resumable`: those stay.
std::uint64_t remove_leftovers(int directory_fd, bool but_resumable = false);
bool remove_leftover(int directory_fd, const std::string& name);

// Removes a directory under a temporary name with everything in it: never through a symbolic link,
// never into another file system, with few descriptors however deep it is. False when something
// stayed.
bool remove_tree(int parent_fd, const std::string& name);

}  // namespace backup
