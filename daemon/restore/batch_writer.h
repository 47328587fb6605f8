// BatchWriter carries out batches of the plan below the target. Needs the target's directories,
// blobs and nothing else.
//
// Two steps, so that the second of one batch runs beside the first of the next:
// - write() makes directories, decides what happens to each object, fetches content, makes
// everything
//   under temporary names, or under its own in a new directory that has one. Uses several threads.
// - commit() makes the batch durable with one syncfs, renames, links, sets the metadata of
// directories
//   that are done. One thread, batches in order.
// After an error abandon() removes what a batch has made and not yet named.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <unordered_set>
#include <vector>

#include <sys/types.h>

#include "daemon/repository/blob_source.h"
#include "daemon/restore/conflict.h"
#include "daemon/restore/directory_table.h"
#include "daemon/restore/existing.h"
#include "daemon/restore/joined_pieces.h"
#include "daemon/restore/metadata.h"
#include "daemon/restore/plan_record.h"
#include "daemon/restore/removal.h"
#include "daemon/restore/restore_plan.h"
#include "daemon/restore/stamps.h"
#include "daemon/runtime/progress.h"

namespace backup {

// RestoreCounts while several threads count.
struct SharedCounts {
    std::atomic<std::uint64_t> created{0}, replaced{0}, kept_both{0}, skipped{0}, unchanged{0};
    std::atomic<std::uint64_t> failed{0}, set_aside{0};
    std::atomic<std::uint64_t> files{0}, directories{0}, others{0};
    std::atomic<std::uint64_t> bytes{0}, bytes_fetched{0}, bytes_resumed{0};
    RestoreCounts snapshot() const;
};

// What happens to one object, while it happens.
struct ObjectState {
    Action action = Action::skip;
    bool is_link = false;        // a further name of its group: no content of its own
    bool is_group_head = false;  // others link to it
    bool is_done = false;        // counted: nothing is left to do
    bool is_hidden = false;      // in a hidden directory: made under its own name at once
    bool is_made = false;        // complete, but for its name
    std::string temp_name;       // empty: nothing made
    std::string landing_name;    // keep_both; empty: its own name
    std::atomic<std::uint32_t> pieces_left{0};
    std::atomic<bool> has_failed{false};
    std::atomic<bool> reaches_end{false};  // the last byte was written, not left as a hole
    std::atomic<int> fd{-1};               // shared by the threads that write pieces
    static constexpr int kNoDirect = -2;   // tried in vain
    std::atomic<int> direct_fd{-1};        // the same file, written past the page cache
    ino_t inode = 0;                       // of what was made, in a link group
    std::unique_ptr<struct stat> there;    // what is in its place and will be touched
};

struct BatchInFlight {
    explicit BatchInFlight(std::unique_ptr<RestoreBatch> batch)
        : plan(std::move(batch)), states(plan->objects.size()) {}
    std::unique_ptr<RestoreBatch> plan;
    std::deque<ObjectState> states;  // beside plan->objects
    ContentPlan content;
    bool sync_each = false;      // few files: fsync instead of syncfs
    bool has_adopted = false;    // directories that a run before had begun
    std::vector<bool> has_blob;  // beside plan->blobs: in place already; empty: none is
    // The topmost new directories: what is new below them appears with them, in one step.
    struct HiddenTop {
        DirectoryIndex parent, directory;
        std::string name;
    };
    std::vector<HiddenTop> hidden;  // not revealed yet
    std::uint32_t number = 0;       // counts from 1
};

class BatchWriter {
  public:
    struct Options {
        ConflictMode on_conflict = ConflictMode::fail;
        bool dry_run = false;
        bool verify = false;
        unsigned threads = 4;
        std::string suffix;  // of keep_both
        // In a dry run: what would be touched, and what must be removed for it. Both or none.
        PlanRecord* record = nullptr;
        AttributeSupport support;
        Removal* removal = nullptr;
        // What was found so; nothing else that exists is touched. None: anything.
        const ObjectStamps* planned = nullptr;
        // Files that have the right content already, as the look before found.
        const ObjectStamps* known_right = nullptr;
        const std::unordered_set<std::string>* unsettled = nullptr;  // not to be touched either
        ChangeLog* change_log = nullptr;
        std::function<bool(const std::string& path)> is_ours;  // see RestoreRequest
        std::function<bool(const std::string& path)> alters;   // see RestoreRequest
        std::optional<Timestamp> unchanged_since;              // see RestoreRequest
        std::size_t longest_kept = SIZE_MAX;                   // likewise
        std::stop_token stop;  // looked at while existing or written files are read
        std::shared_ptr<Pace> pace;
    };

