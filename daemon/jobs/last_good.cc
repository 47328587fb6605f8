#include "daemon/jobs/last_good.h"

#include <algorithm>

#include "daemon/restore/restore.h"

namespace backup {

namespace {

bool is_at_or_below(const std::string& path, const std::string& place) {
    return path == place ||
           (path.size() > place.size() && path.starts_with(place) && path[place.size()] == '/');
}

}  // namespace

std::string name_of(const Revision& revision) {
    if (revision.tags.number == 0 || is_pre_restore(revision)) return revision.id().short_hex();
    return revision.tags.set + "/" + std::to_string(revision.tags.number);
}

std::string name_of(const Revision& revision, const SetOnHost& asked) {
    if (revision.tags.number == 0 || !belongs_to(revision, asked)) return name_of(revision);
    return asked.set + "/" + std::to_string(revision.tags.number);
}

bool is_missing(const Revision& revision, const std::string& path) {
    return std::ranges::any_of(revision.tags.missing, [&](const std::string& missing) {
        return is_at_or_below(path, missing);
    });
}

std::size_t missing_below(const Revision& revision, const std::string& path) {
    return static_cast<std::size_t>(std::ranges::count_if(
        revision.tags.missing,
        [&](const std::string& missing) { return is_at_or_below(missing, path); }));
}

Result<std::optional<Revision>> last_good(Repository& repository,
                                          const std::vector<Revision>& newest_first,
                                          const SetOnHost& asked, const Revision& from,
                                          const std::string& path) {
    if (!is_missing(from, path)) return std::optional<Revision>();
    const SetOnHost line =
        belongs_to(from, asked) ? asked : SetOnHost{from.tags.set, from.snapshot().hostname};
    TRY(repository.refresh_index({}));
    for (const Revision& revision : newest_first) {
        if (!belongs_to(revision, line) || revision.is_trashed() ||
            revision.tags.number >= from.tags.number)
            continue;
        auto node = find_node(repository, revision.snapshot().tree, path);
        if (node.ok()) return std::optional(revision);
        if (node.error().code() != ErrorCode::no_such_path) return std::move(node).error();
        // It is gone or unreadable there, too; only the latter is a reason to look on.
        if (!is_missing(revision, path)) return std::optional<Revision>();
    }
    return std::optional<Revision>();
}

}  // namespace backup
