#include "daemon/repository/tree.h"

#include <gtest/gtest.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include "daemon/repository/node_decoder.h"
#include "daemon/repository/tree_encoder.h"
#include "tests/unit/repository/vectors.h"

namespace backup {
namespace {

std::string node(std::string_view name, std::string_view more = {}) {
    return R"({"name":")" + std::string(name) +
           R"(","type":"file","mode":420,"mtime":"2020-01-01T00:00:00Z","atime":"2020-01-01T00:00:00Z",)" +
           R"("ctime":"2020-01-01T00:00:00Z","uid":0,"gid":0,"content":[])" + std::string(more) +
           "}";
}
std::string tree(const std::vector<std::string>& nodes) {
    std::string text = R"({"nodes":[)";
    for (const auto& one : nodes) text += (text.back() == '[' ? "" : ",") + one;
    return text + "]}\n";
}
Result<std::vector<Node>> decode(std::string_view text) {
    return decode_tree(as_bytes(text));
}

std::string problem(std::string_view text) {
    const auto nodes = decode(text);
    if (nodes.ok()) return "";
    EXPECT_EQ(nodes.error().kind(), ErrorKind::corrupt);
    return nodes.error().message();
}

struct TreeFixture {
    const char* repository;
    const char* zone;
};

class ResticTrees : public testing::TestWithParam<TreeFixture> {};

// Every tree of the repositories that restic wrote comes out of decoding and encoding byte for
// byte; but for the links directory of v1 and v2: restic before 0.16 had lost the bytes of three
// targets before it wrote them.
TEST_P(ResticTrees, SurviveDecodingAndEncoding) {
    const auto expected = vectors::load(std::string(GetParam().repository) + "/expected.json");
    TreeEncoder encoder(GoRules::go119, Zone::from_tz(GetParam().zone));
    int checked = 0, damaged = 0;
    for (const auto& [id, text] : expected["trees"].items()) {
        std::string bytes = vectors::from_base64(text);
        const auto nodes = decode(bytes);
        ASSERT_TRUE(nodes.ok()) << nodes.error().message();
        const Bytes again = encode_tree(*nodes, encoder).value();
        for (auto at = bytes.find("\\ufffd"); at != std::string::npos; at = bytes.find("\\ufffd")) {
            bytes.replace(at, 6, "\xef\xbf\xbd");
            ++damaged;
        }
        EXPECT_EQ(as_text(again), bytes) << id;
        EXPECT_EQ(go_rules_for(""), encoder.rules());
        ++checked;
    }
    EXPECT_EQ(checked, static_cast<int>(expected["trees"].size()));
    EXPECT_EQ(damaged, std::string(GetParam().repository) == "v2-unusual" ? 0 : 8);
}
INSTANTIATE_TEST_SUITE_P(All, ResticTrees,
                         testing::Values(TreeFixture{"v1", "UTC"},
                                         TreeFixture{"v2", "Europe/Berlin"},
                                         TreeFixture{"v2-unusual", "UTC"}));

TEST(Tree, FieldsAreReadAsWritten) {
    const auto expected = vectors::load("v2/expected.json");
    std::map<std::string, Node> nodes;
    for (const auto& [id, text] : expected["trees"].items()) {
        auto decoded = decode(vectors::from_base64(text)).value();
        for (Node& one : decoded) nodes.emplace(one.name, std::move(one));
    }

    EXPECT_EQ(nodes.at("mode7777").unix_mode(), std::uint32_t{S_IFREG | 07777});
    EXPECT_EQ(nodes.at("mode000").unix_mode(), std::uint32_t{S_IFREG});
    EXPECT_EQ(nodes.at("blockdev").unix_mode(), std::uint32_t{S_IFBLK | 0640});
    EXPECT_EQ(nodes.at("blockdev").device, 1050412u);
    EXPECT_EQ(nodes.at("chardev").device, 259u);
    EXPECT_EQ(nodes.at("sticky-dir").unix_mode(), std::uint32_t{S_IFDIR | 01777});
    EXPECT_EQ(nodes.at("hard-a").inode, nodes.at("hard-b").inode);
    EXPECT_EQ(nodes.at("hard-a").links, 2u);
    EXPECT_EQ(nodes.at("unknown-owner").uid, 12345u);
    EXPECT_EQ(nodes.at("unknown-owner").user, "");
    EXPECT_EQ(nodes.at("y2400").mtime.seconds, 13569465600);
    EXPECT_EQ(nodes.at("neg").mtime, (FileTime{-1, 999999999}));
    EXPECT_EQ(nodes.at("sparse").content.size(), 2u);
    EXPECT_TRUE(nodes.at("file-empty").has_content);
    EXPECT_FALSE(nodes.at("fifo").has_content);
    EXPECT_EQ(nodes.at("html").link_target, "<a>&\"\\b");
    EXPECT_TRUE(nodes.count("invalid\xff\xfeutf8"));
    const auto& attributes = nodes.at("file").extended_attributes;
    EXPECT_TRUE(std::any_of(attributes.begin(), attributes.end(), [](const auto& a) {
        return a.name == "user.bin" && a.value.size() == 256;
    }));
}

