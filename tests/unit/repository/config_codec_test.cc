#include "daemon/repository/config_codec.h"

#include <gtest/gtest.h>

#include "daemon/repository/polynomial.h"
#include "tests/unit/repository/fixture_repository.h"

namespace backup {
namespace {

std::string config_text(const std::string& version, const std::string& polynomial,
                        const std::string& more = "") {
    return R"({"version":)" + version + R"(,"id":")" + std::string(64, 'a') +
           R"(","chunker_polynomial":")" + polynomial + "\"" + more + "}";
}

TEST(Config, ReadsAndRewritesThoseOfRestic) {
    for (const std::string& name : FixtureRepository::names()) {
        FixtureRepository repository(name);
        Bytes plain = repository.key().unseal(repository.file("config")).value();
        std::string expected = repository.expected()["config_json"];
        EXPECT_EQ(as_text(plain), expected);
        auto config = decode_config(plain);
        ASSERT_TRUE(config.ok()) << name;
        EXPECT_EQ(config->version, repository.version());
        EXPECT_EQ(encode_config(config.value()), expected);
        EXPECT_TRUE(config->write_obstacle.empty());
    }
}

TEST(Config, ANewOneIsValidAndUnique) {
    auto first = make_config(), second = make_config();
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(first->version, 2u);
    EXPECT_NE(first->id, second->id);
    EXPECT_NE(first->chunker_polynomial, second->chunker_polynomial);
    auto again = decode_config(as_bytes(encode_config(first.value())));
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->id, first->id);
    EXPECT_EQ(again->chunker_polynomial, first->chunker_polynomial);
}

TEST(Config, UnknownVersionsAreUnsupported) {
    for (const char* version : {"0", "3", "4294967295"}) {
        auto config = decode_config(as_bytes(config_text(version, "3da3358b4dc173")));
        ASSERT_FALSE(config.ok()) << version;
        EXPECT_EQ(config.error().kind(), ErrorKind::invalid);
        EXPECT_EQ(config.error().code(), ErrorCode::unsupported);
    }
}

TEST(Config, AFutureVersionIsUnsupportedEvenWithFieldsNobodyKnows) {
    auto config = decode_config(as_bytes(R"({"version":3,"id":{"new":"shape"}})"));
    EXPECT_FALSE(config.ok());
}

TEST(Config, BadPolynomialsAreCorrupt) {
    for (const char* polynomial :
         {"", "0", "1", "3da3358b4dc172", "7b1a5a8e9b8a2f1", "ffffffffffffffff",
          "1ffffffffffffffff", "xyz", "0x3da3358b4dc173", "-5"}) {
        auto config = decode_config(as_bytes(config_text("2", polynomial)));
        ASSERT_FALSE(config.ok()) << polynomial;
        EXPECT_EQ(config.error().kind(), ErrorKind::corrupt) << polynomial;
    }
}

TEST(Config, MissingAndMalformedFieldsAreCorrupt) {
    for (const std::string& text :
         {std::string(""), std::string("{}"), std::string("[]"),
          config_text("\"2\"", "3da3358b4dc173"), config_text("2.0", "3da3358b4dc173"),
          config_text("-2", "3da3358b4dc173"), config_text("2", "3da3358b4dc173") + "x",
          std::string(R"({"version":2,"id":"short","chunker_polynomial":"3da3358b4dc173"})"),
          std::string(R"({"version":2,"chunker_polynomial":"3da3358b4dc173"})"),
          R"({"version":2,"id":")" + std::string(64, 'a') + "\"}"}) {
        auto config = decode_config(as_bytes(text));
        ASSERT_FALSE(config.ok()) << text;
        EXPECT_EQ(config.error().kind(), ErrorKind::corrupt) << text;
    }
}

TEST(Config, UnknownFieldsAreIgnored) {
    auto config = decode_config(as_bytes(
        config_text("2", "3da3358b4dc173", R"(,"is_hot":true,"treepack_size":[1,{"a":null}])")));
    ASSERT_TRUE(config.ok());
    EXPECT_TRUE(config->write_obstacle.empty());
}

TEST(Config, AnotherChunkerIsAnObstacleToWriting) {
    auto obstacle = [](const std::string& more) {
        return decode_config(as_bytes(config_text("2", "3da3358b4dc173", more)))
            .value()
            .write_obstacle;
    };
    EXPECT_NE(obstacle(R"(,"chunker":"fixed_size")"), "");
    EXPECT_NE(obstacle(R"(,"chunk_size":65536)"), "");
    EXPECT_NE(obstacle(R"(,"chunk_min_size":1)"), "");
    EXPECT_NE(obstacle(R"(,"chunk_max_size":1)"), "");
    EXPECT_EQ(obstacle(R"(,"chunker":"rabin","chunk_size":1048576)"), "");
    EXPECT_EQ(obstacle(R"(,"chunker":null,"chunk_min_size":524288,"chunk_max_size":8388608)"), "");
}

}  // namespace
}  // namespace backup
