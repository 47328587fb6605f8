#include "daemon/repository/tree_encoder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daemon/repository/node_decoder.h"
#include "daemon/repository/tree_scanner.h"

namespace backup {
namespace {

NodeFields file(std::string_view name) {
    NodeFields node;
    node.name = name;
    node.type = NodeType::file;
    node.mode = 0644;
    node.mtime = node.atime = node.ctime = {1700000000, 123456789};
    node.has_content = true;
    return node;
}

TEST(TreeEncoder, EmptyDirectoryHasTheKnownId) {
    TreeEncoder encoder(GoRules::go122, Zone::utc());
    const ByteView tree = encoder.finish();
    EXPECT_EQ(as_text(tree), "{\"nodes\":[]}\n");
    BlobId id;
    SHA256(tree.data(), tree.size(), id.bytes.data());
    EXPECT_EQ(id.hex(), "ac08ce34ba4f8123618661bef2425f7028ffb9ac740578a3ee88684d2523fee8");
}

TEST(TreeEncoder, WritesEveryFieldInOrder) {
    BlobId subtree;
    subtree.bytes.fill(0xab);
    const std::vector<ExtendedAttribute> attributes = {{"user.a", to_bytes("x")}, {"user.b", {}}};
    NodeFields node = file("n");
    node.uid = 1;
    node.gid = 2;
    node.user = "u<";
    node.group = "g";
    node.inode = 3;
    node.device_id = 4;
    node.size = 5;
    node.links = 6;
    node.link_target = "t";
    node.extended_attributes = attributes;
    node.generic_attributes = R"({"k":1})";
    node.device = 7;
    node.content = {&subtree, 1};
    node.subtree = &subtree;
    node.error = "e";
    Bytes out;
    TreeEncoder(GoRules::go122, Zone::utc()).append_node(node, out);
    const std::string hex = subtree.hex();
    EXPECT_EQ(
        as_text(out),
        R"({"name":"n","type":"file","mode":420,"mtime":"2023-11-14T22:13:20.123456789Z",)"
        R"("atime":"2023-11-14T22:13:20.123456789Z","ctime":"2023-11-14T22:13:20.123456789Z","uid":1,"gid":2,)"
        R"("user":"u\u003c","group":"g","inode":3,"device_id":4,"size":5,"links":6,"linktarget":"t",)"
        R"("extended_attributes":[{"name":"user.a","value":"eA=="},{"name":"user.b","value":""}],)"
        R"("generic_attributes":{"k":1},"device":7,"content":[")" +
            hex + R"("],"subtree":")" + hex + R"(","error":"e"})");
}

TEST(TreeEncoder, TargetThatIsNoTextIsKeptInFull) {
    NodeFields node = file("l");
    node.type = NodeType::symlink;
    node.link_target = "bad\xff";
    Bytes out;
    TreeEncoder(GoRules::go119, Zone::utc()).append_node(node, out);
    EXPECT_NE(as_text(out).find(R"("linktarget":"bad\ufffd","linktarget_raw":"YmFk/w==",)"),
              std::string::npos);
    EXPECT_EQ(decode_node(as_text(out)).value().link_target, "bad\xff");
}

TEST(TreeEncoder, RefusesNamesThatDoNotFollow) {
    TreeEncoder encoder(GoRules::go122, Zone::utc());
    EXPECT_TRUE(encoder.add(file("b")));
    EXPECT_FALSE(encoder.add(file("b")));
    EXPECT_FALSE(encoder.add(file("a")));
    EXPECT_TRUE(encoder.add(file("b\xff")));
    EXPECT_EQ(encoder.node_count(), 2u);
    const Bytes tree = to_bytes(encoder.finish());
    EXPECT_EQ(decode_tree(tree).value().size(), 2u);
    encoder.begin();
    EXPECT_TRUE(encoder.add(file("a"))) << "a new tree begins";
}

TEST(TreeEncoder, TreeFromNodesIsSortedAndHasNoTwins) {
    TreeEncoder encoder(GoRules::go122, Zone::utc());
    std::vector<Node> nodes(2);
    nodes[0].name = "b";
    nodes[1].name = "a";
    for (Node& node : nodes) node.type = NodeType::fifo;
    const Bytes tree = encode_tree(nodes, encoder).value();
    EXPECT_EQ(decode_tree(tree).value().front().name, "a");
    nodes[1].name = "b";
    EXPECT_EQ(encode_tree(nodes, encoder).error().kind(), ErrorKind::invalid);
}

