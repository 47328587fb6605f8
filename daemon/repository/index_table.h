// IndexTable is the part of the index that is kept in a local file: sorted, mapped, never changed.
// Its pages live in the page cache, and only those that a lookup touched count as memory of ours.
// Immutable once open; any thread. open() and the writer do I/O.
//
// The file is never precious. It names the index files it was made from, so whoever opens it loads
// what is newer and forgets what is gone. It is written beside its place, synced and renamed; the
// whole of it is summed when it is opened, and whatever does not fit (damage, another version,
// another repository, another byte order) is `corrupt`: the caller makes a new one from the
// repository. It must not shrink while it is mapped: it lies in a folder that is ours alone.
//
//   0     magic "backupd blobidx\n"  version u32  byte order u32  repository SHA-256(id)
//   56    entries u64  fan-out bits u32  packs u32  sources u32  0 u32  bytes of sources u64
//   88    sum of all that follows the first page u64      96  sum of bytes 0 to 95 u64
//   4096  entries, 48 bytes each, sorted by is_before(); the pack word as in IndexEntry
//         fan-out: 2^bits + 1 times u32, the first entry whose id begins with these bits, or later
//         packs: id, 1 + listed blobs u32 (0: the number is free); the place is the number
//         sources: id of an index file, packs u32, that many pack numbers u32
//
// Numbers are in the byte order of the machine. Ids are hashes, so the fan-out with some 64 entries
// for each value leaves a search of six steps within one or two pages.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/id.h"
#include "common/result.h"
#include "common/unique_fd.h"
#include "daemon/repository/blob_codec.h"
#include "daemon/repository/index_entry.h"

namespace backup {

class IndexTable {
  public:
    struct Pack {
        PackId id;
        std::uint32_t listed = 0;  // 1 + the blobs that index files name in it; 0: a free number
    };
    struct Source {
        IndexId id;
        std::vector<PackNumber> packs;
    };
    // What stands beside the entries; not kept by the table.
    struct Directory {
        std::vector<Pack> packs;
        std::vector<Source> sources;
    };
    struct Opened {
        std::shared_ptr<const IndexTable> table;
        Directory directory;
    };

    // `not_found` without a file; `corrupt` for whatever is not a good one for this repository.
    static Result<Opened> open(const std::string& path, const std::string& repository_id);
    ~IndexTable();
    IndexTable(const IndexTable&) = delete;
    IndexTable& operator=(const IndexTable&) = delete;

    std::uint32_t size() const { return entries_; }
    const IndexEntry& at(std::uint32_t position) const { return first_[position]; }
    // The entries whose ids begin with this byte: [begin, end).
    struct Range {
        std::uint32_t begin = 0, end = 0;
    };
    Range starting_with(std::uint8_t byte) const;
    // The first entry with this id; size() if there is none.
    std::uint32_t find(const BlobId& id) const;
    // The entry of exactly this copy; size() if there is none.
    std::uint32_t find_copy(const IndexEntry& copy) const;

    // Gives the pages back to the page cache. Lookups may go on meanwhile.
    void drop_pages() const;
    void drop_pages(Range range) const;

  private:
    friend class IndexTableWriter;
    IndexTable() = default;
    static Result<std::shared_ptr<const IndexTable>> map(int fd, std::size_t bytes,
                                                         std::uint32_t entries, unsigned bits);

    std::uint8_t* data_ = nullptr;
    std::size_t bytes_ = 0;
    const IndexEntry* first_ = nullptr;
    const std::uint32_t* fan_ = nullptr;
    std::uint32_t entries_ = 0;
    unsigned bits_ = 0;
};

// Writes a table: entries in order, then finish(). Without it nothing remains. One thread.
class IndexTableWriter {
  public:
    // `most_entries`: an estimate, decides the size of the fan-out. The folder is made (mode 0700).
    static Result<std::unique_ptr<IndexTableWriter>> create(const std::string& path,
                                                            const std::string& repository_id,
                                                            std::uint64_t most_entries);
    ~IndexTableWriter();
    IndexTableWriter(const IndexTableWriter&) = delete;
    IndexTableWriter& operator=(const IndexTableWriter&) = delete;

    Result<> add(const IndexEntry& entry);
    // Durable and in its place; mapped.
    Result<std::shared_ptr<const IndexTable>> finish(const IndexTable::Directory& directory);

  private:
    IndexTableWriter() = default;
    Result<> append(const void* data, std::size_t size);
    Result<> write_out();

    std::string path_, temporary_;
    BlobId repository_;
    UniqueFd file_;
    Bytes buffer_;
    std::uint64_t offset_ = 0;
    PlaintextSum sum_;
    std::vector<std::uint32_t> fan_;
    std::uint64_t entries_ = 0;
    unsigned bits_ = 0;
};

}  // namespace backup
