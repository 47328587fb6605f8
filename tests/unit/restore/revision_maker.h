// RevisionMaker makes revisions out of nodes in a repository in memory. For tests only.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include "daemon/backend/memory_backend.h"
#include "daemon/repository/repository.h"
#include "daemon/repository/tree.h"

namespace backup {

// A time that no test makes by accident.
inline constexpr FileTime kThen{1'600'000'000, 123'456'789};

class RevisionMaker {
  public:
    explicit RevisionMaker(std::size_t pack_bytes = std::size_t{16} << 20);
    ~RevisionMaker();

    // Nodes owned by the user of the test, so that they can be given back without rights. Content
    // is cut into blobs of `blob_bytes`.
    Node file(const std::string& name, const std::string& content,
              std::size_t blob_bytes = std::size_t{1} << 20);
    Node dir(const std::string& name, std::vector<Node> entries);
    Node symlink(const std::string& name, const std::string& target);
    Node special(const std::string& name, NodeType type, std::uint32_t unix_type,
                 std::uint64_t device = 0);
    // Any bytes as the tree of a directory.
    Node dir_with_tree(const std::string& name, const std::string& json);
    BlobId save_data(const std::string& content);

    RevisionId commit(std::vector<Node> root);

    Repository& repository() { return *repository_; }
    MemoryBackend& backend() { return backend_; }
    // Flips a byte in the sealed bytes of every copy of a blob.
    void damage(const BlobHandle& handle);

  private:
    Node base(const std::string& name, NodeType type, std::uint32_t unix_mode);
    BlobId save_tree(std::vector<Node> entries);
    WriteSession& session();

    MemoryBackend backend_;
    SystemClock clock_;
    std::size_t pack_bytes_;
    std::unique_ptr<Repository> repository_;
    std::unique_ptr<WriteSession> session_;
    std::uint64_t next_inode_ = 1000;
};

}  // namespace backup
