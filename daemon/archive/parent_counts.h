// What a run knows of the files that the parent revision had: how many of them were accounted for,
// as kept, changed, removed or left out. The rest of the parent's files was not looked at and is in
// the new revision as it was. Directories that are gone or moved are noted while the walk runs and
// counted by their trees when it has ended: only then it is known which of those gone are in
// another place now. One object per worker, then merged; not thread-safe.
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "common/id.h"
#include "daemon/archive/change_signs.h"
#include "daemon/repository/blob_source.h"
#include "daemon/repository/tree_scanner.h"

namespace backup {

class ParentCounts {
  public:
    // A file of the parent revision that is as it was, changed, or left out.
    void note_file(std::uint64_t size) {
        ++files_;
        bytes_ += size;
    }
    // Whatever the node is: it is not in the new revision. `removed`: because it is not in the
    // source any more.
    void note_gone(const RawNode& node, bool removed);
    // `is_emptied`: only its entries are gone.
    void note_gone_tree(std::uint64_t inode, const BlobId& tree, bool removed,
                        bool is_emptied = false);
    // The tree of the parent is in another place of the new revision.
    void note_moved(std::uint64_t inode, const BlobId& tree);

    void merge(const ParentCounts& other);

    struct Sum {
        std::uint64_t files = 0, bytes = 0;  // of the parent, accounted for
        std::uint64_t files_removed = 0;
        std::uint64_t directories_gone = 0;
        std::vector<FileMark> removed_marks;  // of them, kMostFileMarks at most
    };
    // Reads the trees that are gone. What cannot be read is not counted, which harms nothing but
    // the counts. `only_removed`: those left out for other reasons do not matter.
    Sum sum(BlobSource& source, bool only_removed, const std::stop_token& stop) const;

    // Changes whenever something is noted.
    std::uint64_t noted() const { return files_ + gone_.size(); }

  private:
    struct Tree {
        std::uint64_t inode = 0;
        BlobId id;
        auto operator<=>(const Tree&) const = default;
    };
    struct Gone {
        Tree tree;
        bool removed;
        bool is_emptied = false;
    };
    std::uint64_t files_ = 0, bytes_ = 0, removed_ = 0;
    std::vector<FileMark> removed_marks_;
    std::vector<Gone> gone_;
    std::vector<Tree> moved_;
};

}  // namespace backup
