#include "daemon/repository/node_text.h"

#include <random>

#include <gtest/gtest.h>

#include "common/bytes.h"
#include "daemon/repository/json_reader.h"
#include "tests/unit/repository/vectors.h"

namespace backup {
namespace {

std::string written(char* (*put)(char*, std::string_view, GoRules), std::string_view text,
                    GoRules rules) {
    std::string out(most_text_bytes(text.size()), '\0');
    out.resize(static_cast<std::size_t>(put(out.data(), text, rules) - out.data()));
    return out;
}

std::string random_text(std::mt19937& random) {
    static const std::vector<std::string> kParts = {"a",
                                                    "\\",
                                                    "\"",
                                                    "\n",
                                                    "\x01",
                                                    "\x7f",
                                                    "<",
                                                    ">",
                                                    "&",
                                                    "\b",
                                                    "\f",
                                                    "\xff",
                                                    "\xc3",
                                                    "\xc3\xa4",
                                                    "\xe2\x80\xa8",
                                                    "\xe2\x80\xa9",
                                                    "\xef\xbf\xbd",
                                                    "\xf0\x9f\x98\x80",
                                                    "\xf3\xa0\x81\x81",
                                                    "\xed\xa0\x80",
                                                    "\xc2\xad",
                                                    "'",
                                                    " "};
    std::string text;
    for (auto n = random() % 12; n > 0; --n) text += kParts[random() % kParts.size()];
    return text;
}

TEST(NodeText, NamesAndStringsAreWrittenAsInTheVectors) {
    const auto all = vectors::load("tree-vectors.json");
    int checked = 0;
    for (const auto& vector : all["strings"]) {
        const std::string in = vectors::from_base64(vector["in_b64"]);
        for (const auto& [key, rules] :
             {std::pair{"go1.19", GoRules::go119}, {"go1.26", GoRules::go122}}) {
            EXPECT_EQ(written(put_name, in, rules),
                      vectors::from_base64(vector[key]["node_name_b64"]))
                << in;
            EXPECT_EQ(written(put_text, in, rules),
                      vectors::from_base64(vector[key]["json_string_b64"]))
                << in;
            ++checked;
        }
    }
    EXPECT_GT(checked, 200);
}

TEST(NodeText, PrintableTablesAreThoseOfTheFixture) {
    const auto ranges = vectors::load("isprint.json");
    for (const auto& [version, rules] :
         {std::pair{"13.0.0", GoRules::go119}, {"15.0.0", GoRules::go122}}) {
        std::vector<bool> printable(0x110000);
        for (const auto& range : ranges[version]) {
            for (std::uint32_t rune = range[0]; rune <= range[1].get<std::uint32_t>(); ++rune)
                printable[rune] = true;
        }
        for (std::uint32_t rune = 0; rune < printable.size(); ++rune) {
            ASSERT_EQ(is_go_printable(rune, rules), printable[rune]) << version << " " << rune;
        }
    }
}

TEST(NodeText, AnyNameComesBack) {
    std::mt19937 random(1);
    for (int i = 0; i < 20000; ++i) {
        const std::string name = random_text(random);
        for (GoRules rules : {GoRules::go119, GoRules::go122}) {
            const std::string text = written(put_name, name, rules);
            JsonReader reader(text);
            std::string quoted, back;
            ASSERT_TRUE(reader.read(quoted) && reader.finish()) << text;
            ASSERT_TRUE(append_unquoted(back, quoted)) << quoted;
            ASSERT_EQ(back, name);
        }
    }
}

TEST(NodeText, StringsAgreeWithTheOtherWriter) {
    std::mt19937 random(2);
    for (int i = 0; i < 20000; ++i) {
        const std::string text = random_text(random);
        for (GoRules rules : {GoRules::go119, GoRules::go122}) {
            ASSERT_EQ(written(put_text, text, rules), go_json_string(text, rules));
        }
    }
}

TEST(NodeText, LongestExpansionFits) {
    for (char c : {'<', '\x01', '\xff', '"', '\\', '\x7f'}) {
        const std::string text(100, c);
        EXPECT_LE(written(put_name, text, GoRules::go119).size(), most_text_bytes(100));
        EXPECT_LE(written(put_text, text, GoRules::go119).size(), most_text_bytes(100));
    }
}

TEST(NodeText, UnquotingReadsEveryEscapeAndRefusesOthers) {
    const auto unquoted = [](std::string_view text) -> std::optional<std::string> {
        std::string out;
        return append_unquoted(out, text) ? std::optional(out) : std::nullopt;
    };
    EXPECT_EQ(unquoted(R"(\a\b\f\n\r\t\v\\\")"), "\a\b\f\n\r\t\v\\\"");
    EXPECT_EQ(unquoted(R"(\xff\377\u00e4\U0001f600)"), "\xff\xff\u00e4\U0001f600");
    EXPECT_EQ(unquoted("raw\nline \" and \xc2\xad"), "raw\nline \" and \xc2\xad")
        << "as rustic writes them";
    for (const char* bad :
         {R"(\)", R"(a\)", R"(\')", R"(\q)", R"(\x)", R"(\xf)", R"(\xfg)", R"(\400)", R"(\18)",
          R"(\u12)", R"(\ud800)", R"(\U00110000)", R"(\U0000dfff)", R"(\8)"}) {
        EXPECT_EQ(unquoted(bad), std::nullopt) << bad;
    }
}

TEST(NodeText, Base64AgreesWithTheCommonOne) {
    std::mt19937 random(3);
    for (std::size_t size = 0; size < 100; ++size) {
        std::string bytes(size, '\0');
        for (char& c : bytes) c = static_cast<char>(random());
        std::string out(200, '\0');
        out.resize(static_cast<std::size_t>(put_base64(out.data(), bytes) - out.data()));
        EXPECT_EQ(out, to_base64(as_bytes(bytes)));
    }
}

}  // namespace
}  // namespace backup
