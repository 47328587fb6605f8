// AccessRule answers what a caller could have read when a revision was made: rule R. It judges
// stored nodes by their mode, owner and POSIX ACL as the kernel would have judged the objects.
// Pure; a constant value, any thread.
//
// Root's bypass exists for those only who see all. Numbers are given to other people in time:
// where number and name of an owner or owning group do not both name the caller, or both do not,
// nobody but an administrator gets anything by that object. The same goes for the overflow id
// 65534, which is what files of strangers show, and for lists that are no valid ACL.
#pragma once

#include <cstdint>
#include <string_view>

#include "daemon/access/caller.h"
#include "daemon/repository/tree.h"

namespace backup {

class AccessRule {
  public:
    // Permission bits as in a mode.
    enum Right : std::uint8_t { search = 1, read = 4 };

    // Of somebody who sees all.
    AccessRule() = default;
    // Of anybody else, root included: his bypass does not count here.
    explicit AccessRule(NamedCaller caller) : caller_(std::move(caller)), sees_all_(false) {}

    bool sees_all() const { return sees_all_; }

    // Whether the object alone grants all of `rights` (search, read). The root of a revision is no
    // stored object; it may be listed, as the root directory of a machine may.
    bool grants(const Node& node, std::uint8_t rights) const;

    // What lies in a directory may be named, and stood on the way.
    bool may_pass(const Node& directory) const { return grants(directory, search); }
    // What lies in a directory may be told.
    bool may_list(const Node& directory) const { return grants(directory, search | read); }
    // The content of a file. Of all other kinds there is none but what a listing tells.
    bool may_read(const Node& node) const {
        return node.type != NodeType::file || grants(node, read);
    }
    // The same for any kind, a directory with what it lists.
    bool may_open(const Node& node) const {
        return node.type == NodeType::dir ? may_list(node) : may_read(node);
    }

  private:
    // `doubtful`: the number, or the name, but not both.
    enum class Match : std::uint8_t { no, yes, doubtful };
    Match match_owner(const Node& node) const;
    Match match_group(const Node& node) const;
    bool is_member(std::uint32_t gid) const;
    bool grants_by_list(ByteView list, std::uint8_t rights, bool owns, bool in_group) const;

    NamedCaller caller_;
    bool sees_all_ = true;
};

// Asks for the caller's names: not for the loop thread.
inline AccessRule rule_for(const Caller& caller) {
    return caller.sees_all ? AccessRule() : AccessRule(identify(caller));
}

}  // namespace backup
