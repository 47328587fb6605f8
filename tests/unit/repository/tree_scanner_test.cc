#include "daemon/repository/tree_scanner.h"

#include <random>

#include <gtest/gtest.h>

#include "daemon/repository/node_decoder.h"
#include "daemon/repository/tree_encoder.h"
#include "tests/unit/repository/vectors.h"

namespace backup {
namespace {

Node random_node(std::mt19937_64& random, std::string name) {
    const auto text = [&] {
        static const std::vector<std::string> kParts = {"a",  "\"", "\\", "\xff", "\xc3\xa4",
                                                        "\n", "<",  "]",  "}",    "\x01"};
        std::string out;
        for (auto n = random() % 6; n > 0; --n) out += kParts[random() % kParts.size()];
        return out;
    };
    const auto maybe = [&]() -> std::uint64_t {
        return random() % 3 == 0 ? 0 : random() >> random() % 64;
    };
    const auto utf8 = [&] {
        std::string out = text();
        std::erase(out, '\xff');
        return out;
    };
    Node node;
    node.name = std::move(name);
    node.type = static_cast<NodeType>(random() % 9);
    if (node.type == NodeType::unknown) node.type_text = "t" + utf8();
    node.mode = static_cast<std::uint32_t>(maybe());
    node.mtime = {static_cast<std::int64_t>(random() % 4000000000u),
                  static_cast<std::uint32_t>(random() % 1000000000)};
    node.atime = random() % 2 ? node.mtime : FileTime{7, 0};
    node.ctime = {1700000000, static_cast<std::uint32_t>(random() % 2)};
    node.uid = static_cast<std::uint32_t>(maybe());
    node.gid = static_cast<std::uint32_t>(maybe());
    node.user = utf8();
    node.group = utf8();
    node.inode = maybe();
    node.device_id = maybe();
    node.size = maybe();
    node.links = maybe();
    if (random() % 2) node.link_target = text();
    for (auto n = random() % 3; n > 0; --n)
        node.extended_attributes.push_back({utf8(), to_bytes(text())});
    if (random() % 8 == 0) node.generic_attributes = R"({"a":[1,"]"]})";
    node.device = maybe();
    node.has_content = node.type == NodeType::file || random() % 8 == 0;
    if (node.has_content) {
        node.content.resize(random() % 4);
        for (auto& id : node.content) {
            for (auto& byte : id.bytes) byte = static_cast<std::uint8_t>(random());
        }
    }
    if (node.type == NodeType::dir)
        node.subtree.emplace().bytes.fill(static_cast<std::uint8_t>(random() | 1));
    if (random() % 16 == 0) node.error = "e" + utf8();
    return node;
}

TEST(TreeScanner, ReadsWhatTheGeneralDecoderReads) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 300; ++round) {
        std::vector<Node> nodes;
        for (int i = 0; i < 20; ++i) {
            nodes.push_back(random_node(
                random, std::string(1, static_cast<char>('a' + i)) + (i % 3 ? "" : "\xff\"\n")));
        }
        TreeEncoder encoder(round % 2 ? GoRules::go119 : GoRules::go122,
                            Zone::from_tz("Europe/Berlin"));
        const Bytes tree = encode_tree(nodes, encoder).value();
        TreeScanner scanner(tree);
        for (const Node& node : nodes) {
            const auto next = scanner.next();
            ASSERT_TRUE(next.ok()) << next.error().message();
            const RawNode* raw = *next;
            ASSERT_NE(raw, nullptr);
            const Node general = decode_node(raw->bytes).value();
            ASSERT_EQ(general, node) << raw->bytes;
            ASSERT_EQ(scanner.decode().value(), node) << raw->bytes;
            EXPECT_EQ(raw->name, node.name);
            EXPECT_EQ(raw->type, node.type);
            EXPECT_EQ(raw->mtime(), node.mtime);
            EXPECT_EQ(raw->ctime(), node.ctime);
            EXPECT_EQ(raw->inode, node.inode);
            EXPECT_EQ(raw->size, node.size);
            EXPECT_EQ(raw->device, node.device);
            EXPECT_EQ(raw->has_content, node.has_content);
            EXPECT_EQ(raw->content_count(), node.content.size());
            EXPECT_EQ(raw->subtree_hex.empty(), !node.subtree);
        }
        EXPECT_EQ(scanner.next().value(), nullptr);
        EXPECT_EQ(scanner.next().value(), nullptr);
        EXPECT_FALSE(scanner.out_of_order());
    }
}

