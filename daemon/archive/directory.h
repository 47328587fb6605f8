// A directory while it is being saved: what is known of its tree so far, and what it still waits
// for.
//
// The names are cut into batches; each batch makes one Fragment, the nodes in name order as JSON
// with a comma behind each. Two things are not known when a node is due: the id of a subdirectory's
// tree (64 digits, written over zeros later) and the whole node of a large file (a gap, filled
// later). When nothing is pending any more the fragments are joined to the tree.
//
// Made by the walk, one per directory that is entered. The worker that brings `pending` to 0
// finishes it and tells the parent; no recursion anywhere, so depth is limited by memory alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/id.h"
#include "common/unique_fd.h"
#include "daemon/archive/archiver.h"
#include "daemon/archive/listing.h"

namespace backup {

struct Directory;
struct Fragment;

inline FileTime file_time(const struct statx_timestamp& time) {
    return {time.tv_sec, time.tv_nsec};
}

// A subdirectory whose node stands in the fragment already, but for the id of its tree.
struct ChildDirectory {
    std::string name;
    const TargetNode* explicit_target =
        nullptr;        // reached by its absolute path, see Directory::path
    bool lists = true;  // see Directory
    FileIdentity identity;
    std::uint64_t device_allowed = 0;  // see Directory
    std::size_t begin = 0, end = 0;    // its node in Fragment::out, comma included
    std::size_t id_at = 0;             // 64 digits
    std::optional<BlobId> before;      // the parent revision's tree
    std::optional<BlobId> resumed;     // that of the checkpoint
    bool node_same = false;            // all of the node but the id is as the parent has it
    bool tree_same = false;            // the id, too
    bool left_out = false;             // could not be read: no node
    bool has_tree = false;             // the id stands in the node
};

// A file that is read in pieces, by one worker at a time; its chunks are stored by all of them.
struct LargeFile {
    Directory* directory = nullptr;
    Fragment* fragment = nullptr;
    std::string name;
    std::string path;        // absolute, when the file is itself a target; else empty
    std::string before;      // the parent's node as stored, empty if there is none
    std::uint64_t size = 0;  // when it was found
    bool was_file = false;
    bool was_compressed = false;  // by the repository, as the parent has it
    std::uint64_t bytes_before = 0;
    // The parent's extended attributes, good for the same inode and ctime.
    std::uint64_t before_inode = 0;
    FileTime before_ctime;
    std::string before_xattrs;
    std::size_t at = 0;  // where its node belongs in Fragment::out
    Bytes node;          // with a comma; empty: left out
};

struct Fragment {
    Bytes out;
    // Filled by one batch and not resized after it: elements stay where they are.
    std::vector<ChildDirectory> children;
    std::vector<LargeFile> large;
    std::size_t next_child = 0;  // guarded by the walk's queue
    bool same =
        true;  // as in the parent revision, as far as it is known, large files and ids apart
};

struct Directory {
    Directory* parent = nullptr;  // outlives this; nullptr: the root of the revision
    Fragment* slot_fragment = nullptr;
    ChildDirectory* slot = nullptr;  // in the parent's fragment; nullptr: the root

    std::uint64_t number = 0;  // of this walk, never used twice
    std::string name;
    // Absolute path of a set's path or of a directory above one, which are opened by path as restic
    // does it. Empty below: those are opened through the parent's descriptor, whatever their depth.
    std::string path;
    const TargetNode* target = nullptr;  // children that are explicit
    bool lists = true;                   // false: nothing but its explicit children
    FileIdentity identity;
    // Everything below must be on this device (0: any): --one-file-system.
    std::uint64_t device_allowed = 0;
    std::optional<BlobId> before;
    std::optional<BlobId> resumed;  // the tree of the checkpoint
    std::size_t before_size = 0;

    // Opened when first needed, closed when the last user is gone. Guarded by DirectoryFds.
    UniqueFd fd;
    unsigned fd_pins = 0;
    std::size_t fd_needed =
        0;  // batches, large files and subdirectories that have not been opened yet

    // Work that must end before the tree is complete: batches, large files, subdirectories.
    std::atomic<std::size_t> pending{0};

    // Only while there are several batches.
    Listing listing;
    std::vector<ListedName> names;
    Bytes before_json, resumed_json;
    struct Nodes {  // of a tree
        std::size_t begin = 0, end = 0;
    };
    struct Batch {
        std::size_t first_name = 0, end_name = 0;  // in names
        Nodes before, resumed;                     // in before_json, in resumed_json
    };
    std::vector<Batch> batches;
    std::size_t next_batch = 0;  // guarded by the walk's queue
    std::atomic<std::size_t> batches_left{0};

    std::vector<Fragment> fragments;  // one per batch, in name order; never resized
    Bytes joined;  // its tree, when that could not be saved because the walk has ended

    // All directories of a walk, for cleaning up after a failure. Guarded by the walk's queue.
    Directory* list_before = nullptr;
    Directory* list_after = nullptr;
};

// Absolute path of a directory: for exclude patterns and messages. Not kept, for in a deep chain
// all paths together are quadratic.
std::string path_of(const Directory& directory);
void append_path(std::string& path, std::string_view name);

}  // namespace backup
