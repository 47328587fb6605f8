// PackWriter turns blobs into stored packs: dedup -> compress -> seal -> verify -> pack -> upload.
// One per write session.
//
// save() works in the caller's thread, on scratch memory of that thread; it holds the lock only to
// reserve room in a pack and blocks while uploads lag behind. Two packs of each type are open, and
// each blob goes into one of them at random, which hides the lengths of the chunks of known files;
// a blob of pack size gets a pack of its own.
//
// Memory: what open packs and those closed and not yet stored hold stops further saves at
// most_upload_bytes and half a pack, as long as anything is being stored; scratch of at most 2 x 4
// MiB per saving thread between calls.
//
// The first error of any stage is final: every later save() and flush() returns it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>
#include <unordered_set>
#include <vector>

#include "daemon/backend/backend.h"
#include "daemon/repository/crypto.h"
#include "daemon/repository/index.h"
#include "daemon/repository/pack.h"
#include "daemon/repository/pack_buffer.h"
#include "daemon/repository/repository.h"

namespace backup {

// A pack that is durable in the repository, but that no index file names yet.
struct StoredPack {
    PackId id;
    std::vector<PackedBlob> blobs;
    std::uint64_t lock_generation = 0;  // of the session when its upload began
};

class PackWriter {
  public:
    struct Place {
        Backend& backend;
        const MasterKey& key;
        unsigned version;
        BlobIndex& index;
        SessionNumber session;
        std::function<std::uint64_t()> lock_generation;
        // Called by uploader threads before a pack is stored: its id and size.
        std::function<void(const PackId&, std::uint64_t)> on_storing;
        // Called by uploader threads, several at once. An error is final for the session.
        std::function<Result<>(StoredPack)> on_stored;
    };
    PackWriter(Place place, const WriteOptions& options, std::stop_token stop);
    // Drops what is not stored; waits for transfers under way.
    ~PackWriter();
    PackWriter(const PackWriter&) = delete;
    PackWriter& operator=(const PackWriter&) = delete;

    Result<SavedBlob> save(BlobType type, ByteView plaintext);
    // Closes the open packs and waits until everything saved before the call is stored and
    // on_stored has returned. A stop request does not end it: it is how a cancelled run keeps what
    // it has. With a type: the open packs of the other one stay open, and what is in them is not
    // stored.
    Result<> flush(std::optional<BlobType> type = std::nullopt);

    // From now on blobs are taken although a stop was requested: the last words of a run.
    void wind_up() { is_winding_up_ = true; }

    // Makes an error final for the session, as if a stage had met it.
    void fail(const Error& error);
    Result<> health() const;
    // A save was given up on request: what is stored is good, but not all of it is there.
    bool is_incomplete() const { return is_incomplete_; }
    // The pace let no more through: packs that were full are not stored.
    bool is_cut_off() const { return is_cut_off_; }
    WriteSession::Counters counters() const;

  private:
    struct OpenPack;
    struct Reserved {
        OpenPack* pack;
        std::uint8_t* at;
    };
    using Lock = std::unique_lock<std::mutex>;

    Result<Reserved> reserve(const PackedBlob& blob, std::uint32_t length);
    void release(OpenPack* pack);
    void close(std::unique_ptr<OpenPack> pack);
    void merge_small_packs();
    std::unique_ptr<OpenPack> open_pack(BlobType type, std::size_t most_bytes, std::size_t full_at);
    bool coin();
    bool take_up_again(const BlobHandle& handle);
    std::size_t most_held() const;
    void upload(std::stop_token stop);
    Result<StoredPack> store(OpenPack& pack);

    const Place place_;
    const WriteOptions options_;
    const std::stop_token stop_;

    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable_any changed_;
    std::array<std::array<std::unique_ptr<OpenPack>, 2>, 2> open_;  // by type
    std::array<bool, 2> is_staggered_{};  // by type: the short first pack of one side was opened
    std::vector<std::unique_ptr<OpenPack>> filling_;  // closed, a thread still copies into it
    std::deque<std::unique_ptr<OpenPack>> queue_;     // closed, waits for an uploader
    std::set<std::uint64_t> in_flight_;  // serial numbers of closed packs not stored and told yet
    std::size_t in_flight_bytes_ = 0;    // of those not stored yet
    std::size_t held_bytes_ = 0;         // those in flight and those in open packs
    std::uint64_t next_serial_ = 0;
    std::optional<Error> error_;
    std::uint64_t coins_ = 0;
    unsigned coins_left_ = 0;
    std::atomic<bool> failed_{false};  // error_ is set; read without the lock
    std::atomic<bool> is_incomplete_{false}, is_cut_off_{false};
    std::atomic<bool> is_winding_up_{false};
    // Claimed, and then not stored because of a stop request. Guarded by mutex_.
    std::unordered_set<BlobHandle> given_up_;

    std::atomic<std::uint64_t> data_blobs_{0}, tree_blobs_{0}, bytes_added_{0}, bytes_stored_{0},
        packs_stored_{0};
    std::vector<std::jthread> uploaders_;  // last: they use all of the above
};

}  // namespace backup
