// Walk is one walk over the source with its workers: shared state in Walk, what belongs to one
// thread in WalkWorker. See directory.h for how a tree comes together and walk_queue.h for the
// order of work.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/archive/account_names.h"
#include "daemon/archive/archiver.h"
#include "daemon/archive/directory.h"
#include "daemon/archive/directory_fds.h"
#include "daemon/archive/large_file.h"
#include "daemon/archive/listing.h"
#include "daemon/archive/measure.h"
#include "daemon/archive/parent_counts.h"
#include "daemon/archive/parent_trees.h"
#include "daemon/archive/source_reader.h"
#include "daemon/archive/survey.h"
#include "daemon/archive/walk_gate.h"
#include "daemon/archive/walk_queue.h"
#include "daemon/archive/xattr_reader.h"
#include "daemon/repository/tree_encoder.h"
#include "daemon/repository/tree_scanner.h"

namespace backup {

// Shared by the workers; every member is thread-safe or constant.
struct Walk {
    Walk(const ArchiveInput& archive_input, std::stop_token stop_token, std::size_t most_buffers,
         std::size_t most_open_directories)
        : input(archive_input),
          stop(std::move(stop_token)),
          queue(most_buffers, archive_input.small_first),
          fds(archive_input.fs, most_open_directories),
          source(archive_input.fs, archive_input.clock, archive_input.unsettled != nullptr, stop),
          parent_trees(archive_input.source, archive_input.parent_tree) {
        if (input.resumed == nullptr) return;
        unsettled_before.insert(input.resumed->unsettled.begin(), input.resumed->unsettled.end());
        for (const HalfFile& file : input.resumed->half) half_files.emplace(file.path, &file);
    }

    const ArchiveInput& input;
    const std::stop_token stop;
    WalkQueue queue;
    DirectoryFds fds;
    AccountNames names;
    SourceReader source;
    ParentTrees parent_trees;
    // Device numbers that the parent revision has for file systems that are missing.
    std::vector<std::uint64_t> absent_devices;

    // What a checkpoint needs to know.
    WalkGate gate;
    std::atomic<std::uint64_t> bytes_read{0};
    std::mutex mutex;                               // guards the two below
    std::vector<std::string> unsettled;             // paths of files that the next run must read
    std::vector<std::shared_ptr<ReadPass>> passes;  // large files under way
    std::vector<std::shared_ptr<ReadPass>> passes_under_way() {
        std::lock_guard lock(mutex);
        return passes;
    }

    // What the interrupted run has left; constant.
    std::unordered_set<std::string> unsettled_before;
    std::unordered_map<std::string, const HalfFile*> half_files;
};

class WalkWorker {
  public:
    // `large_too`: also reads and stores large files.
    WalkWorker(Walk& walk, bool large_too);

    // Until the walk has ended.
    void run();
    // Before there are others: until the walk has ended, work for others has come up, or it has
    // taken `most`.
    void run_alone(std::chrono::nanoseconds most);
    // The first directory of a walk.
    void enter_root();

    const BackupCounts& counts() const { return counts_; }
    const ParentCounts& parent_counts() const { return parent_; }
    std::uint64_t compared() const { return compared_; }
    const Measured& measured() const { return measured_; }
    const ChangeWitness& witness() const { return witness_; }
    const std::vector<BlobHandle>& read_back() const { return read_back_; }

  private:
    // One name that is being looked at.
    struct Entry {
        Directory& directory;
        Fragment& fragment;
        std::string_view name;
        Place place;
        const TargetNode* target = nullptr;  // not nullptr: explicit, no exclude rule applies
        const RawNode* before = nullptr;
        const RawNode* resumed = nullptr;  // the checkpoint's node of this name
        std::string_view path;             // absolute, of explicit entries only

        bool follows_links() const { return target != nullptr && !target->children.empty(); }
    };
    enum class Saved { done, type_changed };

    void work_on(WalkQueue::Task& task);

