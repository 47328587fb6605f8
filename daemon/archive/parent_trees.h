// ParentTrees finds directories of the parent revision by the path that they had there, for those
// that have another name now. Keeps what it loads, directories alone and up to kMostKept of them.
// Thread-safe; loads under its lock, for renames are few.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "common/id.h"
#include "daemon/repository/blob_source.h"

namespace backup {

class ParentTrees {
  public:
    static constexpr std::size_t kMostKept = 100'000;

    ParentTrees(BlobSource& source, std::optional<BlobId> root) : source_(source), root_(root) {}

    struct Found {
        std::uint64_t inode = 0;
        std::uint64_t device = 0;  // 0: not known
        BlobId tree;
    };
    // Nothing: there was no directory of this absolute path, or its trees cannot be loaded. "/" has
    // no node.
    std::optional<Found> find(std::string_view path);

  private:
    using Children = std::unordered_map<std::string, Found>;
    const Children* children_of(std::string_view path, const BlobId& tree);

    BlobSource& source_;
    const std::optional<BlobId> root_;
    std::mutex mutex_;                                     // guards what follows
    std::map<std::string, Children, std::less<>> loaded_;  // by path
    std::size_t kept_ = 0;
};

}  // namespace backup
