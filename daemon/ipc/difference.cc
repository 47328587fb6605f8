#include "daemon/ipc/difference.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <system_error>

#include <fcntl.h>

#include "common/unique_fd.h"
#include "daemon/archive/listing.h"
#include "daemon/ipc/live_facts.h"
#include "daemon/policy/exclusion.h"
#include "daemon/policy/matcher.h"
#include "daemon/restore/restore.h"

namespace backup {

namespace {

Error no_such_path(const Path& path) {
    return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                 "neither of the two has " + printable(path.text()));
}

std::string child_of(const std::string& path, std::string_view name) {
    std::string child = path;
    if (child.size() > 1) child += '/';
    child += name;
    return child;
}

Result<std::optional<Node>> find_or_nothing(Repository& repository, const BlobId& tree,
                                            const Path& path, const AccessRule& rule = {}) {
    auto found = find_node(repository, tree, path.text(), rule);
    if (found.ok()) return std::optional(std::move(found->node));
    if (found.error().code() == ErrorCode::no_such_path) return std::optional<Node>();
    return std::move(found).error();
}

Result<std::vector<Node>> entries_of(Repository& repository, const Node& directory) {
    if (!directory.subtree) return std::vector<Node>();
    const Bytes json = TRY(repository.blobs().load({BlobType::tree, *directory.subtree}));
    return decode_tree(json);
}

std::string_view change_between(const Node& before, const Node& after, const AccessRule& rule) {
    if (before.type != after.type) return "kind";
    const bool reads = rule.may_read(before) && rule.may_read(after);
    if (before.type == NodeType::file &&
        (before.size != after.size || (reads && before.content != after.content)))
        return "content";
    if (before.link_target != after.link_target || before.device != after.device) return "content";
    // The times of a directory change with its entries, which are told one by one.
    const bool same_time = before.type == NodeType::dir || before.mtime == after.mtime;
    if (!same_time || before.mode != after.mode || before.uid != after.uid ||
        before.gid != after.gid ||
        (reads && before.extended_attributes != after.extended_attributes))
        return "metadata";
    return {};
}

// ---- Two revisions

class TreeComparison {
  public:
    TreeComparison(Repository& repository, const EachDifference& each, std::stop_token stop,
                   const AccessRule& rule)
        : repository_(repository), each_(each), stop_(std::move(stop)), rule_(rule) {}

    Result<> compare(const std::string& path, const Node* before, const Node* after) {
        if (stop_.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
        const bool was = before != nullptr && before->type == NodeType::dir;
        const bool is = after != nullptr && after->type == NodeType::dir;
        if (path != "/") {
            if (before == nullptr || after == nullptr) {
                TRY(each_({path, before == nullptr ? "added" : "removed", before, after}));
            } else if (auto change = change_between(*before, *after, rule_); !change.empty()) {
                TRY(each_({path, change, before, after}));
            }
        }
        if (!was && !is) return {};
        if ((was && !rule_.may_list(*before)) || (is && !rule_.may_list(*after)))
            return each_({path, "problem", nullptr, nullptr, "not yours to list"});
        if (was && is && before->subtree == after->subtree) return {};
        auto old_entries = was ? entries_of(repository_, *before) : std::vector<Node>();
        auto new_entries = is ? entries_of(repository_, *after) : std::vector<Node>();
        for (auto* entries : {&old_entries, &new_entries}) {
            if (entries->ok()) continue;
            if (entries->error().kind() != ErrorKind::corrupt &&
                entries->error().kind() != ErrorKind::not_found)
                return std::move(entries->error());
            return each_({path, "problem", nullptr, nullptr, entries->error().message()});
        }
        return merge(path, *old_entries, *new_entries);
    }

  private:
    Result<> merge(const std::string& path, const std::vector<Node>& before,
                   const std::vector<Node>& after) {
        auto old = before.begin();
        auto now = after.begin();
        while (old != before.end() || now != after.end()) {
            const Node *old_node = nullptr, *new_node = nullptr;
            if (now == after.end() || (old != before.end() && old->name <= now->name))
                old_node = &*old;
            if (old == before.end() || (now != after.end() && now->name <= old->name))
                new_node = &*now;
            if (old_node != nullptr) ++old;
            if (new_node != nullptr) ++now;
            const std::string& name = old_node != nullptr ? old_node->name : new_node->name;
            TRY(compare(child_of(path, name), old_node, new_node));
        }
        return {};
    }

    Repository& repository_;
    const EachDifference& each_;
    const std::stop_token stop_;
    const AccessRule& rule_;
};

// ---- A revision and the disk

NodeType type_of(std::uint32_t mode) {
    if (S_ISREG(mode)) return NodeType::file;
    if (S_ISDIR(mode)) return NodeType::dir;
    if (S_ISLNK(mode)) return NodeType::symlink;
    if (S_ISFIFO(mode)) return NodeType::fifo;
    if (S_ISSOCK(mode)) return NodeType::socket;
    return S_ISCHR(mode) ? NodeType::chardev : NodeType::dev;
}

Node node_of(std::string_view name, const struct statx& status) {
    Node node;
    node.name = name;
    node.type = type_of(status.stx_mode);
    node.mode = go_mode(status.stx_mode);
    node.mtime = {status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec};
    node.uid = status.stx_uid;
    node.gid = status.stx_gid;
    node.size = node.type == NodeType::file ? status.stx_size : 0;
    return node;
}

std::string_view change_on_disk(const Node& before, const Node& live) {
    if (before.type != live.type) return "kind";
    if (live.type != NodeType::dir && (before.mtime != live.mtime || before.size != live.size))
        return "content";
    if ((before.unix_mode() & 07777) != (live.unix_mode() & 07777) || before.uid != live.uid ||
        before.gid != live.gid)
        return "metadata";
    return {};
}

class DiskComparison {
  public:
    DiskComparison(Repository& repository, const BackupSet& set, Matcher matcher,
                   const std::vector<Path>& own, Fs& fs, const EachDifference& each,
                   std::stop_token stop)
        : repository_(repository),
          set_(set),
          matcher_(std::move(matcher)),
          own_(own),
          fs_(fs),
          each_(each),
          stop_(std::move(stop)) {}

