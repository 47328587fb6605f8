// The parts of one check; see checker.h. Internal to this room.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "daemon/repository/checker.h"
#include "daemon/repository/index_file.h"
#include "daemon/repository/tree.h"

namespace backup {

// Collects findings from all threads of a check.
class CheckReport {
  public:
    void error(std::string object, std::string message);
    void hint(std::string object, std::string message);
    // The storage failed, which says nothing about the repository: the check ends with this error.
    void abort(Error error);
    bool is_aborted() const;
    bool has_errors() const;
    void start_anew();
    // The error of abort(), if any; else the findings are moved into `result`.
    Result<> finish(CheckResult& result);

  private:
    void add(CheckFinding::Severity severity, std::string object, std::string message);

    mutable std::mutex mutex_;  // guards what follows
    std::vector<CheckFinding> findings_;
    std::uint64_t errors_ = 0, hints_ = 0;
    std::optional<Error> failure_;
};

// True for errors that tell about stored bytes rather than about reaching them.
bool is_damage(const Error& error);

// What the index files say about a pack.
struct IndexedPack {
    std::uint64_t size = 0;  // of the file
    std::uint32_t blobs = 0;
    std::uint64_t digest = 0;  // of its blobs, in any order
    bool is_good = true;       // is there, of the right size
};
std::uint64_t digest_of(std::span<const PackedBlob> blobs);
using IndexedPacks = std::unordered_map<PackId, IndexedPack>;

using BlobSet = std::unordered_set<BlobHandle>;

// Reads packs whole and verifies every byte of them. Blobs without any good copy go to `damaged`.
class PackCheck {
  public:
    PackCheck(Repository& repository, const IndexedPacks& indexed, CheckReport& report,
              Progress& progress, std::stop_token stop)
        : repository_(repository),
          indexed_(indexed),
          report_(report),
          progress_(progress),
          stop_(std::move(stop)) {}

    void run(std::vector<PackId> packs, unsigned threads);

    std::uint64_t packs_read = 0, bytes_read = 0, blobs_checked = 0;
    BlobSet suspects;                       // a copy is damaged
    std::vector<DamagedCopy> bad_copies;    // those copies
    std::unordered_set<PackId> unreadable;  // packs whose list of blobs could not be read
    std::unordered_set<PackId> bad;         // those, and packs with anything else wrong

  private:
    struct Totals;
    void check(const PackId& id, const IndexedPack& expected, Totals& totals);
    Result<bool> verify(const PackId& id, const IndexedPack& expected, bool is_last_attempt,
                        Totals& totals);

    Repository& repository_;
    const IndexedPacks& indexed_;
    CheckReport& report_;
    Progress& progress_;
    const std::stop_token stop_;
};

// Walks the trees of revisions, each tree once.
class TreeCheck {
  public:
    TreeCheck(Repository& repository, const BlobSet& damaged, CheckReport& report,
              Progress& progress, std::stop_token stop)
        : repository_(repository),
          damaged_(damaged),
          report_(report),
          progress_(progress),
          stop_(std::move(stop)) {}

    void run(const std::vector<RevisionEntry>& revisions, unsigned threads);
    std::uint64_t trees() const { return seen_.size(); }

  private:
    struct Pending {
        BlobId tree;
        std::string path;  // without a trailing slash
        RevisionId revision;
    };
    void work();
    void check(const Pending& pending, std::vector<Pending>& found);
    std::vector<std::string> what_is_wrong_with_content(const Node& file);

    Repository& repository_;
    const BlobSet& damaged_;
    CheckReport& report_;
    Progress& progress_;
    const std::stop_token stop_;

    std::mutex mutex_;  // guards what follows
    std::condition_variable_any changed_;
    std::vector<Pending>
        stack_;  // last in, first out: it stays as short as the trees are deep and wide
    std::unordered_set<BlobId> seen_;
    unsigned busy_ = 0;
};

}  // namespace backup
