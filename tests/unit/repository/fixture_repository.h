// The repositories in tests/fixtures/restic, opened by hand: master key from expected.json, so that
// no scrypt runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "daemon/repository/compression.h"
#include "daemon/repository/crypto.h"
#include "tests/unit/repository/vectors.h"

namespace backup {

class FixtureRepository {
  public:
    // "v1", "v2", "v2-unusual"
    explicit FixtureRepository(const std::string& name)
        : root_(fixture("restic/" + name)),
          expected_(vectors::load(name + "/expected.json")),
          key_(key_from(nlohmann::json::parse(expected_["master_key_json"].get<std::string>()))) {}

    const nlohmann::json& expected() const { return expected_; }
    const MasterKey& key() const { return key_; }
    unsigned version() const { return expected_["repo_version"].get<unsigned>(); }
    std::string password() const { return read_fixture_text(root_ / "password.txt"); }
    Bytes file(const std::string& path) const { return read_fixture(root_ / "repo" / path); }
    Bytes pack(const std::string& id) const { return file("data/" + id.substr(0, 2) + "/" + id); }
    // Unsealed and decompressed.
    Bytes unpacked(const std::string& path) const {
        return decode_unpacked(key_.unseal(file(path)).value(), version()).value();
    }

    static MasterKey key_from(const nlohmann::json& json) {
        std::string bytes = vectors::from_base64(json["encrypt"]) +
                            vectors::from_base64(json["mac"]["k"]) +
                            vectors::from_base64(json["mac"]["r"]);
        return MasterKey::from_bytes(as_bytes(bytes)).value();
    }
    static const std::vector<std::string>& names() {
        static const std::vector<std::string> all{"v1", "v2", "v2-unusual"};
        return all;
    }

  private:
    std::filesystem::path root_;
    nlohmann::json expected_;
    MasterKey key_;
};

}  // namespace backup
