#include "daemon/repository/key_file.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "tests/unit/repository/fixture_repository.h"

namespace backup {
namespace {

constexpr KeyCost kCheap{1024, 8, 1};

std::string master_key_text(const MasterKey& key) {
    return to_base64(key.mac_k_part()) + to_base64(key.mac_r_part()) +
           to_base64(key.encrypt_part());
}

TEST(KeyFile, OpensTheKeysOfRestic) {
    for (const std::string& name : FixtureRepository::names()) {
        FixtureRepository repository(name);
        const auto& expected = repository.expected();
        auto file =
            decode_key_file(repository.file("keys/" + expected["key_id"].get<std::string>()));
        ASSERT_TRUE(file.ok()) << name;
        EXPECT_EQ(file->n, expected["kdf"]["N"].get<std::uint32_t>());
        EXPECT_EQ(file->r, expected["kdf"]["r"].get<std::uint32_t>());
        EXPECT_EQ(file->p, expected["kdf"]["p"].get<std::uint32_t>());
        auto key = open_key_file(file.value(), as_bytes(repository.password()));
        ASSERT_TRUE(key.ok()) << name;
        EXPECT_EQ(master_key_text(key.value()), master_key_text(repository.key()));
        // And it is the key: it opens the config.
        EXPECT_TRUE(key->unseal(repository.file("config")).ok());
    }
}

TEST(KeyFile, TheWrongPasswordIsDenied) {
    FixtureRepository repository("v2-unusual");
    auto file = decode_key_file(
        repository.file("keys/" + repository.expected()["key_id"].get<std::string>()));
    for (const std::string& password :
         {repository.password() + "x", std::string("wrong"), std::string()}) {
        auto key = open_key_file(file.value(), as_bytes(password));
        ASSERT_FALSE(key.ok());
        EXPECT_EQ(key.error().kind(), ErrorKind::denied);
        EXPECT_EQ(key.error().code(), ErrorCode::wrong_password);
    }
}

TEST(KeyFile, AMadeKeyOpensAgainWithAllItsFields) {
    MasterKey master = MasterKey::generate();
    Timestamp created(std::chrono::seconds(1700000000) + std::chrono::nanoseconds(123456789));
    for (std::string password : {"secret", "", "p\xc3\xa4ss \xff\n"}) {
        auto made = make_key_file(master, as_bytes(password), kCheap, created, {"us\"er", "ho<st"});
        ASSERT_TRUE(made.ok());
        std::string text = encode_key_file(made.value());
        auto file = decode_key_file(as_bytes(text));
        ASSERT_TRUE(file.ok()) << text;
        EXPECT_EQ(file->created, created);
        EXPECT_EQ(file->username, "us\"er");
        EXPECT_EQ(file->hostname, "ho<st");
        auto key = open_key_file(file.value(), as_bytes(password));
        ASSERT_TRUE(key.ok());
        EXPECT_EQ(master_key_text(key.value()), master_key_text(master));
        EXPECT_FALSE(open_key_file(file.value(), as_bytes(password + "!")).ok());
    }
}

TEST(KeyFile, TheTextHasTheOrderOfFieldsOthersWrite) {
    KeyFile file;
    file.created = Timestamp(std::chrono::seconds(0));
    file.username = "u";
    file.hostname = "h";
    file.n = 32768;
    file.r = 8;
    file.p = 5;
    file.salt = to_bytes("salt");
    file.data = to_bytes("data");
    std::string text = encode_key_file(file);
    std::string after_time = text.substr(text.find("\",\"username\""));
    EXPECT_TRUE(text.starts_with("{\"created\":\""));
    EXPECT_EQ(
        after_time,
        "\",\"username\":\"u\",\"hostname\":\"h\",\"kdf\":\"scrypt\",\"N\":32768,\"r\":8,\"p\":5,"
        "\"salt\":\"c2FsdA==\",\"data\":\"ZGF0YQ==\"}");
}

TEST(KeyFile, SaltsDiffer) {
    MasterKey master = MasterKey::generate();
    auto first = make_key_file(master, as_bytes("x"), kCheap, {}, {});
    auto second = make_key_file(master, as_bytes("x"), kCheap, {}, {});
    EXPECT_FALSE(first->salt == second->salt);
    EXPECT_EQ(first->salt.size(), kSaltBytes);
}

TEST(KeyFile, MeasuredCostsAreWithinReason) {
    auto cost = measure_key_cost({1024, 8, 0});
    ASSERT_TRUE(cost.ok());
    EXPECT_GE(cost->p, 1u);
    EXPECT_LE(cost->p, kMostKeyParallel);
}

// A key file with one field replaced.
std::string with(const std::string& field, const nlohmann::json& value) {
    static const std::string good = encode_key_file(
        make_key_file(MasterKey::generate(), as_bytes("x"), kCheap, {}, {"u", "h"}).value());
    auto json = nlohmann::json::parse(good);
    if (value.is_discarded())
        json.erase(field);
    else
        json[field] = value;
    return json.dump();
}
const nlohmann::json kMissing(nlohmann::json::value_t::discarded);

TEST(KeyFile, BadFieldsAreRejected) {
    struct Case {
        const char* field;
        nlohmann::json value;
        ErrorKind kind;
    };
    const Case cases[] = {
        {"kdf", "argon2", ErrorKind::invalid},  {"kdf", kMissing, ErrorKind::corrupt},
        {"kdf", 3, ErrorKind::corrupt},         {"N", 0, ErrorKind::invalid},
        {"N", 1, ErrorKind::invalid},           {"N", 1000, ErrorKind::invalid},
        {"N", kMissing, ErrorKind::invalid},    {"N", -1024, ErrorKind::corrupt},
        {"N", 1024.5, ErrorKind::corrupt},      {"N", std::uint64_t{1} << 40, ErrorKind::corrupt},
        {"N", 1u << 31, ErrorKind::invalid},  // 2 TiB
        {"r", 0, ErrorKind::invalid},           {"r", 1u << 20, ErrorKind::invalid},
        {"p", 0, ErrorKind::invalid},           {"p", 65, ErrorKind::invalid},
        {"p", 4000000000u, ErrorKind::invalid}, {"salt", "AAAA", ErrorKind::corrupt},
        {"salt", "!!!!", ErrorKind::corrupt},   {"salt", kMissing, ErrorKind::corrupt},
        {"data", "AAAA", ErrorKind::corrupt},   {"data", kMissing, ErrorKind::corrupt},
    };
    EXPECT_TRUE(decode_key_file(as_bytes(with("unknown", 1))).ok());
    EXPECT_TRUE(decode_key_file(as_bytes(with("created", "yesterday"))).ok()) << "only shown";
    for (const Case& c : cases) {
        std::string text = with(c.field, c.value);
        auto file = decode_key_file(as_bytes(text));
        ASSERT_FALSE(file.ok()) << text;
        EXPECT_EQ(file.error().kind(), c.kind) << text;
    }
}

TEST(KeyFile, TheMemoryLimitOfTheCallerCounts) {
    std::string text = with("N", 1024);  // 1 MiB
    EXPECT_TRUE(decode_key_file(as_bytes(text), 1 << 20).ok());
    EXPECT_FALSE(decode_key_file(as_bytes(text), (1 << 20) - 1).ok());
}

TEST(KeyFile, WhatIsNoJsonIsCorrupt) {
    for (const char* text : {"", "{", "[]", "null", "{}x", "{\"kdf\":\"scrypt\"}", "\x02zstd"}) {
        auto file = decode_key_file(as_bytes(text));
        ASSERT_FALSE(file.ok()) << text;
    }
}

TEST(KeyFile, AWrongMasterKeyInsideIsCorruptNotAccepted) {
    // Right password, but what it opens is no key.
    for (
        const char* inner :
        {"", "{}", R"({"mac":{"k":"AAAA","r":"AAAA"},"encrypt":"AAAA"})",
         R"({"mac":{"k":"AAAAAAAAAAAAAAAAAAAAAA==","r":"AAAAAAAAAAAAAAAAAAAAAA=="},"encrypt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="})"}) {
        FixtureRepository repository("v2-unusual");
        KeyFile file =
            decode_key_file(
                repository.file("keys/" + repository.expected()["key_id"].get<std::string>()))
                .value();
        const auto& user = repository.expected()["user_key"];
        Bytes derived(kKeyBytes);
        ASSERT_TRUE(from_hex(user["encrypt_hex"].get<std::string>() +
                                 user["mac_k_hex"].get<std::string>() +
                                 user["mac_r_hex"].get<std::string>(),
                             derived));
        file.data = MasterKey::from_bytes(derived)->seal(as_bytes(inner));
        auto key = open_key_file(file, as_bytes(repository.password()));
        ASSERT_FALSE(key.ok()) << inner;
        EXPECT_EQ(key.error().kind(), ErrorKind::corrupt) << inner;
    }
}

}  // namespace
}  // namespace backup
