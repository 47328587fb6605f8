#include "daemon/collection/reachable.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>

#include "common/log.h"
#include "daemon/repository/tree_scanner.h"

namespace backup {

namespace {

class Walk {
  public:
    Walk(Repository& repository, Inventory& inventory, const ReachableOptions& options,
         Progress& progress, std::stop_token stop)
        : repository_(repository),
          inventory_(inventory),
          options_(options),
          progress_(progress),
          stop_(std::move(stop)) {}

    Result<> run(const std::vector<RevisionEntry>& revisions) {
        std::vector<BlobId> found;
        for (const RevisionEntry& entry : revisions) {
            Result<> taken = take_tree(entry.snapshot.tree, found);
            if (!taken.ok())
                return std::move(taken).error().during("revision " + entry.id.short_hex());
        }
        return walk_all(std::move(found));
    }

    Result<> run(const std::vector<KeptData>& kept) {
        is_lenient_ = true;
        std::vector<BlobId> found;
        for (const KeptData& one : kept) {
            if (one.tree) TRY(take_tree(*one.tree, found));
            for (const BlobId& id : one.data) TRY(take_data(id));
        }
        return walk_all(std::move(found));
    }

  private:
    Result<> walk_all(std::vector<BlobId> found) {
        stack_ = std::move(found);
        const unsigned threads = options_.threads != 0
                                     ? options_.threads
                                     : std::clamp(std::thread::hardware_concurrency(), 1U, 8U);
        {
            std::vector<std::jthread> workers;
            for (unsigned i = 1; i < threads; ++i) workers.emplace_back([this] { work(); });
            work();
        }
        if (error_) return *std::move(error_);
        if (stop_.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
        return {};
    }

    static Error missing(const BlobHandle& handle) {
        return Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                     std::string(to_string(handle.type)) + " blob " + handle.id.hex() +
                         " is needed and in no pack: nothing is removed from a damaged repository "
                         "(`backupctl verify` lists what is lost)");
    }

    static bool is_loss(const Error& error) {
        return error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
    }

    // The tree must be walked, unless it was.
    Result<> take_tree(const BlobId& id, std::vector<BlobId>& found) {
        const BlobHandle handle{BlobType::tree, id};
        const std::uint32_t copy = inventory_.find(handle);
        if (copy != Inventory::kNone) {
            if (inventory_.mark_used(copy)) found.push_back(id);
            return {};
        }
        if (is_lenient_) return {};
        if (!options_.may_be_newer || !repository_.blobs().contains(handle)) return missing(handle);
        std::lock_guard lock(mutex_);
        if (newer_.insert(id).second) found.push_back(id);
        return {};
    }
    Result<> take_data(const BlobId& id) {
        const BlobHandle handle{BlobType::data, id};
        const std::uint32_t copy = inventory_.find(handle);
        if (copy != Inventory::kNone) {
            inventory_.mark_used(copy);
            return {};
        }
        if (is_lenient_) return {};
        if (!options_.may_be_newer || !repository_.blobs().contains(handle)) return missing(handle);
        return {};
    }

    Result<> walk(const BlobId& id, std::vector<BlobId>& found) {
        const Bytes json = TRY(repository_.blobs().load({BlobType::tree, id}));
        progress_.items_done += 1;
        TreeScanner scanner(json);
        for (;;) {
            const RawNode* node = TRY(scanner.next());
            if (node == nullptr) return {};
            for (std::size_t i = 0; i < node->content_count(); ++i)
                TRY(take_data(node->content_id(i)));
            if (!node->subtree_hex.empty()) TRY(take_tree(node->subtree(), found));
        }
    }

    void work() {
        std::vector<BlobId> found;
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, stop_, [&] { return !stack_.empty() || busy_ == 0 || error_; });
            if (stack_.empty() || stop_.stop_requested() || error_) break;
            const BlobId id = stack_.back();
            stack_.pop_back();
            ++busy_;
            lock.unlock();
            found.clear();
            Result<> walked = walk(id, found);
            lock.lock();
            --busy_;
            if (!walked.ok() && is_lenient_ && is_loss(walked.error())) {
                log_warning("a directory of an interrupted backup is lost: " +
                            walked.error().message());
            } else if (!walked.ok() && !error_) {
                Error error = std::move(walked).error().during("tree " + id.short_hex());
                if (is_loss(error))
                    error = std::move(error).with_code(ErrorCode::repository_damaged);
                error_ = std::move(error);
            }
            stack_.insert(stack_.end(), found.begin(), found.end());
            if (!stack_.empty() || busy_ == 0 || error_) changed_.notify_all();
        }
        lock.unlock();
        changed_.notify_all();
    }

    Repository& repository_;
    Inventory& inventory_;
    const ReachableOptions options_;
    Progress& progress_;
    const std::stop_token stop_;
    bool is_lenient_ = false;

    std::mutex mutex_;  // guards what follows
    std::condition_variable_any changed_;
    std::vector<BlobId> stack_;
    std::unordered_set<BlobId> newer_;
    std::optional<Error> error_;
    unsigned busy_ = 0;
};

}  // namespace

Result<> mark_reachable(Repository& repository, const std::vector<RevisionEntry>& revisions,
                        Inventory& inventory, const ReachableOptions& options, Progress& progress,
                        std::stop_token stop) {
    return Walk(repository, inventory, options, progress, std::move(stop)).run(revisions);
}

Result<> mark_kept(Repository& repository, const std::vector<KeptData>& kept, Inventory& inventory,
                   Progress& progress, std::stop_token stop) {
    if (kept.empty()) return {};
    for (const KeptData& one : kept) inventory.keep(one.packs);
    return Walk(repository, inventory, {}, progress, std::move(stop)).run(kept);
}

}  // namespace backup