TEST(Tree, ModesAreThoseOfGo) {
    EXPECT_EQ(go_mode(S_IFDIR | 0755), 2147484141u);
    EXPECT_EQ(go_mode(S_IFLNK | 0777), 134218239u);
    EXPECT_EQ(go_mode(S_IFCHR | 0644), 69206436u);
    EXPECT_EQ(go_mode(S_IFBLK | 0640), 67109280u);
    EXPECT_EQ(go_mode(S_IFIFO | 0640), 33554848u);
    EXPECT_EQ(go_mode(S_IFREG | 07777), 13631999u);
    EXPECT_EQ(go_mode(S_IFSOCK), 1u << 24);
    EXPECT_EQ(go_mode(0), 1u << 19);
}

TEST(Tree, RulesFollowTheProgramThatWroteTheSnapshot) {
    EXPECT_EQ(go_rules_for(""), GoRules::go119);
    EXPECT_EQ(go_rules_for("restic 0.16.5"), GoRules::go119);
    EXPECT_EQ(go_rules_for("restic 0.9.6-dev"), GoRules::go119);
    EXPECT_EQ(go_rules_for("restic 0.17.0"), GoRules::go122);
    EXPECT_EQ(go_rules_for("restic 0.19.1"), GoRules::go122);
    EXPECT_EQ(go_rules_for("restic 1.0.0"), GoRules::go122);
    EXPECT_EQ(go_rules_for("backupd 0.1.0 (go119)"), GoRules::go119);
    EXPECT_EQ(go_rules_for("backupd 0.1.0 (go122)"), GoRules::go122);
    EXPECT_EQ(go_rules_for("backupd 0.1.0"), GoRules::go122);
    EXPECT_EQ(go_rules_for("rustic 0.9.4"), GoRules::go122);
    EXPECT_EQ(go_rules_for("restic"), GoRules::go122);
}

TEST(Tree, WholeNumbersOf64BitsAreKept) {
    const auto nodes = decode(
        tree({R"({"name":"a","type":"file","mtime":"2020-01-01T00:00:00Z",)"
              R"("atime":"2020-01-01T00:00:00Z","ctime":"2020-01-01T00:00:00Z","uid":4294967295,)"
              R"("gid":4294967294,"inode":18446744073709551615,"device_id":9007199254740993,)"
              R"("size":9223372036854775807,"content":[]})"}));
    ASSERT_TRUE(nodes.ok()) << nodes.error().message();
    EXPECT_EQ(nodes->front().inode, ~std::uint64_t{0});
    EXPECT_EQ(nodes->front().device_id, 9007199254740993u);
    EXPECT_EQ(nodes->front().size, 9223372036854775807u);
    EXPECT_EQ(nodes->front().uid, 4294967295u);
    EXPECT_EQ(nodes->front().gid, 4294967294u);
}