    BatchWriter(Options options, BlobSource& blobs, DirectoryTable& directories, Progress& progress,
                ExceptionLog& exceptions)
        : options_(std::move(options)),
          blobs_(blobs),
          directories_(directories),
          progress_(progress),
          exceptions_(exceptions),
          metadata_problems_(exceptions) {}

    Result<> write(BatchInFlight& batch, std::stop_token stop);
    Result<> commit(BatchInFlight& batch, std::stop_token stop);
    void abandon(BatchInFlight& batch);
    // After the last commit: makes the renames durable and reports what metadata could not be set.
    Result<> finish();

    // For the search for conflicts before the first write. `enter` decides about a directory and
    // changes only the table.
    Result<DirectoryState> look_at_directory(const EnterDirectory& enter,
                                             const RestoreBatch& batch);

    // Refused by the walk, or found broken here.
    void refuse(std::string path, Error error);
    void note_conflict(std::string path);

    SharedCounts& counts() { return counts_; }
    std::vector<std::string> conflicts() const;
    std::uint64_t conflict_count() const { return conflict_count_.load(); }

  private:
    // A file with several names: where the first one is.
    struct GroupHead {
        enum class State : std::uint8_t { none, promised, present, failed } state = State::none;
        DirectoryIndex directory = 0;
        std::string name;
        dev_t device = 0;
        ino_t inode = 0;
    };

    // directories
    Result<> enter(const EnterDirectory& enter, BatchInFlight& batch);
    Result<> make_directory(const EnterDirectory& enter, BatchInFlight& batch);
    Result<> reveal(BatchInFlight& batch);
    Result<> reveal_one(const BatchInFlight::HiddenTop& top);
    Result<> refuse_directory(const EnterDirectory& enter, Error error);
    Result<> leave(const LeaveDirectory& leave, const RestoreBatch& batch);
    // What an existing directory needs: nothing, its mtime back after our changes in it, or other
    // metadata.
    enum class Leaving : std::uint8_t { as_it_is, its_time, altered };
    Leaving leaving_of(const LeaveDirectory& leave, const RestoreBatch& batch);
    // Tells the change log what commit() is about to do.
    Result<> tell_changes(const BatchInFlight& batch);
    bool tell_entries(DirectoryIndex directory);
    std::string path_of(const EnterDirectory& enter, const RestoreBatch& batch) const;

    // resolve: what happens to each object
    Result<> resolve(BatchInFlight& batch, std::stop_token stop);
    Result<> resolve_one(BatchInFlight& batch, std::uint32_t index);
    Result<> resolve_link(BatchInFlight& batch, std::uint32_t index);
    Result<Action> classify(BatchInFlight& batch, std::uint32_t index);
    void take_from_removal(DirectoryIndex parent, const std::string& name);
    // `action`, or `set_aside` with an exception where what is there must be left alone.
    Action may_touch(BatchInFlight& batch, std::uint32_t index, Action action);
    // nullptr: it may be replaced, altered.
    const char* why_left_alone(int directory_fd, const std::string& name, const std::string& path,
                               const struct stat& there) const;
    void record(const BatchInFlight& batch, std::uint32_t index, Action action);
    Result<> act_on(BatchInFlight& batch, std::uint32_t index, Action action);

    // resuming: what a run that was cut off has left under temporary names
    void look_for_leftovers(DirectoryIndex directory, int directory_fd);
    // Its name; empty: there is none, or somebody else may have had his hands on it.
    std::string take_leftover(DirectoryIndex directory, std::uint64_t content);
    bool adopt_directory(const EnterDirectory& enter, BatchInFlight& batch, int above_fd,
                         const std::string& making, bool is_top);
    Result<> clear_adopted(BatchInFlight& batch);
    Result<> adopt_files(BatchInFlight& batch, const std::vector<bool>& wanted,
                         std::stop_token stop);
    Result<> adopt_file(BatchInFlight& batch, std::uint32_t index);
    // What an earlier run had made of them must not appear with their directory.
    Result<> drop_unmade(const BatchInFlight& batch);
    void remove_unused_leftovers();

