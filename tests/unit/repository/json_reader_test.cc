#include "daemon/repository/json_reader.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "daemon/repository/go_json.h"
#include "tests/unit/repository/vectors.h"

namespace backup {
namespace {

std::string text_in(std::string_view json) {
    JsonReader reader(json);
    std::string out;
    return reader.read(out) && reader.finish() ? out : "error";
}

TEST(JsonReader, StringsAreUnescaped) {
    EXPECT_EQ(text_in(R"("")"), "");
    EXPECT_EQ(text_in(R"("plain")"), "plain");
    EXPECT_EQ(text_in(R"( "a\"\\\/\b\f\n\r\tz" )"), "a\"\\/\b\f\n\r\tz");
    EXPECT_EQ(text_in(R"("\u0041\u00e4\u20ac\ud83d\ude00")"),
              "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    EXPECT_EQ(text_in("\"\xc3\xa4\xf0\x9f\x98\x80\""), "\xc3\xa4\xf0\x9f\x98\x80");
    EXPECT_EQ(text_in(R"("\u0000")"), std::string(1, '\0'));
}

TEST(JsonReader, BrokenTextReadsAsReplacementCharacters) {
    const std::string r = "\xef\xbf\xbd";
    EXPECT_EQ(text_in("\"a\xff\xfe\""), "a" + r + r);
    EXPECT_EQ(text_in("\"\xc3\""), r);
    EXPECT_EQ(text_in(R"("\ud83d")"), r);
    EXPECT_EQ(text_in(R"("\ud83dx")"), r + "x");
    EXPECT_EQ(text_in(R"("\ude00\ud83d")"), r + r);
    EXPECT_EQ(text_in(R"("\ud83d\u0041")"), r + "A");
}

TEST(JsonReader, MalformedStringsFail) {
    for (const char* json : {"", "\"", "\"a", "\"\\", "\"\\\"", R"("\x")", R"("\u12")",
                             R"("\u12g4")", "\"\n\"", "\"\x01\"", "'a'", "a"})
        EXPECT_EQ(text_in(json), "error") << json;
    EXPECT_EQ(text_in(std::string_view("\"\0\"", 3)), "error");
}

TEST(JsonReader, ReadsBackWhatGoWrites) {
    auto json = vectors::load("tree-vectors.json");
    for (const auto& item : json["strings"]) {
        for (const char* go : {"go1.19", "go1.26"}) {
            std::string in = vectors::from_base64(item["in_b64"]);
            std::string encoded = vectors::from_base64(item[go]["json_string_b64"]);
            GoRules rules = go == std::string("go1.19") ? GoRules::go119 : GoRules::go122;
            EXPECT_EQ(go_json_string(in, rules), encoded);
            // Invalid bytes are lost, everything else comes back.
            std::string again = go_json_string(text_in(encoded), rules);
            EXPECT_EQ(text_in(again), text_in(encoded));
            if (encoded.find("\\ufffd") == std::string::npos) {
                EXPECT_EQ(text_in(encoded), in);
            }
        }
    }
}

TEST(JsonReader, NumbersMustBeWholeAndFit) {
    auto u64 = [](std::string_view json) -> std::string {
        JsonReader reader(json);
        std::uint64_t value = 0;
        return reader.read(value) && reader.finish() ? std::to_string(value) : "error";
    };
    EXPECT_EQ(u64("0"), "0");
    EXPECT_EQ(u64(" 18446744073709551615 "), "18446744073709551615");
    for (const char* json : {"18446744073709551616", "-1", "1.0", "1e3", "01", "+1", "", "x", "1x",
                             "0x1", "- 1", "1 2"})
        EXPECT_EQ(u64(json), "error") << json;
    JsonReader negative("-9223372036854775808");
    std::int64_t value = 0;
    EXPECT_TRUE(negative.read(value));
    EXPECT_EQ(value, INT64_MIN);
    std::uint32_t small = 7;
    JsonReader large("4294967296");
    EXPECT_FALSE(large.read(small));
    EXPECT_EQ(small, 7u) << "outputs are set on success only";
}

TEST(JsonReader, WalksObjectsAndLists) {
    JsonReader json(R"( { "a" : [ 1 , 2 ] , "b" : { } , "c" : [ ] , "d" : true , "e" : null } )");
    std::string seen;
    ASSERT_TRUE(json.begin_object());
    for (std::string_view key; json.next_key(key);) {
        seen += key;
        if (key == "a") {
            json.begin_array();
            while (json.next_element()) {
                std::uint32_t number = 0;
                json.read(number);
                seen += std::to_string(number);
            }
        } else if (key == "d") {
            bool value = false;
            json.read(value);
            seen += value ? "+" : "-";
        } else {
            json.skip();
        }
    }
    EXPECT_TRUE(json.finish());
    EXPECT_EQ(seen, "a12bcd+e");
}

TEST(JsonReader, SkipAcceptsAllJsonAndNothingElse) {
    auto skips = [](std::string_view text) {
        JsonReader json(text);
        return json.skip() && json.finish();
    };
    for (const char* good :
         {"1", "-0.5e+10", "\"x\"", "true", "false", "null", "[]", "{}", "[[],{}]",
          R"({"a":[1,"b",{"c":null}],"d":-1})", " [ 1 , 2 ] ", "[0]", "[true,false]"})
        EXPECT_TRUE(skips(good)) << good;
    for (const char* bad :
         {"",      "[",       "]",        "{",          "}",      "[1",        "[1,]", "[,1]",
          "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{1:2}",  "{\"a\" 1}", "tru",  "nul",
          "truex", "-",       "1.",       ".5",         "1e",     "00",        "[1}",  "{\"a\":1]",
          "{,}",   "\"",      "[1]]",     "NaN",        "// x\n1"})
        EXPECT_FALSE(skips(bad)) << bad;
}

TEST(JsonReader, NestingIsLimited) {
    auto skips = [](std::size_t depth) {
        std::string text = std::string(depth, '[') + std::string(depth, ']');
        JsonReader json{std::string_view(text)};
        return json.skip();
    };
    EXPECT_TRUE(skips(256));
    EXPECT_FALSE(skips(257));
    EXPECT_FALSE(skips(1'000'000));
}

TEST(JsonReader, TheFirstErrorStaysAndTellsWhere) {
    JsonReader json("{\"a\":x}");
    std::string_view key;
    json.begin_object();
    ASSERT_TRUE(json.next_key(key));
    std::uint64_t value = 0;
    EXPECT_FALSE(json.read(value));
    EXPECT_FALSE(json.next_key(key));
    EXPECT_FALSE(json.skip());
    EXPECT_FALSE(json.finish());
    EXPECT_EQ(json.error("thing").message(), "thing: a number is missing at byte 5");
    EXPECT_EQ(json.error("thing").kind(), ErrorKind::corrupt);
}

TEST(JsonReader, RawShowsASkippedValue) {
    std::string_view text = R"({"a":{"b":[1,2]},"c":3})";
    JsonReader json(text);
    std::string_view key;
    json.begin_object();
    json.next_key(key);
    std::size_t from = json.position();
    json.skip();
    EXPECT_EQ(json.raw(from, json.position()), R"({"b":[1,2]})");
}

}  // namespace
}  // namespace backup
