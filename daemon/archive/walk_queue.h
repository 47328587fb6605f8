// WalkQueue hands the work of a walk to its workers: which directory, file or chunk comes next.
// Thread-safe.
//
// Chunks first, for they hold memory; then large files, at most kMostReaders at a time; then
// directories, last in first out, so that the walk goes deep before it goes wide and few
// directories are open at once. When too many large files wait, no new directory is begun: what
// waits is bounded.
//
// Where small files shall come first, large ones wait for the directories, as long as not too many
// do, and of those that wait the smallest comes next.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "common/error.h"
#include "daemon/archive/chunk_buffers.h"
#include "daemon/archive/directory.h"

namespace backup {

struct ReadPass;

// A chunk that waits to be stored.
struct ChunkTask {
    ChunkBuffer* buffer = nullptr;
    std::size_t size = 0;
    std::shared_ptr<ReadPass> pass;
    std::size_t index = 0;
};

class WalkQueue {
  public:
    static constexpr unsigned kMostReaders = 2;
    static constexpr std::size_t kMostLargeWaiting = 256;
    static constexpr std::size_t kMostLargeBehind = 2048;  // with small files first

    explicit WalkQueue(std::size_t most_buffers, bool small_first = false)
        : small_first_(small_first),
          most_large_(small_first ? kMostLargeBehind : kMostLargeWaiting),
          buffers_(most_buffers) {}
    ~WalkQueue();

    struct Task {
        enum class Kind : std::uint8_t { end, chunk, large_file, batch, child };
        Kind kind = Kind::end;
        ChunkTask chunk;
        LargeFile* large_file = nullptr;  // call reader_done() after it
        Directory* directory = nullptr;   // batch: of this one; child: its parent
        std::size_t batch = 0;
        Fragment* fragment = nullptr;  // child
        ChildDirectory* child = nullptr;
    };
    // Waits for work; `end` when the walk is complete or has failed. Chunks and large files go only
    // to workers that ask for them: what they need is processors and memory, not more threads.
    Task take(bool large_too);
    // The same without waiting and without large files: nothing if there is no such work now.
    std::optional<Task> take_small();
    void reader_done();

    void add_batches(Directory& directory);
    // Children and large files that a batch has found. The fragment does not change any more.
    void add_found(Directory& directory, Fragment& fragment);
    void add_chunk(ChunkTask task);

    // A free buffer, or, while there is none, a chunk to store meanwhile; neither at the end.
    struct BufferOrChunk {
        ChunkBuffer* buffer = nullptr;
        std::optional<ChunkTask> chunk;
    };
    BufferOrChunk take_buffer();
    void release_buffer(ChunkBuffer* buffer);

    // Every directory that exists, so that the end finds those that never finished.
    void enlist(Directory& directory);
    void delist(Directory& directory);
    // Newest first. They live as long as nobody delists them.
    std::vector<const Directory*> directories();

    void finish(const BlobId& root);
    void fail(Error error);  // the first one is kept
    bool ended() const { return ended_.load(std::memory_order_relaxed); }

    std::optional<Error> error();
    std::optional<BlobId> root();

  private:
    bool take_locked(Task& task, bool large_too);
    bool is_large_due() const;
    LargeFile* next_large();
    void end_locked();

    const bool small_first_;
    const std::size_t most_large_;
    std::mutex mutex_;  // guards all below
    // Woken apart: chunks come often, and those who only walk need not hear of them.
    std::condition_variable walkers_;  // workers that take directories alone
    std::condition_variable
        large_workers_;  // those that take everything, and readers without a buffer
    std::deque<ChunkTask> chunks_;
    std::deque<LargeFile*> large_;
    unsigned readers_ = 0;
    struct Open {
        Directory* directory;
        Fragment* fragment;  // its children; nullptr: the batches of the directory
    };
    std::vector<Open> stack_;
    ChunkBuffers buffers_;
    Directory* directories_ = nullptr;
    std::optional<BlobId> root_;
    std::optional<Error> error_;
    std::atomic<bool> ended_{false};
};

}  // namespace backup