    // walk_directory.cc: from a directory to batches of names.
    void enter_child(Directory& parent, Fragment& fragment, ChildDirectory& child);
    void enter(Directory& directory);
    int open(Directory& directory, UniqueFd& fd);
    // An error only of a survey, which cannot do without.
    std::optional<Error> load_before(Directory& directory, Bytes& json);
    Bytes load_resumed(Directory& directory);
    // What to look at, in names_ (sorted, until the next directory). -errno on failure.
    int collect_names(Directory& directory, int fd, ByteView before_json, bool& keep_unlisted);
    static bool has_cache_tag(ByteView before_json);
    bool is_cache(int fd);
    void add_explicit_names(const Directory& directory);
    void split(Directory& directory, Bytes before_json, Bytes resumed_json);
    // False if a tree breaks off.
    static bool cut_nodes(Directory& directory, ByteView json,
                          Directory::Nodes Directory::Batch::*part);
    static void copy_nodes(ByteView json, const Directory::Nodes& nodes, Bytes& out);
    void save_batch(Directory& directory, std::size_t batch);
    void close_fragment(Directory& directory, Fragment& fragment);
    void leave_out(Directory& directory, int error, const char* action);
    void note_progress();

    // walk_tree.cc: from fragments to a tree, and to the parent.
    void finish(Directory& directory);
    void complete(Directory* directory, std::optional<BlobId> tree);
    bool join_fragments(Directory& directory, BlobId& tree);

    // walk_entry.cc: from a name to its node.
    // False if the parent's tree could not be followed to its end in the order of names: then what
    // is not listed must not be kept, for some of it was not seen.
    bool save_names(Directory& directory, Fragment& fragment, int fd,
                    std::span<const ListedName> names, ByteView before_json, ByteView resumed_json,
                    bool keep_unlisted);
    void save_name(Directory& directory, Fragment& fragment, int fd, const ListedName& listed,
                   const RawNode* before, const RawNode* resumed);
    void save_entry(Entry& entry, std::uint8_t listed_type);
    Saved save_file(Entry& entry, const struct statx* listed);
    Saved save_other(Entry& entry, const struct statx& status);
    bool keep_unchanged_file(Entry& entry, const struct statx& status);
    bool keep_resumed_file(Entry& entry, const struct statx& status);
    bool has_all_content(const RawNode& node) const;
    bool keep_unlisted_node(Directory& directory, Fragment& fragment, const RawNode& node);
    void count_replaced(const Entry& entry, NodeType now);
    bool is_excluded(const Entry& entry, bool is_directory);
    bool is_absent(const Entry& entry);
    bool was_settled(const struct statx& status) const;
    // The stamps of a regular file do not tell whether its content is that of the parent.
    bool is_unproven(const Entry& entry, const struct statx& status);
    const char* why_left_out(const Entry& entry, const struct statx& status) const;
    bool is_left_out(const Entry& entry, const struct statx& status) const {
        return why_left_out(entry, status) != nullptr;
    }
    std::uint64_t device_id(const struct statx& status) const;
    NodeFields fields(std::string_view name, const struct statx& status);
    bool add_node(Entry& entry, const NodeFields& node);
    void note_file(const RawNode* before, bool same, std::uint64_t size);
    std::string_view xattrs_of(Entry& entry, const struct statx& status, int fd);
    void note_xattr_failures(const Entry& entry);
    static Error xattr_error(const XattrReader::Failure& failure);

    // walk_subdirectory.cc: from a directory's name to its node.
    // How a walk goes on below a directory.
    struct Descent {
        FileIdentity identity;
        std::uint64_t device_allowed = 0;
        bool is_foreign = false;   // on another device than is allowed
        bool stays_empty = false;  // its node has no entries, whatever is in it
    };
    Descent descent_into(const Entry& entry, const struct statx& status) const;
    static ChildDirectory child_of(const Entry& entry, const Descent& descent);
    // What the parent revision has of this directory, be it under another name.
    struct Origin {
        std::optional<BlobId> tree;
        bool has_name = false;  // it is the directory that the parent has under this name
    };
    Origin origin_of(const Entry& entry, const struct statx& status);
    void save_directory(Entry& entry, const struct statx& status);

