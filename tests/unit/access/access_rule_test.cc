#include "daemon/access/access_rule.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace backup {
namespace {

// alice is in her own group and in staff; bob in his own.
const NamedCaller kAlice{1001, "alice", {{1001, "alice"}, {50, "staff"}}};

Node node(std::uint32_t mode, std::uint32_t uid, std::string user, std::uint32_t gid,
          std::string group) {
    Node made;
    made.name = "n";
    made.type = S_ISDIR(mode) ? NodeType::dir : S_ISLNK(mode) ? NodeType::symlink : NodeType::file;
    made.mode = go_mode(mode);
    made.uid = uid;
    made.user = std::move(user);
    made.gid = gid;
    made.group = std::move(group);
    return made;
}
Node hers(std::uint32_t mode) {
    return node(mode, 1001, "alice", 1001, "alice");
}
Node bobs(std::uint32_t mode) {
    return node(mode, 1002, "bob", 1002, "bob");
}
Node staffs(std::uint32_t mode) {
    return node(mode, 0, "root", 50, "staff");
}

struct Entry {
    std::uint16_t tag, rights;
    std::uint32_t id = UINT32_MAX;
};
constexpr std::uint16_t kOwner = 1, kUser = 2, kOwningGroup = 4, kGroup = 8, kMask = 16,
                        kOthers = 32;

Bytes list(const std::vector<Entry>& entries, std::uint32_t version = 2) {
    Bytes bytes;
    const auto put = [&](std::uint32_t value, int width) {
        for (int i = 0; i < width; ++i)
            bytes.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    };
    put(version, 4);
    for (const Entry& entry : entries) {
        put(entry.tag, 2);
        put(entry.rights, 2);
        put(entry.id, 4);
    }
    return bytes;
}
Node with_list(Node made, Bytes value) {
    made.extended_attributes.push_back({"user.note", {}});
    made.extended_attributes.push_back({"system.posix_acl_access", std::move(value)});
    return made;
}

TEST(AccessRule, ModeDecidesByTheFirstClassThatFits) {
    const AccessRule rule(kAlice);
    const struct {
        const char* what;
        Node node;
        bool reads;
    } cases[] = {
        {"her own", hers(S_IFREG | 0600), true},
        {"her own that only others may read", hers(S_IFREG | 0044), false},
        {"her own that she may only write", hers(S_IFREG | 0244), false},
        {"another's for all", bobs(S_IFREG | 0644), true},
        {"another's for nobody", bobs(S_IFREG | 0600), false},
        {"another's for his group", bobs(S_IFREG | 0640), false},
        {"of a group of hers", staffs(S_IFREG | 0640), true},
        {"of a group of hers that may do less than all", staffs(S_IFREG | 0604), false},
        {"root's", node(S_IFREG | 0400, 0, "root", 0, "root"), false},
        {"setuid and setgid grant nothing", bobs(S_IFREG | 06700), false},
        {"setgid of her group does not take away", staffs(S_IFREG | 02650), true},
    };
    for (const auto& one : cases) EXPECT_EQ(rule.may_read(one.node), one.reads) << one.what;
}

TEST(AccessRule, DirectoriesArePassedBySearchAndListedByBoth) {
    const AccessRule rule(kAlice);
    const struct {
        std::uint32_t others;
        bool passes, lists;
    } cases[] = {{0, false, false}, {1, true, false},  {4, false, false},
                 {5, true, true},   {2, false, false}, {7, true, true}};
    for (const auto& one : cases) {
        const Node directory = bobs(S_IFDIR | 0700 | one.others);
        EXPECT_EQ(rule.may_pass(directory), one.passes) << one.others;
        EXPECT_EQ(rule.may_list(directory), one.lists) << one.others;
        EXPECT_EQ(rule.may_open(directory), one.lists) << one.others;
    }
}

TEST(AccessRule, TheRootOfARevisionIsOpen) {
    Node root;
    root.type = NodeType::dir;
    EXPECT_TRUE(AccessRule(kAlice).may_list(root));
    root.type = NodeType::file;
    EXPECT_FALSE(AccessRule(kAlice).may_read(root)) << "a file without a name is no root";
}

TEST(AccessRule, ALinkHasNoRightsOfItsOwn) {
    EXPECT_TRUE(AccessRule(kAlice).may_read(bobs(S_IFLNK | 0700)));
}

TEST(AccessRule, RootHasNoBypassButWhoSeesAllDoes) {
    const AccessRule root(NamedCaller{0, "root", {{0, "root"}}});
    EXPECT_FALSE(root.may_read(hers(S_IFREG | 0600)));
    const AccessRule all;
    EXPECT_TRUE(all.sees_all());
    EXPECT_TRUE(all.may_read(hers(S_IFREG | 0)));
    EXPECT_TRUE(all.may_pass(node(S_IFDIR | 0, 65534, "", 65534, "")));
}

TEST(AccessRule, NumberAndNameMustBothNameTheCaller) {
    const AccessRule rule(kAlice);
    const struct {
        const char* what;
        Node node;
        bool reads;
    } cases[] = {
        {"the number was carol's", node(S_IFREG | 0644, 1001, "carol", 7, "g"), false},
        {"alice had another number", node(S_IFREG | 0644, 1007, "alice", 7, "g"), false},
        {"the number had no name", node(S_IFREG | 0644, 1001, "", 7, "g"), false},
        {"a stranger without a name", node(S_IFREG | 0644, 1009, "", 7, ""), true},
        {"the group's number was of others", node(S_IFREG | 0644, 0, "root", 50, "games"), false},
        {"the group had another number", node(S_IFREG | 0644, 0, "root", 51, "staff"), false},
        {"her own, its group is in doubt", node(S_IFREG | 0600, 1001, "alice", 50, "games"), true},
        {"overflow owner", node(S_IFREG | 0644, 65534, "nobody", 7, "g"), false},
        {"overflow group", node(S_IFREG | 0644, 1001, "alice", 65534, "nogroup"), false},
    };
    for (const auto& one : cases) EXPECT_EQ(rule.may_read(one.node), one.reads) << one.what;
    EXPECT_FALSE(AccessRule(NamedCaller{65534, "nobody", {}}).may_read(bobs(S_IFREG | 0644)));
    const AccessRule nameless(NamedCaller{4000, "", {{4000, ""}}});
    // A range of numbers for containers is given to somebody else in time, too.
    EXPECT_FALSE(nameless.may_read(node(S_IFREG | 0400, 4000, "", 4000, "")));
    EXPECT_FALSE(nameless.may_read(node(S_IFREG | 0444, 4001, "", 4000, ""))) << "nor a group";
    EXPECT_FALSE(nameless.may_read(node(S_IFREG | 0444, 4000, "alice", 4000, "")));
    EXPECT_TRUE(nameless.may_read(node(S_IFREG | 0444, 4001, "", 4001, ""))) << "somebody else";
}

TEST(AccessRule, ListsAreReadAsTheKernelReadsThem) {
    const AccessRule rule(kAlice);
    const struct {
        const char* what;
        Node node;
        std::vector<Entry> entries;
        bool reads;
    } cases[] = {
        {"a named user",
         bobs(S_IFREG | 0640),
         {{kOwner, 6}, {kUser, 4, 1001}, {kOwningGroup, 0}, {kMask, 4}, {kOthers, 0}},
         true},
        {"a named user beyond the mask",
         bobs(S_IFREG | 0600),
         {{kOwner, 6}, {kUser, 4, 1001}, {kOwningGroup, 4}, {kMask, 0}, {kOthers, 4}},
         false},
        {"a named user with less than all others",
         bobs(S_IFREG | 0644),
         {{kOwner, 6}, {kUser, 0, 1001}, {kOwningGroup, 4}, {kMask, 7}, {kOthers, 4}},
         false},
        {"another named user",
         bobs(S_IFREG | 0640),
         {{kOwner, 6}, {kUser, 7, 1005}, {kOwningGroup, 4}, {kMask, 7}, {kOthers, 0}},
         false},
        {"the mask does not bind the owner",
         hers(S_IFREG | 0600),
         {{kOwner, 6}, {kUser, 0, 1001}, {kOwningGroup, 0}, {kMask, 0}, {kOthers, 0}},
         true},
        {"a named group",
         bobs(S_IFREG | 0640),
         {{kOwner, 6}, {kOwningGroup, 0}, {kGroup, 4, 50}, {kMask, 4}, {kOthers, 0}},
         true},
        {"a named group beyond the mask",
         bobs(S_IFREG | 0600),
         {{kOwner, 6}, {kOwningGroup, 0}, {kGroup, 4, 50}, {kMask, 1}, {kOthers, 4}},
         false},
        {"any group that grants",
         staffs(S_IFREG | 0640),
         {{kOwner, 6}, {kOwningGroup, 0}, {kGroup, 4, 1001}, {kMask, 4}, {kOthers, 0}},
         true},
        {"groups that do not grant shut out",
         staffs(S_IFREG | 0604),
         {{kOwner, 6}, {kOwningGroup, 0}, {kGroup, 2, 1001}, {kMask, 7}, {kOthers, 4}},
         false},
        {"no mask: the owning group as it is",
         staffs(S_IFREG | 0640),
         {{kOwner, 6}, {kOwningGroup, 4}, {kOthers, 0}},
         true},
        {"others are not masked",
         bobs(S_IFREG | 0604),
         {{kOwner, 6}, {kOwningGroup, 0}, {kGroup, 7, 9}, {kMask, 0}, {kOthers, 4}},
         true},
        {"named entries without a mask",
         bobs(S_IFREG | 0644),
         {{kOwner, 6}, {kUser, 4, 1001}, {kOwningGroup, 4}, {kOthers, 4}},
         false},
        {"no owner", bobs(S_IFREG | 0644), {{kOwningGroup, 4}, {kOthers, 4}}, false},
        {"an unknown tag",
         bobs(S_IFREG | 0644),
         {{kOwner, 6}, {kOwningGroup, 4}, {kOthers, 4}, {64, 4}},
         false},
        {"rights that are none",
         bobs(S_IFREG | 0644),
         {{kOwner, 6}, {kOwningGroup, 4}, {kOthers, 12}},
         false},
    };
    for (const auto& one : cases)
        EXPECT_EQ(rule.may_read(with_list(one.node, list(one.entries))), one.reads) << one.what;
    const std::vector<Entry> plain{{kOwner, 6}, {kOwningGroup, 4}, {kOthers, 4}};
    EXPECT_TRUE(rule.may_read(with_list(bobs(S_IFREG | 0644), list(plain))));
    EXPECT_FALSE(rule.may_read(with_list(bobs(S_IFREG | 0644), list(plain, 3)))) << "version";
    Bytes cut = list(plain);
    cut.pop_back();
    EXPECT_FALSE(rule.may_read(with_list(bobs(S_IFREG | 0644), cut))) << "cut off";
    EXPECT_FALSE(rule.may_read(with_list(bobs(S_IFREG | 0644), {}))) << "empty";
}

// One group grants r, another x: the kernel wants one entry that grants both.
TEST(AccessRule, RightsOfSeveralGroupsDoNotAddUp) {
    const AccessRule rule(kAlice);
    const auto directory = [](std::uint16_t staff, std::uint16_t own) {
        return with_list(bobs(S_IFDIR | 0770), list({{kOwner, 7},
                                                     {kOwningGroup, 0},
                                                     {kGroup, own, 1001},
                                                     {kGroup, staff, 50},
                                                     {kMask, 7},
                                                     {kOthers, 0}}));
    };
    EXPECT_FALSE(rule.may_list(directory(4, 1)));
    EXPECT_TRUE(rule.may_pass(directory(4, 1)));
    EXPECT_TRUE(rule.may_list(directory(4, 5)));
}

TEST(Caller, TheNamesOfRootAreKnown) {
    const NamedCaller root = identify({0, {0}});
    EXPECT_EQ(root.user, "root");
    ASSERT_EQ(root.groups.size(), 1u);
    EXPECT_EQ(root.groups[0].second, "root");
    EXPECT_EQ(identify({3'999'999'999u, {3'999'999'999u}}).user, "");
}

TEST(Caller, ThePrimaryGroupIsOneThatTheBusVouchesFor) {
    EXPECT_EQ(primary_group({0, {0, 5}}), 0u);
    EXPECT_EQ(primary_group({0, {7, 5}}), 7u);
    EXPECT_EQ(primary_group({3'999'999'999u, {12}}), 12u);
    EXPECT_EQ(primary_group({3'999'999'999u, {}}), 3'999'999'999u);
}

}  // namespace
}  // namespace backup