TEST(TreeScanner, TreesOfResticAreInTheUsualEncoding) {
    for (const char* repository : {"v1", "v2", "v2-unusual"}) {
        const auto expected = vectors::load(std::string(repository) + "/expected.json");
        for (const auto& [id, text] : expected["trees"].items()) {
            const std::string bytes = vectors::from_base64(text);
            TreeScanner scanner(as_bytes(bytes));
            std::string joined;
            for (const RawNode* node = scanner.next().value(); node;
                 node = scanner.next().value()) {
                EXPECT_FALSE(node->head.empty()) << node->bytes;
                EXPECT_EQ(scanner.decode().value(), decode_node(node->bytes).value());
                joined += (joined.empty() ? "" : ",") + std::string(node->bytes);
            }
            EXPECT_EQ(bytes, R"({"nodes":[)" + joined + "]}\n");
        }
    }
}

TEST(TreeScanner, UnusualEncodingIsSeenInFullButNeverTheSame) {
    const std::string id = std::string(63, '0') + "1";
    const std::string text = R"({"nodes":[ {"type":"file","name":"a","content": [")" + id +
                             R"("],"inode":5,"size":0,"mtime":"2020-01-01T01:00:00+01:00"} ]})";
    TreeScanner scanner(as_bytes(text));
    const RawNode* node = scanner.next().value();
    ASSERT_NE(node, nullptr);
    EXPECT_EQ(node->name, "a");
    EXPECT_TRUE(node->head.empty());
    EXPECT_EQ(node->bytes.front(), '{');
    EXPECT_EQ(node->bytes.back(), '}');
    EXPECT_EQ(node->inode, 5u);
    EXPECT_EQ(node->mtime().seconds, 1577836800);
    EXPECT_EQ(node->content_id(0).hex(), id);
    EXPECT_EQ(scanner.decode().value().content.front().hex(), id);
    TreeEncoder encoder(GoRules::go122, Zone::utc());
    EXPECT_FALSE(encoder.same_head(fields_of(scanner.decode().value()), *node));
    EXPECT_EQ(scanner.next().value(), nullptr);
}

TEST(TreeScanner, DisorderIsReportedAndTwinsAreFoundAnywhere) {
    const auto node = [](const std::string& name) {
        return R"({"name":")" + name +
               R"(","type":"fifo","mtime":"2020-01-01T00:00:00Z","atime":"2020-01-01T00:00:00Z",)" +
               R"("ctime":"2020-01-01T00:00:00Z","uid":0,"gid":0,"content":null})";
    };
    const std::string text = R"({"nodes":[)" + node("a") + "," + node("c") + "," + node("b") + "," +
                             node("d") + "," + node("c") + "]}\n";
    TreeScanner scanner(as_bytes(text));
    std::string names;
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(scanner.out_of_order(), i == 3);
        names += scanner.next().value()->name;
    }
    EXPECT_EQ(names, "acbd");
    EXPECT_EQ(scanner.next().error().kind(), ErrorKind::corrupt);
    EXPECT_FALSE(scanner.next().ok()) << "an error stays";
}

TEST(TreeScanner, CutOffTreesAreErrors) {
    const auto expected = vectors::load("v2/expected.json");
    for (const auto& [id, text] : expected["trees"].items()) {
        const std::string bytes = vectors::from_base64(text);
        for (std::size_t size = 0; size + 1 < bytes.size(); size += 1 + bytes.size() / 200) {
            TreeScanner scanner(as_bytes(bytes).first(size));
            auto next = scanner.next();
            while (next.ok() && *next != nullptr) next = scanner.next();
            EXPECT_FALSE(next.ok()) << size;
        }
    }
}

TEST(TreeScanner, MovesWithItsState) {
    const std::string text = "{\"nodes\":[]}\n";
    TreeScanner scanner(as_bytes(text));
    TreeScanner other(std::move(scanner));
    EXPECT_EQ(other.next().value(), nullptr);
}

}  // namespace
}  // namespace backup