    // walk_compare.cc: what a survey does instead.
    void compare(Entry& entry, const struct statx& status);
    void compare_directory(Entry& entry, const struct statx& status, const NodeFields& now);
    bool same_metadata(const NodeFields& now, const RawNode& before);
    bool same_text(std::string_view json, std::string_view text);
    void tell(const Entry& entry, SurveyFinding::Kind kind, bool is_directory);
    void tell(const Directory& directory, SurveyFinding::Kind kind);
    void tell_gone(const Directory& directory, const RawNode& node);
    void wait_for_pace(ByteView before_json);
    void survey_without(Directory& directory, Error error);

    // walk_measure.cc: what a measuring does instead, and what limits let in.
    void measure(Entry& entry, const struct statx& status);
    void measure_directory(Entry& entry, const struct statx& status);
    void tell_left_out(const Entry& entry, const char* rule);
    bool is_only_looking() const { return input_.survey != nullptr || input_.measure != nullptr; }
    // False: it is left out.
    bool may_come(Entry& entry, const struct statx& status);
    // True: the parent's node stays, for what the file is now is beyond a limit.
    bool keep_old_file(Entry& entry, const struct statx& status);

    // walk_large.cc: large files and their chunks.
    void wait_for_large(Entry& entry, std::uint64_t size);
    void read_large(LargeFile& file);
    std::shared_ptr<ReadPass> read_large_at(LargeFile& file, Place place);
    std::shared_ptr<ReadPass> read_once(LargeFile& file, int fd, const struct statx& status,
                                        bool may_be_resumed);
    void take_up(const struct statx& status, ReadPass& pass);
    void forget_pass(const ReadPass* pass);
    void store_chunk(ChunkTask& task);
    void release(const std::shared_ptr<ReadPass>& pass);
    void complete_large(ReadPass& pass);
    void end_large(LargeFile& file);
    void except_large(const LargeFile& file, Error error);
    ChunkBuffer* wait_for_buffer();

    // Somebody may write to the file and nothing would tell.
    bool may_be_written(const Directory& directory, std::string_view name);
    void note_unsettled(const Directory& directory, std::string_view name);
    void except(const Entry& entry, int error, const char* action);
    void except(std::string path, Error error);
    // False: it was fatal, and the walk has ended.
    bool save_blob(BlobType type, ByteView plaintext, BlobId& id, std::uint64_t* stored = nullptr);
    bool ended() const { return walk_.queue.ended(); }
    const std::string& directory_path(const Directory& directory);
    const std::string& path_of_entry(const Entry& entry);  // until the next call

    Walk& walk_;
    const bool large_too_;
    const ArchiveInput& input_;
    Fs& fs_;
    TreeEncoder encoder_;
    XattrReader xattrs_;
    LargeFileReader large_reader_;
    Listing listing_;
    Bytes small_;  // content of one small file and a byte more, when there was one
    Bytes batch_json_, batch_resumed_;
    std::string xattr_json_, explicit_path_, entry_path_;
    std::vector<ListedName> names_;
    std::vector<std::string> named_;
    std::uint64_t path_owner_ = 0;  // Directory::number
    std::string path_;              // of path_owner_

    BackupCounts counts_;
    ParentCounts parent_;
    ChangeWitness witness_;
    std::vector<BlobHandle> read_back_;
    // Of a survey: what it compared, and whether the name at hand has something to compare.
    std::uint64_t compared_ = 0;
    Measured measured_;
    bool has_counterpart_ = false;
    std::string text_;
    std::uint64_t items_noted_ = 0, bytes_noted_ = 0;
};

// How a tree begins; a node and a comma each follow.
inline constexpr std::string_view kTreeBegin = "{\"nodes\":[";
// Small files are read whole; a file longer than the shortest chunk may have to be cut.
inline constexpr std::size_t kSmallFile = kMinChunk;

}  // namespace backup
