// LookPlan is what a run looks at, by path: the directories with something to look at in them, and
// which names. plan_look() makes it from marks. A value; reading it is thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/archive/backup.h"
#include "daemon/tracking/look_at_changes.h"

namespace backup::tracking {

struct LookPlan {
    struct Directory {
        std::vector<std::string> names;  // perhaps more than once
        bool listing = false, subtree = false, read_all = false;
    };
    bool everything = false, read_everything = false;
    std::unordered_map<std::string, Directory> directories;
    bool has_subtrees = false, has_read_all = false;
    bool links_may_have_changed = true;
    std::unordered_set<std::string> must_read_files;
    std::unordered_map<std::string, std::string> was_at;  // present path -> in the parent revision
    std::unordered_set<std::string> held;
    std::vector<LookAtChanges::Item> items;

    // Looks at this name, and goes there.
    void add_name(std::string_view path);
    // Goes to this directory.
    Directory& add_directory(const std::string& path);

    LookAt::Directory directory(const std::string& path) const;
    std::vector<std::string> entries(const std::string& path) const;
    bool must_read(const std::string& path) const;
};

LookPlan plan_look(const LookAtInput& input);

// "" for the root's parent; the part before the last slash, "/" at least.
std::string_view parent_of(std::string_view path);
std::string_view name_of(std::string_view path);
std::string child_of(std::string_view directory, std::string_view name);
// True for equal paths, too.
bool is_below(std::string_view path, std::string_view ancestor);

}  // namespace backup::tracking
