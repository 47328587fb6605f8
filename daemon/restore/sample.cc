#include "daemon/restore/sample.h"

#include <algorithm>

#include "common/path.h"

namespace backup {

namespace {

// Directories that are known and not yet looked at; more are forgotten, at random.
constexpr std::size_t kMostWaiting = 65'536;

bool can_be_tried(const Node& node) {
    return node.type == NodeType::file || node.type == NodeType::symlink ||
           node.type == NodeType::fifo;
}

bool is_damage(const Error& error) {
    return error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
}

class Drawing {
  public:
    Drawing(Repository& repository, const SampleLimits& limits, std::mt19937_64& random)
        : repository_(repository), limits_(limits), random_(random) {}

    void start(const FoundNode& node) {
        if (node.node.type != NodeType::dir)
            fixed_.push_back(node);
        else if (node.node.subtree)
            waiting_.push_back({node.path, *node.node.subtree});
    }

    Result<> walk(const std::stop_token& stop) {
        for (std::size_t looked = 0; !waiting_.empty() && looked < limits_.directories; ++looked) {
            if (stop.stop_requested())
                return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
            std::swap(waiting_[below(waiting_.size())], waiting_.back());
            const Waiting next = std::move(waiting_.back());
            waiting_.pop_back();
            TRY(look_into(next));
        }
        return {};
    }

    Sample take() {
        sample_.chosen = std::move(fixed_);
        for (const FoundNode& one : sample_.chosen) sample_.bytes += one.node.size;
        std::ranges::shuffle(drawn_, random_);
        for (FoundNode& one : drawn_) {
            if (sample_.bytes + one.node.size > limits_.bytes) continue;
            sample_.bytes += one.node.size;
            sample_.chosen.push_back(std::move(one));
        }
        std::ranges::sort(sample_.chosen, {}, &FoundNode::path);
        const auto twins = std::ranges::unique(sample_.chosen, {}, &FoundNode::path);
        sample_.chosen.erase(twins.begin(), twins.end());
        return std::move(sample_);
    }

  private:
    struct Waiting {
        std::string path;
        BlobId tree;
    };

    std::size_t below(std::size_t count) {
        return std::uniform_int_distribution<std::size_t>(0, count - 1)(random_);
    }

    Result<> look_into(const Waiting& directory) {
        const auto damaged = [&](const Error& error) {
            sample_.damaged.push_back(
                {directory.path,
                 Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                       "read directory " + printable(directory.path) + ": " + error.message())});
        };
        Result<Bytes> json = repository_.blobs().load({BlobType::tree, directory.tree});
        if (!json.ok()) {
            if (!is_damage(json.error())) return std::move(json).error();
            damaged(json.error());
            return {};
        }
        const auto each = [&](Node& node) -> Result<> {
            take_up(directory.path, node);
            return {};
        };
        if (Result<> done = visit_tree(*json, each, damaged); !done.ok()) damaged(done.error());
        return {};
    }

    // Each that can be tried is kept with the same chance, however many there are in the end.
    void take_up(const std::string& parent, Node& node) {
        std::string path = parent;
        if (path.back() != '/') path += '/';
        path += node.name;
        if (node.type == NodeType::dir && node.subtree) {
            if (waiting_.size() < kMostWaiting)
                waiting_.push_back({std::move(path), *node.subtree});
            else
                waiting_[below(waiting_.size())] = {std::move(path), *node.subtree};
            return;
        }
        if (!can_be_tried(node)) return;
        if (node.size > limits_.bytes) {
            ++sample_.passed_over;
            return;
        }
        ++seen_;
        if (drawn_.size() < limits_.files)
            drawn_.push_back({std::move(path), std::move(node)});
        else if (const std::size_t at = below(seen_); at < drawn_.size())
            drawn_[at] = {std::move(path), std::move(node)};
    }

    Repository& repository_;
    const SampleLimits& limits_;
    std::mt19937_64& random_;
    Sample sample_;
    std::vector<FoundNode> fixed_, drawn_;
    std::vector<Waiting> waiting_;
    std::size_t seen_ = 0;
};

}  // namespace

Result<Sample> draw_sample(Repository& repository, const std::vector<FoundNode>& starts,
                           const SampleLimits& limits, std::mt19937_64& random,
                           std::stop_token stop) {
    Drawing drawing(repository, limits, random);
    for (const FoundNode& start : starts) drawing.start(start);
    TRY(drawing.walk(stop));
    return drawing.take();
}

}  // namespace backup
