#include "daemon/archive/tree_difference.h"

#include <utility>
#include <vector>

#include "daemon/archive/directory.h"
#include "daemon/repository/tree_scanner.h"

namespace backup {

namespace {

using Kind = TreeDifference::Kind;

struct Pair {
    std::string path;
    BlobId before, after;
};

bool same_stamps(const RawNode& a, const RawNode& b) {
    return a.inode == b.inode && a.size == b.size && a.mtime() == b.mtime() &&
           a.ctime() == b.ctime();
}

class Comparison {
  public:
    Comparison(BlobSource& source, const std::function<Result<>(const TreeDifference&)>& each,
               const std::stop_token& stop)
        : source_(source), each_(each), stop_(stop) {}

    Result<TreeComparison> run(const BlobId& before, const BlobId& after) {
        if (before != after) left_.push_back({"/", before, after});
        while (!left_.empty()) {
            if (stop_.stop_requested())
                return Error(ErrorKind::cancelled, ErrorCode::cancelled,
                             "the comparison was cancelled");
            const Pair pair = std::move(left_.back());
            left_.pop_back();
            TRY(compare(pair));
        }
        return result_;
    }

  private:
    Result<> compare(const Pair& pair) {
        ++result_.directories;
        const Bytes old_json = TRY(source_.load({BlobType::tree, pair.before}));
        const Bytes new_json = TRY(source_.load({BlobType::tree, pair.after}));
        TreeScanner old_nodes(old_json), new_nodes(new_json);
        const RawNode* before = TRY(old_nodes.next());
        const RawNode* after = TRY(new_nodes.next());
        while (before != nullptr || after != nullptr) {
            if (after == nullptr || (before != nullptr && before->name < after->name)) {
                TRY(tell(Kind::gone, pair, *before));
                before = TRY(old_nodes.next());
            } else if (before == nullptr || after->name < before->name) {
                TRY(tell(Kind::created, pair, *after));
                after = TRY(new_nodes.next());
            } else {
                if (before->bytes != after->bytes) TRY(compare(pair, *before, *after));
                before = TRY(old_nodes.next());
                after = TRY(new_nodes.next());
            }
        }
        return {};
    }

    Result<> compare(const Pair& pair, const RawNode& before, const RawNode& after) {
        if (before.type != after.type) return tell(Kind::changed, pair, after);
        if (before.type == NodeType::dir) {
            if (before.subtree() != after.subtree()) {
                std::string path = pair.path;
                append_path(path, after.name);
                left_.push_back({std::move(path), before.subtree(), after.subtree()});
            }
            return same_stamps(before, after) ? Result<>() : tell(Kind::changed, pair, after);
        }
        if (!same_stamps(before, after)) return tell(Kind::changed, pair, after);
        // Owners' names, device numbers: nothing that happened to the file.
        if (before.content_json == after.content_json) return {};
        return tell(Kind::content, pair, after);
    }

    Result<> tell(Kind kind, const Pair& pair, const RawNode& node) {
        ++result_.differences;
        TreeDifference difference;
        difference.kind = kind;
        difference.path = pair.path;
        append_path(difference.path, node.name);
        difference.is_directory = node.type == NodeType::dir;
        if (kind != Kind::gone) {
            difference.inode = node.inode;
            difference.size = node.size;
            difference.mtime = node.mtime();
            difference.ctime = node.ctime();
        }
        return each_(difference);
    }

    BlobSource& source_;
    const std::function<Result<>(const TreeDifference&)>& each_;
    const std::stop_token& stop_;
    std::vector<Pair> left_;
    TreeComparison result_;
};

}  // namespace

Result<TreeComparison> compare_trees(BlobSource& source, const BlobId& before, const BlobId& after,
                                     const std::function<Result<>(const TreeDifference&)>& each,
                                     const std::stop_token& stop) {
    return Comparison(source, each, stop).run(before, after);
}

}  // namespace backup