    // content
    Result<> make_objects(BatchInFlight& batch, std::stop_token stop);
    Result<> fetch_run(BatchInFlight& batch, const PackRun& run, std::stop_token stop);
    struct Taken {
        const Result<ByteView>& content;
        bool is_hole;  // nothing but zeros
        bool goes_on;  // more of the same file comes next: it may wait for that
    };
    Result<> take_piece(BatchInFlight& batch, const Piece& piece, const Taken& taken,
                        JoinedPieces& joined);
    Result<> write_joined(BatchInFlight& batch, JoinedPieces& joined);
    // `content` goes to where `piece` is; it may be longer than that.
    Result<> write_content(BatchInFlight& batch, const Piece& piece, ByteView content,
                           bool is_hole);
    Result<> end_of_piece(BatchInFlight& batch, const Piece& piece, bool was_wanted, Result<> done);
    // Of a file that is open for all threads; -1: none.
    int direct_fd_of(BatchInFlight& batch, std::uint32_t index, int fd);
    UniqueFd take_open_file(ObjectState& state);
    Result<> end_of_pieces(BatchInFlight& batch, std::uint32_t index);
    Result<> make_without_content(BatchInFlight& batch, std::uint32_t index);
    Result<> make_empty_file(BatchInFlight& batch, std::uint32_t index);
    Result<> complete_file(BatchInFlight& batch, std::uint32_t index, int directory_fd,
                           UniqueFd fd);
    Result<> read_back(BatchInFlight& batch, std::uint32_t index, int directory_fd, int fd);
    Result<> make_special(BatchInFlight& batch, std::uint32_t index);

    // commit
    Result<> sync_batch(const BatchInFlight& batch);
    Result<> put_in_place(BatchInFlight& batch, std::uint32_t index);
    Result<bool> is_still_planned(BatchInFlight& batch, std::uint32_t index, int directory_fd,
                                  const std::string& name);
    void note_in_place(const BatchInFlight& batch, std::uint32_t index);
    Result<> link_in_place(BatchInFlight& batch, std::uint32_t index);
    Result<> set_metadata_in_place(BatchInFlight& batch, std::uint32_t index);

    // bookkeeping
    // True for errors that would meet every following object, too.
    static bool ends_restore(const Error& error);
    // Records it; gives the error back when the whole restore must end with it.
    Result<> fail(BatchInFlight& batch, std::uint32_t index, Error error);
    void discard_temp(BatchInFlight& batch, std::uint32_t index);
    void set_aside(BatchInFlight& batch, std::uint32_t index, const char* why);
    void count_done(BatchInFlight& batch, std::uint32_t index);
    // Content that is not fetched counts as done, too.
    void note_unfetched(const PlanObject& object);
    std::string path_of(const RestoreBatch& batch, const PlanObject& object) const;
    std::string landing_name(const BatchInFlight& batch, std::uint32_t index) const;
    // Under which name it is made.
    std::string making_name(const BatchInFlight& batch, std::uint32_t index) const;
    GroupHead group_head(LinkGroup group);
    void set_group_head(LinkGroup group, GroupHead head);
    void drop_group_head(LinkGroup group);
    void touch(DirectoryIndex directory);
    Result<> sync_file_system(DirectoryIndex directory);

    static constexpr std::size_t kLocks = 64;

    const Options options_;
    BlobSource& blobs_;
    DirectoryTable& directories_;
    Progress& progress_;
    ExceptionLog& exceptions_;
    MetadataProblems metadata_problems_;
    SharedCounts counts_;
    std::atomic<int> open_files_{0};
    std::uint32_t batch_count_ = 0;              // of write()
    std::array<std::mutex, kLocks> file_locks_;  // by object: guard making its temporary file
    // By object: who writes directly waits here, for the kernel's lock of the inode spins.
    std::array<std::mutex, kLocks> write_locks_;

    mutable std::mutex mutex_;  // guards all below
    std::map<LinkGroup, GroupHead> groups_;
    std::map<dev_t, DirectoryIndex> touched_devices_;  // one directory of each, to sync through
    std::set<DirectoryIndex> touched_;                 // the first few directories with changes
    std::vector<char> found_blobs_;                    // of the batch whose files are being adopted
    std::vector<std::string> conflicts_;
    // By directory and content.
    std::multimap<std::pair<DirectoryIndex, std::uint64_t>, std::string> leftovers_;
    std::atomic<std::uint64_t> conflict_count_{0};
};

}  // namespace backup
