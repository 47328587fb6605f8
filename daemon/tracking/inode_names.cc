#include "daemon/tracking/inode_names.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>

#include "daemon/repository/tree_scanner.h"

namespace backup {

namespace {

// Two are enough: beyond that they wait for each other's reads.
constexpr unsigned kThreads = 2;
// Directories that a thread keeps to itself before it lets others have some.
constexpr std::size_t kMostOwn = 64;

struct Tree {
    std::string path;  // "" of the root
    BlobId id;
};
using Names = std::vector<std::pair<std::uint64_t, std::string>>;

class Search {
  public:
    // `all_linked`: also every file with more than one name.
    Search(BlobSource& source, const BlobId& root, const std::vector<std::uint64_t>& inodes,
           bool all_linked, std::stop_token stop)
        : source_(source),
          inodes_(inodes.begin(), inodes.end()),
          all_linked_(all_linked),
          stop_(std::move(stop)) {
        left_.push_back({"", root});
    }

    Result<Names> run() {
        {
            std::vector<std::jthread> helpers;
            for (unsigned i = 1; i < kThreads; ++i) helpers.emplace_back([this] { work(); });
            work();
        }
        if (error_) return std::move(*error_);
        return std::move(found_);
    }

  private:
    void work() {
        Names found;
        std::vector<Tree> own;
        while (take(own)) {
            while (!own.empty()) {
                Tree tree = std::move(own.back());
                own.pop_back();
                Result<> done = search(tree, own, found);
                if (!done.ok()) return fail(std::move(done).error());
                if (stop_.stop_requested())
                    return fail(Error(ErrorKind::cancelled, "stopped looking for names"));
                if (own.size() > kMostOwn) share(own);
            }
        }
        std::lock_guard lock(mutex_);
        found_.insert(found_.end(), found.begin(), found.end());
    }

    // False: there is nothing more, or it has failed.
    bool take(std::vector<Tree>& own) {
        std::unique_lock lock(mutex_);
        ++idle_;
        changed_.wait(lock, [&] { return !left_.empty() || idle_ == kThreads || error_; });
        if (left_.empty() || error_) {
            changed_.notify_all();
            return false;
        }
        --idle_;
        std::size_t count = (left_.size() + 1) / 2;
        for (; count > 0; --count) {
            own.push_back(std::move(left_.back()));
            left_.pop_back();
        }
        return true;
    }

    void share(std::vector<Tree>& own) {
        std::lock_guard lock(mutex_);
        if (idle_ == 0 && left_.size() >= kMostOwn) return;
        // Those at the front are nearer to the root, and so stand for more.
        std::size_t count = own.size() / 2;
        for (std::size_t i = 0; i < count; ++i) left_.push_back(std::move(own[i]));
        own.erase(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(count));
        changed_.notify_all();
    }

    void fail(Error error) {
        std::lock_guard lock(mutex_);
        if (!error_) error_ = std::move(error);
        changed_.notify_all();
    }

    Result<> search(const Tree& tree, std::vector<Tree>& own, Names& found) {
        Bytes json = TRY(source_.load({BlobType::tree, tree.id}));
        TreeScanner scanner(json);
        for (;;) {
            const RawNode* node = TRY(scanner.next());
            if (node == nullptr) return {};
            if (node->type == NodeType::dir)
                own.push_back({tree.path + "/" + std::string(node->name), node->subtree()});
            else if ((all_linked_ && node->type == NodeType::file && node->links > 1) ||
                     inodes_.count(node->inode) != 0)
                found.emplace_back(node->inode, tree.path + "/" + std::string(node->name));
        }
    }

    BlobSource& source_;
    const std::unordered_set<std::uint64_t> inodes_;
    const bool all_linked_;
    const std::stop_token stop_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<Tree> left_;
    unsigned idle_ = 0;
    Names found_;
    std::optional<Error> error_;
};

}  // namespace

Result<Names> names_of_inodes(BlobSource& source, const BlobId& root,
                              const std::vector<std::uint64_t>& inodes, std::stop_token stop) {
    return Search(source, root, inodes, false, std::move(stop)).run();
}

Result<Names> names_of_linked_files(BlobSource& source, const BlobId& root, std::stop_token stop) {
    return Search(source, root, {}, true, std::move(stop)).run();
}

}  // namespace backup
