// Where the fixtures are, and how to read them. For tests only.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "common/bytes.h"

namespace backup {

// BACKUPD_FIXTURES comes from tests/support/meson.build: tests/fixtures in the source tree.
inline std::filesystem::path fixture(const std::string& name) {
    return std::filesystem::path(BACKUPD_FIXTURES) / name;
}

// A missing fixture is a broken checkout: end the test program rather than test nothing.
inline Bytes read_fixture(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        std::fprintf(stderr, "missing fixture %s\n", path.c_str());
        std::abort();
    }
    return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}
inline std::string read_fixture_text(const std::filesystem::path& path) {
    return std::string(as_text(read_fixture(path)));
}

}  // namespace backup
