// NodeWalk turns a revision and what was asked for into batches of the plan: it reads trees, never
// the target. Depth first with an explicit stack: within a directory first everything that is no
// directory, then its directories one by one, so an open directory costs the list of its
// subdirectories and nothing else. One thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/access/access_rule.h"
#include "daemon/repository/repository.h"
#include "daemon/restore/directory_table.h"
#include "daemon/restore/restore_plan.h"
#include "daemon/runtime/progress.h"

namespace backup {

// One thing asked for.
struct Selected {
    std::vector<Node> passages;  // the directories above it, from the root
    Node node;                   // type dir without a name: the root
    std::string parent_path;     // within the revision
};

// Finds the paths; drops those inside of others when they land there anyway.
// `not_found`/no_such_path, also for what the rule does not let be known; `denied`/access_denied
// for what it does not let be opened; `invalid` when two of them would land under one name.
Result<std::vector<Selected>> select_paths(Repository& repository, const BlobId& root_tree,
                                           const std::vector<std::string>& paths, bool full_paths,
                                           const AccessRule& rule = {});

class NodeWalk {
  public:
    struct Options {
        bool full_paths = false;
        bool leaves_privileges = false;  // see RestoreRequest
        BatchLimits limits;
        // What it does not let be opened is refused.
        const AccessRule* rule = nullptr;
        // Objects that cannot be restored at all (sockets, unknown types, bad names, unreadable
        // directories) are told to this; nothing: kept quiet.
        std::function<void(std::string path, Error error)> refuse;
        // Asked before a directory is descended into; nothing: always.
        std::function<bool(const EnterDirectory& enter, const RestoreBatch& batch)> descend;
        // Told the names in a directory that was asked for or lies below, if its tree is whole.
        std::function<Result<>(DirectoryIndex directory, std::vector<std::string> names)> entries;
    };
    using Sink = std::function<Result<>(std::unique_ptr<RestoreBatch>)>;

    NodeWalk(BlobSource& blobs, DirectoryTable& directories, Options options, Sink sink)
        : blobs_(blobs),
          directories_(directories),
          options_(std::move(options)),
          sink_(std::move(sink)),
          batch_(new_batch()) {}

    Result<> run(const std::vector<Selected>& selected, std::stop_token stop);

  private:
    struct Frame {
        DirectoryIndex directory;
        std::optional<Node>
            node;  // the directory itself, to be left with its metadata; nothing: the target
        std::vector<Node> directories;  // still to visit, the next one last
    };
    struct GroupKey {
        std::uint64_t inode, device;
        bool operator==(const GroupKey&) const = default;
    };
    struct GroupKeyHash {
        std::size_t operator()(const GroupKey& key) const {
            return key.inode * 0x9e3779b97f4a7c15 ^ key.device;
        }
    };
    struct Group {
        LinkGroup number;
        std::uint64_t names_left;
        BlobId fingerprint;
    };

    Result<> run_full(const std::vector<Selected>& selected, std::stop_token stop);
    Result<> visit(DirectoryIndex parent, Node node, std::stop_token stop);
    Result<> walk(std::stop_token stop);
    Result<> open_directory(DirectoryIndex parent, Node node);
    Result<> read_entries(Frame& frame, const BlobId& tree);
    Result<> read_entries_of(Frame& frame, ByteView json);
    Result<> take_object(DirectoryIndex parent, const Node& node);
    Result<> add_object(DirectoryIndex parent, const Node& node);
    Result<> leave(DirectoryIndex directory, const Node& node, bool passage);
    Result<> flush_if_full();
    std::unique_ptr<RestoreBatch> new_batch() const;
    void refuse(DirectoryIndex parent, std::string_view name, Error error);

    BlobSource& blobs_;
    DirectoryTable& directories_;
    const Options options_;
    const Sink sink_;
    std::unique_ptr<RestoreBatch> batch_;
    std::vector<Frame> stack_;
    std::unordered_map<GroupKey, Group, GroupKeyHash> groups_;  // whose names were not all seen
    LinkGroup next_group_ = 0;
};

}  // namespace backup