    // `at`: a descriptor of the directory that has it, and the name there.
    Result<> compare(const std::string& path, int at, const char* name, const Node* before) {
        if (stop_.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
        struct statx status {};
        const int error = -fs_.status(at, name, AT_SYMLINK_NOFOLLOW, status);
        if (error > 0 && error != ENOENT && error != ENOTDIR) return problem(path, error);
        std::optional<Node> live;
        if (error <= 0) live = node_of(name, status);
        if (live && before == nullptr && is_left_out(path, status)) return {};
        if (!live && before == nullptr) return {};
        if (!live || before == nullptr) {
            TRY(each_({path, live ? "added" : "removed", before, live ? &*live : nullptr}));
        } else if (auto change = change_on_disk(*before, *live); !change.empty()) {
            TRY(each_({path, change, before, &*live}));
        }
        const bool was = before != nullptr && before->type == NodeType::dir;
        const bool is = live && live->type == NodeType::dir;
        if (!was && !is) return {};
        if (!is) return removed_below(path, *before);
        return compare_entries(path, at, name, was ? before : nullptr);
    }

  private:
    Result<> problem(const std::string& path, int error) {
        return each_({path, "problem", nullptr, nullptr, std::generic_category().message(error)});
    }

    // What is new: whether the set would take it in. What the revision has was taken in.
    bool is_left_out(const std::string& path, const struct statx& status) {
        const Path parsed = Path::parse(path).value_or(Path());
        if (matcher_.excludes(path, parsed.name(), S_ISDIR(status.stx_mode))) return true;
        if (!S_ISDIR(status.stx_mode)) {
            const auto& rules = set_.exclude;
            if (rules.nodump && (status.stx_attributes & STATX_ATTR_NODUMP) != 0) return true;
            return rules.larger_than != 0 && S_ISREG(status.stx_mode) &&
                   status.stx_size > rules.larger_than;
        }
        auto place = find_in_set(set_, parsed, own_, [&](const std::string& name) {
            return live_facts(fs_, name, set_.exclude.cachedir_tag);
        });
        return !place.ok() || !place->root || place->excluded;
    }

    Result<> removed_below(const std::string& path, const Node& before) {
        // The directory itself was told.
        Node nothing;
        nothing.type = NodeType::dir;
        auto entries = entries_of(repository_, before);
        if (!entries.ok()) return stored_problem(path, std::move(entries).error());
        const AccessRule all;
        TreeComparison comparison(repository_, each_, stop_, all);
        for (const Node& node : *entries)
            TRY(comparison.compare(child_of(path, node.name), &node, nullptr));
        return {};
    }

    Result<> stored_problem(const std::string& path, Error error) {
        if (error.kind() != ErrorKind::corrupt && error.kind() != ErrorKind::not_found)
            return error;
        return each_({path, "problem", nullptr, nullptr, error.message()});
    }

    Result<> compare_entries(const std::string& path, int at, const char* name,
                             const Node* before) {
        const int opened = fs_.open(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
        if (opened < 0) return problem(path, -opened);
        UniqueFd directory(opened);
        std::vector<std::string> names;
        {
            Listing listing;
            if (const int error = -listing.read(fs_, directory.get()); error > 0)
                return problem(path, error);
            for (const ListedName& one : listing.names()) names.emplace_back(one.name());
        }
        // Of a cache a run takes the tag alone.
        if (set_.exclude.cachedir_tag && live_facts(fs_, path, true).cache_tag)
            std::erase_if(names, [](const std::string& one) { return one != "CACHEDIR.TAG"; });
        std::vector<Node> nodes;
        if (before != nullptr) {
            auto entries = entries_of(repository_, *before);
            if (!entries.ok()) return stored_problem(path, std::move(entries).error());
            nodes = std::move(*entries);
        }
        auto live = names.begin();
        auto node = nodes.begin();
        while (live != names.end() || node != nodes.end()) {
            const bool take_node =
                node != nodes.end() && (live == names.end() || node->name <= *live);
            const bool take_live =
                live != names.end() && (node == nodes.end() || *live <= node->name);
            const Node* stored = take_node ? &*node++ : nullptr;
            const std::string entry = take_live ? *live++ : stored->name;
            TRY(compare(child_of(path, entry), directory.get(), entry.c_str(), stored));
        }
        return {};
    }

    Repository& repository_;
    const BackupSet& set_;
    const Matcher matcher_;
    const std::vector<Path>& own_;
    Fs& fs_;
    const EachDifference& each_;
    const std::stop_token stop_;
};

// The places at which the set's paths and the path asked for meet.
std::vector<Path> places_of(const BackupSet& set, const Path& path) {
    std::vector<Path> places;
    for (const Path& root : set.paths) {
        if (path.is_inside(root)) return {path};
        if (root.is_inside(path)) places.push_back(root);
    }
    std::ranges::sort(places);
    // One inside another is compared with it.
    std::vector<Path> outermost;
    for (Path& place : places)
        if (outermost.empty() || std::ranges::none_of(outermost, [&](const Path& other) {
                return place.is_inside(other);
            }))
            outermost.push_back(std::move(place));
    return outermost;
}

}  // namespace

Result<> compare_revisions(Repository& repository, const BlobId& from, const BlobId& to,
                           const Path& path, const EachDifference& each, std::stop_token stop,
                           const AccessRule& rule) {
    auto before = TRY(find_or_nothing(repository, from, path, rule));
    auto after = TRY(find_or_nothing(repository, to, path, rule));
    if (!before && !after) return no_such_path(path);
    return TreeComparison(repository, each, std::move(stop), rule)
        .compare(path.text(), before ? &*before : nullptr, after ? &*after : nullptr);
}

Result<> compare_with_disk(Repository& repository, const BlobId& from, const BackupSet& set,
                           const std::vector<Path>& own, Fs& fs, const Path& path,
                           const EachDifference& each, std::stop_token stop) {
    Matcher matcher = TRY(Matcher::compile(set.exclude.patterns));
    DiskComparison comparison(repository, set, std::move(matcher), own, fs, each, std::move(stop));
    const std::vector<Path> places = places_of(set, path);
    if (places.empty())
        return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                     "set '" + set.id + "' does not hold " + printable(path.text()));
    for (const Path& place : places) {
        auto before = TRY(find_or_nothing(repository, from, place));
        struct statx status {};
        const bool exists =
            fs.status(AT_FDCWD, place.c_str(), AT_SYMLINK_NOFOLLOW, status) != -ENOENT;
        if (!before && !exists && places.size() == 1 && place == path) return no_such_path(path);
        TRY(comparison.compare(place.text(), AT_FDCWD, place.c_str(), before ? &*before : nullptr));
    }
    return {};
}

}  // namespace backup
