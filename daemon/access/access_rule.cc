#include "daemon/access/access_rule.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

namespace backup {

namespace {

constexpr std::uint32_t kOverflowId = 65534;
constexpr std::string_view kAccessList = "system.posix_acl_access";

// The attribute as the kernel gives it (linux/posix_acl_xattr.h): a version in 32 bits, then
// entries of tag (16 bits), rights (16 bits) and id (32 bits), all little endian.
//   tag: 1 owner, 2 user, 4 owning group, 8 group, 16 mask, 32 others
constexpr std::uint32_t kListVersion = 2;
constexpr std::size_t kEntryBytes = 8;
enum class Tag : std::uint16_t {
    owner = 1,
    user = 2,
    owning_group = 4,
    group = 8,
    mask = 16,
    others = 32
};

struct ListEntry {
    Tag tag;
    std::uint16_t rights;
    std::uint32_t id;
};

std::uint32_t number_at(ByteView bytes, std::size_t at, std::size_t width) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < width; ++i)
        value |= static_cast<std::uint32_t>(bytes[at + i]) << (8 * i);
    return value;
}

// Nothing: it is no list that the kernel would take.
std::optional<std::vector<ListEntry>> read_list(ByteView bytes) {
    if (bytes.size() < 4 || (bytes.size() - 4) % kEntryBytes != 0 ||
        number_at(bytes, 0, 4) != kListVersion)
        return std::nullopt;
    std::vector<ListEntry> entries;
    std::array<unsigned, 6> count{};  // by the bit of the tag
    for (std::size_t at = 4; at < bytes.size(); at += kEntryBytes) {
        const auto tag = static_cast<std::uint16_t>(number_at(bytes, at, 2));
        const auto rights = static_cast<std::uint16_t>(number_at(bytes, at + 2, 2));
        if (!std::has_single_bit(tag) || tag > static_cast<std::uint16_t>(Tag::others) ||
            rights > 7)
            return std::nullopt;
        ++count[static_cast<std::size_t>(std::countr_zero(tag))];
        entries.push_back({static_cast<Tag>(tag), rights, number_at(bytes, at + 4, 4)});
    }
    const auto [owners, users, owning_groups, groups, masks, others] = count;
    if (owners != 1 || owning_groups != 1 || others != 1 || masks > 1 ||
        (users + groups > 0 && masks == 0))
        return std::nullopt;
    return entries;
}

bool has_all(std::uint32_t granted, std::uint8_t rights) {
    return (granted & rights) == rights;
}

}  // namespace

AccessRule::Match AccessRule::match_owner(const Node& node) const {
    const bool number = node.uid == caller_.uid;
    const bool name = !node.user.empty() && node.user == caller_.user;
    if (number != name) return Match::doubtful;
    return number ? Match::yes : Match::no;
}

AccessRule::Match AccessRule::match_group(const Node& node) const {
    bool doubtful = false;
    for (const auto& [gid, group] : caller_.groups) {
        const bool number = gid == node.gid;
        const bool name = !node.group.empty() && group == node.group;
        if (number && name) return Match::yes;
        doubtful |= number || name;
    }
    return doubtful ? Match::doubtful : Match::no;
}

bool AccessRule::is_member(std::uint32_t gid) const {
    return std::ranges::any_of(caller_.groups,
                               [gid](const auto& group) { return group.first == gid; });
}

// As acl(5) has it: the owner by his entry alone; a named user by his, within the mask; a member by
// any entry of his groups that grants all of it, within the mask, and by none else; all others by
// theirs.
bool AccessRule::grants_by_list(ByteView list, std::uint8_t rights, bool owns,
                                bool in_group) const {
    const auto entries = read_list(list);
    if (!entries) return false;
    const auto entry_of = [&](Tag tag) {
        return std::ranges::find(*entries, tag, &ListEntry::tag);
    };
    if (owns) return has_all(entry_of(Tag::owner)->rights, rights);
    const auto mask_entry = entry_of(Tag::mask);
    const std::uint32_t mask = mask_entry == entries->end() ? 7u : mask_entry->rights;
    for (const ListEntry& entry : *entries)
        if (entry.tag == Tag::user && entry.id == caller_.uid)
            return has_all(entry.rights & mask, rights);
    bool is_any = false;
    for (const ListEntry& entry : *entries) {
        const bool counts = (entry.tag == Tag::owning_group && in_group) ||
                            (entry.tag == Tag::group && is_member(entry.id));
        if (!counts) continue;
        if (has_all(entry.rights & mask, rights)) return true;
        is_any = true;
    }
    return !is_any && has_all(entry_of(Tag::others)->rights, rights);
}

bool AccessRule::grants(const Node& node, std::uint8_t rights) const {
    if (sees_all_) return true;
    if (node.name.empty()) return node.type == NodeType::dir;
    if (node.uid == kOverflowId || node.gid == kOverflowId || caller_.uid == kOverflowId)
        return false;
    const Match owner = match_owner(node), group = match_group(node);
    const bool owns = owner == Match::yes, in_group = group == Match::yes;
    if (owner == Match::doubtful || (!owns && group == Match::doubtful)) return false;
    for (const ExtendedAttribute& attribute : node.extended_attributes)
        if (attribute.name == kAccessList)
            return grants_by_list(attribute.value, rights, owns, in_group);
    const std::uint32_t mode = node.unix_mode();
    return has_all(owns ? mode >> 6 : in_group ? mode >> 3 : mode, rights);
}

}  // namespace backup
