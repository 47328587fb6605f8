// Listing holds the names in one directory, sorted by bytes as trees are, each once, without "."
// and
// "..". One thread at a time. Its memory is kept for the next directory, beyond 1 MiB it is given
// back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "daemon/runtime/fs.h"

namespace backup {

struct ListedName {
    const char* text;  // ends with NUL; in the listing's memory
    std::uint16_t size;
    std::uint8_t type;  // DT_REG ..., DT_UNKNOWN

    std::string_view name() const { return {text, size}; }
};

class Listing {
  public:
    // 0, or -errno of the first call that failed: a directory is listed wholly or not at all.
    int read(Fs& fs, int directory);
    std::span<const ListedName> names() const { return names_; }

  private:
    static constexpr std::size_t kBlock = 32 * 1024;
    std::vector<std::unique_ptr<std::uint8_t[]>> blocks_;
    std::vector<ListedName> names_;
};

}  // namespace backup
