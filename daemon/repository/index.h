// BlobIndex knows where every blob of a repository is, and which blobs the running sessions are
// about to store. Most of it may lie in a mapped file (IndexTable); what is newer is in memory: 48
// bytes for a blob and about 7 for finding it. It grows shard by shard and in small steps, never
// copying the whole. Thread-safe: 256 shards with a mutex each; no I/O but reading mapped pages.
//
//   shard = first byte of the id        entries: blocks of 64, in order of arrival, never moved by
//   growth slots: open addressing, power of two, at most 3/4 full; a slot is 8 bits of hash and the
//   number of an entry                  table: the range of ids with this byte; what was forgotten
//   since it was made, and what is relied on, are a bit each
//
// A blob may have several copies (in several packs); each is an entry of its own. A *claim* is an
// entry without a place: a session has said that it will store the blob. It counts as present for
// that session alone, because another session must not rely on data whose index file may never be
// written.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/repository/damage_book.h"
#include "daemon/repository/index_entry.h"
#include "daemon/repository/index_table.h"

namespace backup {

struct IndexShard;

class BlobIndex {
  public:
    // Copies in the book are found, but nothing new may rely on them. It may be null; outlives the
    // index.
    explicit BlobIndex(const DamageBook* damage = nullptr);
    ~BlobIndex();
    BlobIndex(const BlobIndex&) = delete;
    BlobIndex& operator=(const BlobIndex&) = delete;

    // Gives the pack a number, or the one it has, and counts one more user of it.
    PackNumber acquire_pack(const PackId& pack);
    // How many users a pack has; 0 when it is unknown.
    std::uint32_t pack_users(const PackId& pack) const;

    // Adds a copy. False if exactly this copy (type, id, pack, offset) is known already.
    bool add(const BlobHandle& handle, PackNumber pack, std::uint32_t offset, std::uint32_t length,
             std::uint32_t uncompressed_length);

    // One user less for each of these packs (repeated numbers count). The copies in packs without
    // users are forgotten in one pass. A forgotten blob that a session relied on and that has no
    // other copy counts as lost. Gives the packs without users, whose numbers are free again.
    std::vector<PackNumber> release_packs(const std::vector<PackNumber>& packs);

    // The packs that are about to be deleted, all of them: their copies are found, but nothing new
    // may rely on them.
    void set_marked(const std::vector<PackId>& packs);

    // Forgets the copies in these packs of any blob but the ones given for the pack.
    void keep_only(const std::map<PackNumber, std::unordered_set<BlobHandle>>& packs);

    bool contains(const BlobHandle& handle) const;
    // The repository has a copy that something new may rely on.
    bool is_reliable(const BlobHandle& handle) const;
    // One that is not known to be damaged, if there is any; so is the first of find_all().
    std::optional<BlobLocation> find(const BlobHandle& handle) const;
    std::vector<BlobLocation> find_all(const BlobHandle& handle) const;

    // ---- for sessions
    SessionNumber begin_session();
    // Forgets the claims that are left.
    void end_session(SessionNumber session);

    enum class Claim : std::uint8_t {
        known,    // the repository has it; noted as relied on
        claimed,  // this session has it or another thread of it is storing it
        granted,  // the caller must store it, or fail the session
    };
    Claim claim(const BlobHandle& handle, SessionNumber session);
    // Known, or claimed by the session. Noted as relied on when known.
    bool rely_on(const BlobHandle& handle, SessionNumber session);
    // The claim becomes a copy that everybody may rely on, because its index file is stored.
    void settle(const BlobHandle& handle, SessionNumber session, PackNumber pack,
                std::uint32_t offset, std::uint32_t length, std::uint32_t uncompressed_length);

    // Blobs that were relied on and vanished from the index, ever. A session compares it with the
    // value at its start.
    std::uint64_t lost_count() const { return lost_.load(std::memory_order_acquire); }

    // Visits every copy. No lock is held while `each` runs: it sees a copy of one shard at a time.
    void each(const std::function<void(const BlobHandle&, const BlobLocation&)>& visit) const;
    std::uint64_t size() const;        // copies and claims
    std::size_t memory_bytes() const;  // of what is in memory

    // ---- the table. One caller at a time, and no release_packs() or keep_only() meanwhile; all
    // else may go on.
    // Begins with the copies of a table, whose packs get the numbers they have there. Only before
    // anything else was done: false otherwise.
    bool begin_with(const IndexTable::Opened& opened);
    struct Weight {
        std::uint64_t in_memory = 0;  // copies and claims
        std::uint64_t in_table = 0;   // copies, with those that are gone
        std::uint64_t gone = 0;
    };
    Weight weight() const;
    // Adds the copies in packs that are `listed` to the file, in order. By number; beyond: not.
    Result<> write_to(IndexTableWriter& writer, const std::vector<bool>& listed) const;
    // The packs by number, `listed` still 0.
    std::vector<IndexTable::Pack> packs() const;
    // The copies that are in this table, written by write_to(), are looked up there from now on.
    void use_table(const std::shared_ptr<const IndexTable>& table, const std::vector<bool>& listed);
    // Gives back what is not needed until the next lookup.
    void drop_pages() const;

  private:
    using Shard = IndexShard;
    using Entry = IndexEntry;
    struct Pack {
        PackId id;
        std::uint32_t users = 0;
        bool is_marked = false;
    };

    template <typename Forget>
    void forget_copies(const Forget& forget);
    bool note_relied_on(Shard& shard, const BlobHandle& handle);
    bool is_reliable(const Entry& entry) const;
    Shard& shard_of(const BlobId& id) const;
    BlobLocation location_of(const Entry& entry) const;

    bool is_damaged(const Entry& entry) const;

    const DamageBook* const damage_;
    std::unique_ptr<Shard[]> shards_;

    mutable std::shared_mutex packs_mutex_;  // guards the three below; taken inside a shard's mutex
    std::vector<Pack> packs_;
    std::vector<PackNumber> free_packs_;
    std::unordered_map<PackId, PackNumber> pack_numbers_;

    std::atomic<bool> any_marked_{false};  // without it nobody asks whether a pack is

    std::mutex sessions_mutex_;  // guards sessions_
    std::vector<bool> sessions_;
    std::atomic<bool> any_relied_on_{false};
    std::atomic<std::uint64_t> lost_{0};
};

}  // namespace backup