TEST(Tree, UnusualEncodingsAreAccepted) {
    EXPECT_TRUE(decode(R"({"nodes":[]})").value().empty());
    EXPECT_TRUE(decode(R"({"nodes":null})").value().empty());
    EXPECT_TRUE(decode(" { \"nodes\" : [ ] } \n\n").value().empty());
    EXPECT_EQ(
        decode(R"({"version":2,"nodes":[)" + node("a") + R"(],"nodes2":[1,{"x":"]}"}],"z":null})")
            .value()
            .size(),
        1u);
    EXPECT_EQ(decode(R"({"nodes":[)" + node("a") + R"(],"more":{"a":[]}} )").value().size(), 1u);
    EXPECT_EQ(decode("{\"nodes\": [\n " + node("a") + " ,\n" + node("b") + "\n]}").value().size(),
              2u);
    // Any order of fields, unknown ones, zeros spelled out, null for absent.
    const auto odd = decode(
        R"({"nodes":[{"content":null,"future":{"a":[1,2]},"size":0,"subtree":null,"type":"odd type","name":"\u0061",)"
        R"("mtime":"2020-01-01T01:00:00.5+01:00","user":null,"extended_attributes":[{"name":"user.x","value":null}],)"
        R"("generic_attributes": {"windows":{"a" : 1}} ,"error":"e"}]})");
    ASSERT_TRUE(odd.ok()) << odd.error().message();
    const Node& read = odd->front();
    EXPECT_EQ(read.name, "a");
    EXPECT_EQ(read.type, NodeType::unknown);
    EXPECT_EQ(read.type_text, "odd type");
    EXPECT_EQ(read.mtime, (FileTime{1577836800, 500000000}));
    EXPECT_EQ(read.generic_attributes, R"({"windows":{"a" : 1}})");
    EXPECT_EQ(read.error, "e");
    ASSERT_EQ(read.extended_attributes.size(), 1u);
    EXPECT_TRUE(read.extended_attributes[0].value.empty());
}

TEST(Tree, RawTargetWinsOverItsDamagedText) {
    const std::string target = R"(,"linktarget":"bad\ufffd","linktarget_raw":"YmFk/w==")";
    for (const auto& text :
         {node("a", target),
          node("a", R"(,"linktarget_raw":"YmFk/w==","linktarget":"bad\ufffd")")}) {
        EXPECT_EQ(decode(tree({text})).value().front().link_target, "bad\xff");
    }
}

