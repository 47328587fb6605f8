// Reads one large file once and cuts it into chunks, without reading its holes. The cuts are those
// of a plain read. One thread; chunks go out through `emit`.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "daemon/archive/chunk_buffers.h"
#include "daemon/archive/directory.h"
#include "daemon/repository/chunker.h"
#include "daemon/runtime/fs.h"

namespace backup {

// One reading of a large file. Shared by its reader and by those who store its chunks; whoever
// brings `pending` to 0 completes the file, if this reading is the final one.
struct ReadPass {
    LargeFile* file = nullptr;
    struct statx status {};
    std::string xattr_json;
    std::uint64_t bytes = 0;  // read, holes included
    bool is_final = false;
    // Of the chunks that the repository did not have: how well they could be compressed.
    std::atomic<std::uint64_t> plain_new{0}, stored_new{0};
    std::atomic<bool> is_known_format{false};
    // Of one that a later run may take up: the file's absolute path. Else empty.
    std::string path;

    std::mutex mutex;  // guards the three below, which have the same length
    std::vector<BlobId> content;
    std::vector<bool> is_stored;          // the id is known
    std::vector<std::uint64_t> ends;      // where the chunk ends in the file
    std::atomic<std::size_t> pending{1};  // chunks, and one for the reader
};

class LargeFileReader {
  public:
    static constexpr std::size_t kRead = 256 * 1024;

    struct Output {
        // A free buffer; nullptr: the walk has ended.
        std::function<ChunkBuffer*()> buffer;
        std::function<void(ChunkBuffer*, std::size_t size)> chunk;
        // kMinChunk zeros, not read. False: the walk has ended.
        std::function<bool()> zero_chunk;
        // Takes back a buffer that was not handed on.
        std::function<void(ChunkBuffer*)> release;
    };

    LargeFileReader(Fs& fs, std::uint64_t polynomial);

    struct Read {
        int error = 0;            // -errno, or 0
        bool ended = false;       // the walk has ended; nothing else is valid
        std::uint64_t bytes = 0;  // length of the file, holes included
        std::uint64_t bytes_from_disk = 0;
    };
    // `begin`: the end of a chunk; what comes before it is not read.
    Read read(int fd, const struct statx& status, std::uint64_t begin, const Output& output);

  private:
    struct Region {  // what the file has from the current position on
        bool is_hole = false;
        std::uint64_t end = 0;
    };
    Result<Region> region_at(int fd, std::uint64_t position, const struct statx& status) const;

    Fs& fs_;
    Chunker chunker_;
    Bytes rest_;  // what was read beyond a cut, at most kRead
};

}  // namespace backup