TEST(TreeEncoder, FieldsOfAFileAreThoseOfStat) {
    struct statx status {};
    ASSERT_EQ(::statx(AT_FDCWD, "/dev/null", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status), 0);
    const NodeFields device = fields_from(status, "null");
    struct stat plain {};
    ASSERT_EQ(::stat("/dev/null", &plain), 0);
    EXPECT_EQ(device.type, NodeType::chardev);
    EXPECT_EQ(device.device, plain.st_rdev);
    EXPECT_EQ(device.device_id, plain.st_dev);
    EXPECT_EQ(device.inode, plain.st_ino);
    EXPECT_EQ(device.mtime,
              (FileTime{plain.st_mtim.tv_sec, static_cast<std::uint32_t>(plain.st_mtim.tv_nsec)}));
    EXPECT_EQ(device.atime, device.mtime);
    EXPECT_EQ(device.links, plain.st_nlink);
    EXPECT_FALSE(device.has_content);

    status.stx_rdev_major = 7;
    status.stx_rdev_minor = 300;
    EXPECT_EQ(fields_from(status, "x").device, 1050412u);
    status.stx_mode = S_IFDIR | 0700;
    status.stx_size = 4096;
    const NodeFields dir = fields_from(status, "x");
    EXPECT_EQ(dir.links, 0u);
    EXPECT_EQ(dir.size, 0u);
    EXPECT_EQ(dir.mode, 2147484096u);
    status.stx_mode = S_IFREG | 0600;
    EXPECT_EQ(fields_from(status, "x").size, 4096u);
    EXPECT_TRUE(fields_from(status, "x").has_content);
}

class Unchanged : public testing::Test {
  protected:
    // The parent revision holds `before`; does the encoder take `now` for the same?
    bool same(const NodeFields& before, const NodeFields& now,
              const std::shared_ptr<const Zone>& zone = Zone::utc(),
              GoRules rules = GoRules::go122) {
        TreeEncoder parent(GoRules::go122, Zone::utc());
        EXPECT_TRUE(parent.add(before));
        const Bytes tree = to_bytes(parent.finish());
        TreeScanner scanner(tree);
        const RawNode* raw = scanner.next().value();
        TreeEncoder encoder(rules, zone);
        return encoder.same_head(now, *raw);
    }
};

TEST_F(Unchanged, NodeIsTheSameOnlyIfEveryFieldOfItsHeadIs) {
    NodeFields node = file("name");
    node.user = "user";
    node.inode = 1;
    node.size = 2;
    node.links = 1;
    EXPECT_TRUE(same(node, node));
    const auto differs = [&](auto change) {
        NodeFields other = node;
        change(other);
        return !same(node, other);
    };
    EXPECT_TRUE(differs([](NodeFields& n) { n.name = "nama"; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.mode = 0600; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.mtime.nanoseconds = 1; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.atime.seconds = 1; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.ctime.seconds += 1; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.uid = 1; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.user = ""; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.group = "g"; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.inode = 2; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.device_id = 2; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.size = 3; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.links = 2; }));
    EXPECT_TRUE(differs([](NodeFields& n) { n.type = NodeType::fifo; }));
    EXPECT_FALSE(differs([](NodeFields& n) { n.content = {}; }))
        << "content is the caller's to judge";
    EXPECT_FALSE(same(node, node, Zone::from_tz("Europe/Berlin")))
        << "another zone writes other bytes";
    NodeFields link = node;
    link.type = NodeType::symlink;
    link.link_target = "\b";
    EXPECT_TRUE(same(link, link));
    EXPECT_FALSE(same(link, link, Zone::utc(), GoRules::go119));
}

TEST_F(Unchanged, ParentBytesAndNewNodesMakeTheSameTree) {
    std::vector<Node> nodes;
    for (const char* name : {"a", "b\xff", "c\"d"}) {
        Node node;
        node.name = name;
        node.type = NodeType::file;
        node.has_content = true;
        node.content.resize(2);
        node.content[0].bytes.fill(1);
        node.content[1].bytes.fill(2);
        node.extended_attributes = {{"user.x", to_bytes("1")}};
        nodes.push_back(node);
    }
    TreeEncoder parent(GoRules::go122, Zone::utc());
    const Bytes before = encode_tree(nodes, parent).value();
    TreeEncoder encoder(GoRules::go122, Zone::utc());
    TreeScanner scanner(before);
    encoder.begin();
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const RawNode* raw = scanner.next().value();
        ASSERT_NE(raw, nullptr);
        EXPECT_EQ(raw->content_count(), 2u);
        EXPECT_EQ(raw->content_id(1), nodes[i].content[1]);
        NodeFields fields = fields_of(nodes[i]);
        EXPECT_TRUE(encoder.same_head(fields, *raw));
        std::string xattrs;
        encoder.append_xattrs(fields.extended_attributes, xattrs);
        EXPECT_EQ(xattrs, raw->xattr_json);
        if (i == 1) {
            // What is known in its encoded form is passed on in it.
            fields.extended_attributes = {};
            fields.xattr_json = raw->xattr_json;
            fields.content = {};
            fields.content_json = raw->content_json;
            EXPECT_TRUE(encoder.add(fields));
        } else {
            EXPECT_TRUE(encoder.add_raw(*raw));
        }
    }
    EXPECT_EQ(as_text(encoder.finish()), as_text(before));
}

}  // namespace
}  // namespace backup
