// What a restore does, as values: batches of directories to enter, objects to make and directories
// to leave, and for the content of a batch the packs to read with every place each blob goes to.
// Pure: no I/O, no clock, no target. A batch is bounded in objects, blobs and text, so a revision
// of any size needs the memory of a few batches. It names things only relative to directories that
// came before it: whoever carries it out needs the descriptor of the target directory and this
// stream, and no path.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/id.h"
#include "daemon/repository/blob.h"
#include "daemon/repository/tree.h"

namespace backup {

// A directory of the restore, in the order of discovery. Stable for the whole run.
using DirectoryIndex = std::uint32_t;
// A group of names that are one file. Stable for the whole run.
using LinkGroup = std::uint32_t;
inline constexpr LinkGroup kNoLinkGroup = UINT32_MAX;

// A piece of the batch's text.
struct TextRef {
    std::uint32_t begin = 0, length = 0;
};

struct PlanAttribute {
    TextRef name, value;
};

struct PlanMetadata {
    std::uint32_t mode = 0;  // permission bits with setuid, setgid, sticky
    std::uint32_t uid = 0, gid = 0;
    FileTime mtime, atime;
    std::uint32_t first_attribute = 0, attribute_count = 0;
};

struct EnterDirectory {
    DirectoryIndex parent = 0, directory = 0;
    TextRef name;
    FileTime mtime;
    // On the way to what was asked for: made when it is missing, never altered when it is there.
    bool passage = false;
    // Equal for directories that will hold the same; 0: not all of it is restored.
    std::uint64_t content = 0;
};

struct LeaveDirectory {
    DirectoryIndex directory = 0;
    PlanMetadata metadata;
    bool passage = false;
};

struct PlanObject {
    NodeType type = NodeType::file;
    DirectoryIndex parent = 0;
    TextRef name;
    TextRef link_target;
    PlanMetadata metadata;
    std::uint64_t size = 0;
    std::uint64_t device = 0;
    std::uint32_t first_blob = 0, blob_count = 0;
    LinkGroup link_group = kNoLinkGroup;
    bool leads_group = false;  // the first name of its group: made as a file of its own
    bool ends_group = false;   // the last one
};

struct BatchLimits {
    std::size_t objects = 16'384;
    std::size_t blobs = 131'072;
    std::size_t text_bytes = std::size_t{8} << 20;
    std::uint64_t content_bytes = std::uint64_t{512} << 20;
};

class RestoreBatch {
  public:
    std::vector<EnterDirectory> enters;  // parents before children
    std::vector<PlanObject> objects;
    std::vector<LeaveDirectory> leaves;  // children before parents
    std::vector<PlanAttribute> attributes;
    std::vector<BlobId> blobs;
    std::uint64_t content_bytes = 0;
    bool leaves_privileges = false;  // see RestoreRequest

    std::string_view text(TextRef ref) const {
        return std::string_view(text_).substr(ref.begin, ref.length);
    }
    TextRef add_text(std::string_view text);
    PlanMetadata add_metadata(const Node& node);
    PlanObject& add_object(DirectoryIndex parent, const Node& node);
    bool is_full(const BatchLimits& limits) const;
    bool is_empty() const { return enters.empty() && objects.empty() && leaves.empty(); }

  private:
    std::string text_;
};

// One blob at one place of one file.
struct Piece {
    std::uint64_t file_offset = 0;
    std::uint32_t object = 0;  // in RestoreBatch::objects
    std::uint32_t blob = 0;    // in RestoreBatch::blobs
    std::uint32_t pack = 0;    // in ContentPlan::packs
    std::uint32_t offset = 0, length = 0, uncompressed_length = 0;
};

// Pieces that are read together: neighbours in one pack. The unit of work of a thread.
struct PackRun {
    std::uint32_t pack = 0;
    std::uint32_t first = 0, count = 0;  // in ContentPlan::pieces
    std::uint32_t blobs = 0;             // different ones among them
};

struct ContentPlan {
    std::vector<PackId> packs;
    std::vector<Piece> pieces;  // by pack, then offset: the places of one blob stand side by side
    std::vector<PackRun> runs;
    std::vector<std::uint32_t>
        blob_lengths;                  // plaintext, beside RestoreBatch::blobs; 0 where not wanted
    std::uint64_t bytes_to_fetch = 0;  // sealed, each blob once
    // Objects whose content cannot be had: a blob is not in the index, or the lengths do not add
    // up.
    struct Refused {
        std::uint32_t object = 0;
        std::optional<BlobId> missing;  // nothing: the stored size does not match the blobs
    };
    std::vector<Refused> refused;
};

using LocateBlob = std::function<std::optional<BlobLocation>(const BlobHandle&)>;

// `wanted` says for which objects content is read. Sealed bytes of one run stay near `run_bytes`.
// `has`: places that hold the blob already (index of the object, of the blob); none: no place does.
ContentPlan plan_content(
    const RestoreBatch& batch, const std::vector<bool>& wanted, const LocateBlob& locate,
    std::uint64_t run_bytes = std::uint64_t{4} << 20,
    const std::function<bool(std::uint32_t object, std::uint32_t blob)>& has = {});

// Equal for files of the same name and content.
std::uint64_t content_mark(const RestoreBatch& batch, const PlanObject& object);
std::uint64_t content_mark(std::string_view name, const BlobId& tree);

// A name for one directory entry: not empty, "." or "..", no '/' and no NUL, at most 255 bytes.
// nullptr when it is one, else what is wrong with it.
const char* problem_with_name(std::string_view name);

}  // namespace backup
