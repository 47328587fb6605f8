// HistoryIndex answers which versions of a path there are, and where names are, without asking a
// repository: a folder of ours, fed revision by revision, that can be deleted at any time. One line
// per repository, host and set. Thread-safe; all of it blocks. Queries see the revisions that were
// fed whole, and run beside feeding.
//
// A folder that is damaged or of another version is thrown away: the call fails as `transient`, the
// next one finds an empty index, and whoever feeds it feeds it all. Opened at the first use.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/id.h"
#include "common/path.h"
#include "common/result.h"
#include "daemon/history/records.h"
#include "daemon/history/timeline.h"
#include "daemon/repository/blob_source.h"

namespace backup {

class HistoryStore;

// Revisions that follow each other: of one set on one host, in one repository. Snapshots of other
// programs have no set: their paths take its place.
struct LineName {
    std::string repository;  // its id
    std::string host, set;
    std::vector<std::string> paths;

    std::string key() const;
    static std::optional<LineName> parse(std::string_view key);
};

struct LineRevision {
    RevisionId identity, id;
    std::uint64_t number = 0;
    Timestamp time{};
    BlobId tree;
    bool hidden = false;  // in the trash: fed, and not shown
};
// As a line is fed.
bool comes_before(const LineRevision& a, const LineRevision& b);

struct LineStatus {
    std::uint64_t revisions = 0;  // fed, and still there
    std::uint64_t last_number = 0;
    Timestamp last_time{};  // of the newest that was ever fed
};

struct RevisionPoint {
    RevisionId id;
    std::uint64_t number = 0;
    Timestamp time{};
};

// A distinct version, or a deletion, as far as revisions that are there tell of it.
struct PathVersion {
    bool deleted = false;
    Version version;  // of a deletion: what was deleted
    RevisionPoint first, last;
    std::uint64_t revisions = 0;
    // What is different from the version before: "created", "content", "metadata", "kind",
    // "deleted".
    std::string_view change;
};

struct HistoryQuery {
    // Asked for every name; true: its path is wanted. `path` is made only when it is called.
    std::function<bool(std::string_view name, bool is_directory,
                       const std::function<const std::string&()>& path)>
        wants;
    std::optional<Path> below;       // within this directory
    bool entries_only = false;       // of that directory: nothing deeper
    std::optional<Timestamp> at;     // what the newest revision up to then has
    std::optional<Timestamp> since;  // what came, changed or went in revisions since then
    bool deleted_only = false;       // what the newest one (up to `at`) does not have
};

struct FoundPath {
    const std::string& path;
    // As `at` has it; else its newest version, be it deleted since.
    PathVersion version;
    bool deleted;  // and the newest revision does not have it
    // The revision by which it is said to be there (the newest up to `at`), and of a deletion that
    // by which it is gone: who may not look into these is told neither.
    RevisionPoint there, gone;
};

struct HistoryOptions {
    std::size_t batch_bytes = std::size_t{1} << 20;  // written at once while feeding
    std::function<void()> after_batch;               // for tests
};

class HistoryIndex {
  public:
    explicit HistoryIndex(std::string folder, HistoryOptions options = {});
    ~HistoryIndex();

    struct Update {
        std::uint64_t revisions_fed = 0;
        std::uint64_t damaged_directories = 0;  // their trees could not be read
        bool rebuilt = false;                   // revisions came in between: from the beginning
    };
    // Brings the line up to these, which are all there are, in any order. Bounded memory;
    // `cancelled` keeps what was fed, and is gone on with next time. Calls wait for one another.
    Result<Update> update(const LineName& line, std::vector<LineRevision> revisions,
                          BlobSource& blobs, std::stop_token stop);
    // A line that is not wanted any more.
    Result<> drop(const LineName& line);

    std::vector<LineName> lines();
    Result<std::optional<LineStatus>> status(const LineName& line);
    // Newest first. `not_found`/no_such_path when no revision has or had it.
    Result<std::vector<PathVersion>> versions(const LineName& line, const Path& path);
    // In no particular order.
    Result<> find(const LineName& line, const HistoryQuery& query,
                  const std::function<Result<>(const FoundPath&)>& each, std::stop_token stop);

    // Closes the folder until the next use; does nothing while it is in use.
    void rest();

  private:
    class Turn;
    template <typename T>
    Result<T> with_store(const std::function<Result<T>(HistoryStore&)>& work);
    Result<> ready();
    void throw_away(const Error& why);

    Result<Update> feed(HistoryStore& store, const LineName& line,
                        std::vector<LineRevision>& revisions, BlobSource& blobs,
                        const std::stop_token& stop);

    const std::string folder_;
    const HistoryOptions options_;
    std::mutex feeding_;  // guards is_feeding_
    std::condition_variable_any fed_;
    bool is_feeding_ = false;
    std::shared_mutex opened_;  // shared: in use; alone: opened, closed, thrown away
    std::unique_ptr<HistoryStore> store_;
};

}  // namespace backup
