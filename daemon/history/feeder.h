// Feeder brings the index of one line from the revision before to the next one. It compares trees
// with what the index has open, so it reads only directories that changed, and needs no earlier
// tree. One thread, one run.
//
// A kill at any point does no harm: a directory's tree is forgotten in the batch that begins to
// change it (its ancestors' before that, for they differ, too) and noted again when everything
// below is done, and what vanishes is closed from the leaves up. So whatever revision is fed next
// finds the directories that are not as they should be.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/result.h"
#include "daemon/history/records.h"
#include "daemon/history/store.h"
#include "daemon/repository/blob_source.h"

namespace backup::history {

class Feeder {
  public:
    // `line`: the directories made are counted there. `batch`: what is not yet written when run()
    // returns is in it, for the caller to write with the end of the revision.
    // `after_batch` may be empty.
    struct Options {
        std::size_t batch_bytes = std::size_t{1} << 20;
        std::function<void()> after_batch;
    };
    Feeder(HistoryStore& store, const std::string& line_key, LineRecord& line, Ordinal ordinal,
           BlobSource& blobs, HistoryStore::Batch& batch, const Options& options,
           std::stop_token stop);

    // Directories whose trees are damaged or missing keep what they had, and are looked at again
    // with the next revision: it may be that they were repaired. `cancelled`: what was written
    // stays, out of sight.
    Result<> run(const BlobId& tree);

    std::uint64_t damaged_directories() const { return damaged_directories_; }

  private:
    struct Child {
        DirectoryId id;
        bool is_new;
        std::string name;
        BlobId tree;
    };
    struct Frame {
        DirectoryId id;
        DirectoryRecord record;
        BlobId tree;
        std::deque<Child> children;
        bool is_whole = true;  // all of it could be read so far
    };
    struct Entry {
        std::string_view name;
        Version version;
        BlobId tree;  // of a directory
    };

    Result<> enter(DirectoryId id, bool is_new, DirectoryRecord record, const BlobId& tree);
    Result<> read_entries(Frame& frame, bool is_new, ByteView json);
    Result<> merge(Frame& frame, bool is_new, const HistoryStore::View& view,
                   HistoryStore::Cursor* known, const Entry& entry);
    Result<> take(Frame& frame, const HistoryStore::View& view, const Entry& entry,
                  NameRecord* known);
    Result<> vanish(DirectoryId directory, std::string_view name, NameRecord record);
    Result<> close_below(DirectoryId directory);
    Result<> close_entries(const HistoryStore::View& view, DirectoryId directory);
    void put(DirectoryId directory, std::string_view name, const NameRecord& record);
    Result<> flush_if_full();

    HistoryStore& store_;
    const std::string& line_key_;
    LineRecord& line_;
    const Ordinal ordinal_;
    BlobSource& blobs_;
    HistoryStore::Batch& batch_;
    const Options& options_;
    const std::stop_token stop_;
    std::vector<Frame> stack_;
    std::string value_;
    std::uint64_t damaged_directories_ = 0;
};

}  // namespace backup::history
