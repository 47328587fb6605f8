#include "daemon/ipc/past_sight.h"

#include <algorithm>
#include <vector>

#include "daemon/jobs/tasks.h"
#include "daemon/repository/identity.h"

namespace backup {

namespace {
constexpr std::size_t kMostKnown = 20'000;
}

bool is_of_this_machine(const Snapshot& snapshot, const BackupSet& set) {
    if (const auto says = is_made_here(snapshot.tags)) return *says;
    // One that was found in a repository has the name that it had where it was made.
    return snapshot.hostname == host_of(set.is_found ? BackupSet{} : set);
}

Result<bool> begins_at_root(Repository& repository, const Snapshot& snapshot) {
    if (snapshot.program_version.starts_with("backupd ")) return true;
    std::vector<Path> paths;
    for (const std::string& text : snapshot.paths) {
        auto path = Path::parse(text);
        if (!path.ok()) return false;
        paths.push_back(std::move(*path));
    }
    const auto is_path = [&](const Path& at) {
        return std::ranges::find(paths, at) != paths.end();
    };
    if (is_path(Path())) return true;
    TRY(repository.refresh_index({}));
    // Above its paths there is nothing but what leads to them.
    std::vector<std::pair<Path, BlobId>> left{{Path(), snapshot.tree}};
    while (!left.empty()) {
        const auto [above, tree] = std::move(left.back());
        left.pop_back();
        const Bytes json = TRY(repository.blobs().load({BlobType::tree, tree}));
        for (const Node& node : TRY(decode_tree(json))) {
            const auto at =
                Path::parse(above.is_root() ? "/" + node.name : above.text() + "/" + node.name);
            if (!at.ok()) return false;
            if (is_path(*at)) continue;
            const bool leads =
                std::ranges::any_of(paths, [&](const Path& path) { return path.is_inside(*at); });
            if (!leads || node.type != NodeType::dir || !node.subtree) return false;
            left.emplace_back(*at, *node.subtree);
        }
    }
    return true;
}

Result<> PastSight::open() {
    if (repository_) return {};
    repository_ = TRY(pool_.open(set_.repository));
    return repository_->repository->refresh_index({});
}

Result<PastSight::Directory> PastSight::look_below(const Directory& parent, std::string_view name) {
    Directory found;
    if (parent.gone) {
        found.gone = true;
        return found;
    }
    if (!parent.passable || !parent.tree) return found;
    auto node = find_node(*repository_->repository, *parent.tree, "/" + std::string(name));
    if (!node.ok()) {
        if (node.error().code() != ErrorCode::no_such_path) return std::move(node).error();
        found.gone = true;
        return found;
    }
    // What was something else then is no directory on the way.
    if (node->node.type != NodeType::dir) {
        found.gone = true;
        return found;
    }
    found.passable = rule_.may_pass(node->node);
    found.listable = rule_.may_list(node->node);
    found.tree = node->node.subtree;
    return found;
}

Result<PastSight::Directory> PastSight::look(const RevisionId& revision, const Path& path) {
    if (auto known = known_.find({revision, path.text()}); known != known_.end())
        return known->second;
    Directory found;
    if (path.is_root()) {
        const Snapshot snapshot = TRY(repository_->repository->load_revision(revision));
        found.passable = found.listable = is_of_this_machine(snapshot, set_) &&
                                          TRY(begins_at_root(*repository_->repository, snapshot));
        found.tree = snapshot.tree;
    } else {
        const Directory parent = TRY(look(revision, path.parent()));
        found = TRY(look_below(parent, path.name()));
    }
    if (known_.size() >= kMostKnown) known_.clear();
    known_[{revision, path.text()}] = found;
    return found;
}

Result<PastSight::Sight> PastSight::by_name(const RevisionId& revision, const Path& path) {
    if (path.is_root()) return Sight::open;
    TRY(open());
    const Directory parent = TRY(look(revision, path.parent()));
    return parent.passable || parent.gone ? Sight::open : Sight::closed;
}

Result<const std::vector<RevisionPoint>*> PastSight::points_of(const LineName& line) {
    auto [known, is_new] = points_.try_emplace(line.key());
    if (!is_new) return &known->second;
    TRY(open());
    for (const Revision& one : all_revisions(TRY(repository_->repository->list_revisions()))) {
        const Snapshot& snapshot = one.snapshot();
        if (is_pre_restore(one) || one.is_trashed() || one.tags.set != line.set ||
            snapshot.hostname != line.host)
            continue;
        known->second.push_back({one.id(), one.tags.number, snapshot.time});
    }
    return &known->second;
}

Result<std::optional<RevisionPoint>> PastSight::newest_seen(const LineName& line,
                                                            const RevisionPoint& first,
                                                            const RevisionPoint& last,
                                                            const Sees& sees) {
    if (TRY(sees(last.id))) return std::optional(last);
    if (line.set.empty()) return std::optional<RevisionPoint>();
    const std::vector<RevisionPoint>* points = TRY(points_of(line));
    for (const RevisionPoint& point : *points)
        if (point.number >= first.number && point.number < last.number && TRY(sees(point.id)))
            return std::optional(point);
    return std::optional<RevisionPoint>();
}

Result<bool> PastSight::by_listing(const RevisionId& revision, const Path& path, const Path& from) {
    TRY(open());
    for (Path at = path; !at.is_root();) {
        at = at.parent();
        const Directory directory = TRY(look(revision, at));
        if (!directory.passable) return false;
        if (at.is_inside(from) && !directory.listable) return false;
    }
    return true;
}

}  // namespace backup