TEST(Tree, DamageIsRefused) {
    const std::string zero(64, '0'), id = std::string(63, '0') + "1";
    EXPECT_EQ(problem(tree({node("a")})), "");
    const auto with_time = [](std::string_view time) {
        return tree(
            {R"({"name":"a","type":"file","mtime":")" + std::string(time) + R"(","content":[]})"});
    };
    EXPECT_EQ(problem(with_time("2020-01-01T00:00:00Z")), "");
    const std::vector<std::string> bad = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        R"({"nodes":[)",
        R"({"nodes":{}})",
        R"({"nodes":[1]})",
        R"({"nodes":[null]})",
        R"({"nodes":[],"nodes":[]})",
        R"({"a":1,"nodes":[],"nodes":[]})",
        R"({"nodes":[]}x)",
        R"({"nodes":[])",
        R"({"nodes":[,]})",
        R"({"nodes":[)" + node("a") + ",]}\n",
        R"({"nodes":[)" + node("a") + node("b") + "]}\n",
        tree({node("a"), node("a")}),
        tree({node("b"), node("a"), node("b")}),
        tree({node("b"), node("a"), node("a")}),
        tree({node("")}),
        tree({node(".")}),
        tree({node("..")}),
        tree({node("a/b")}),
        tree({node("/")}),
        tree({node("a\\\\x00b")}),
        tree({node("a\\\\u0000b")}),
        tree({node("\\u0000")}),
        tree({node("\\\\x2e\\\\x2e")}),
        tree({node("a\\\\")}),
        tree({node("a\\\\q")}),
        tree({node("a\nb")}),
        tree({node("a", R"(,"uid":1)")}),
        tree({R"({"name":"d","type":"dir","content":null})"}),
        tree({R"({"name":"d","type":"dir","content":null,"subtree":null})"}),
        tree({R"({"name":"d","type":"dir","content":null,"subtree":")" + zero + R"("})"}),
        tree({R"({"name":"d","type":"dir","content":null,"subtree":"12"})"}),
        tree({R"({"name":"d","type":"dir","content":null,"subtree":")" + std::string(64, 'G') +
              R"("})"}),
        tree({R"({"name":"d","type":"dir","content":null,"subtree":")" + std::string(64, 'A') +
              R"("})"}),
        tree({R"({"name":"f","type":"file","size":1,"content":null})"}),
        tree({R"({"name":"f","type":"file","size":1})"}),
        tree({R"({"name":"f","type":"file","content":[")" + zero + R"("]})"}),
        tree({R"({"name":"f","type":"file","content":[")" + id + R"(",]})"}),
        tree({R"({"name":"f","type":"file","content":[")" + id + id + R"("]})"}),
        tree({R"({"name":"f","type":"file","content":[1]})"}),
        tree({R"({"name":"f","type":"file","content":{}})"}),
        tree({R"({"name":"f","type":"file","inode":18446744073709551616,"content":[]})"}),
        tree({R"({"name":"f","type":"file","inode":-1,"content":[]})"}),
        tree({R"({"name":"f","type":"file","inode":1.5,"content":[]})"}),
        tree({R"({"name":"f","type":"file","inode":01,"content":[]})"}),
        tree({R"({"name":"f","type":"file","uid":4294967296,"content":[]})"}),
        tree({R"({"name":"f","type":"file","mode":"420","content":[]})"}),
        tree({R"({"name":"f","type":"symlink","linktarget_raw":"a","content":null})"}),
        tree(
            {R"({"name":"f","type":"file","content":[],"extended_attributes":[{"name":"a","value":"???="}]})"}),
        tree({R"({"name":"f","type":"file","content":[],"extended_attributes":{}})"}),
        tree({R"({"name":"f","type":"file","content":[],"x":)" + std::string(100000, '[') + "}"}),
        with_time("yesterday"),
        with_time("2020-01-01T00:00:00"),
        with_time("2020-02-30T00:00:00Z"),
    };
    for (const std::string& text : bad) EXPECT_NE(problem(text), "") << text.substr(0, 300);
}

TEST(Tree, EmptyFileWithoutContentIsNoDamage) {
    EXPECT_EQ(problem(tree({R"({"name":"f","type":"file","content":null})"})), "");
}

TEST(Tree, NamesOutOfOrderAreSorted) {
    const auto nodes = decode(tree({node("b"), node("c"), node("a")})).value();
    ASSERT_EQ(nodes.size(), 3u);
    EXPECT_EQ(nodes[0].name + nodes[1].name + nodes[2].name, "abc");
}

TEST(Tree, OneBadNodeDoesNotCostItsSiblings) {
    const std::string text = tree({node("a"), node("a"), node("b/c"),
                                   R"({"name":"d","type":"dir","content":null})", node("e")});
    std::string names;
    std::vector<std::string> problems;
    const auto done = visit_tree(
        as_bytes(text),
        [&](Node& one) -> Result<> {
            names += one.name;
            return {};
        },
        [&](const Error& error) { problems.push_back(error.message()); });
    EXPECT_TRUE(done.ok());
    EXPECT_EQ(names, "ae");
    EXPECT_EQ(problems.size(), 3u);
    EXPECT_FALSE(visit_tree(
                     as_bytes(text.substr(0, text.size() - 5)),
                     [](Node&) -> Result<> { return {}; }, [](const Error&) {})
                     .ok())
        << "broken JSON ends the visit all the same";
}

TEST(Tree, ErrorOfTheVisitorEndsTheVisit) {
    int seen = 0;
    const auto done = visit_tree(as_bytes(tree({node("a"), node("b")})), [&](Node&) -> Result<> {
        ++seen;
        return Error(ErrorKind::cancelled, "enough");
    });
    EXPECT_EQ(done.error().kind(), ErrorKind::cancelled);
    EXPECT_EQ(seen, 1);
}

}  // namespace
}  // namespace backup
