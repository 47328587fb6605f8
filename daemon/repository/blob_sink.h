// BlobSink is the one door through which data enters a repository. Thread-safe: many threads save
// at once, each doing its own hashing, compression and sealing. save() blocks while uploads lag
// behind.
#pragma once

#include "common/result.h"
#include "daemon/repository/blob.h"

namespace backup {

struct SavedBlob {
    BlobId id;
    bool is_new = false;             // false: the repository (or this run) had it already
    std::uint32_t stored_bytes = 0;  // sealed length when new, else 0
};

class BlobSink {
  public:
    virtual ~BlobSink() = default;
    // The plaintext is not kept. Success means "will be in a pack that is stored before the
    // commit"; durable only after the commit.
    virtual Result<SavedBlob> save(BlobType type, ByteView plaintext) = 0;
    // True if a blob is in the repository or was saved in this run: its content need not be read
    // again.
    virtual bool contains(const BlobHandle& handle) const = 0;
};

// Of a walk that only looks: to store anything is an error of its caller (`invalid`).
class NoSink final : public BlobSink {
  public:
    Result<SavedBlob> save(BlobType, ByteView) override {
        return Error(ErrorKind::invalid, "a walk that only looks stores nothing");
    }
    bool contains(const BlobHandle&) const override { return true; }
};

}  // namespace backup
