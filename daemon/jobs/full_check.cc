#include "daemon/jobs/full_check.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>

#include <fcntl.h>

#include "common/path.h"

namespace backup {

namespace {

using Kind = TreeDifference::Kind;

// More changes than these are not asked for one by one.
constexpr std::size_t kMostAsked = 20'000;

bool is_at_or_below(const std::string& path, const std::string& place) {
    return path == place || (path.starts_with(place) && path[place.size()] == '/');
}

// Every run looks at the directories above those of the set, and at these themselves.
bool is_always_looked_at(const TreeDifference& difference, const BackupSet& set) {
    return std::ranges::any_of(set.paths, [&](const Path& path) {
        return path.is_root() || is_at_or_below(path.text(), difference.path);
    });
}

// A power loss explains it.
bool is_reread(const TreeDifference& difference, const Reread* reread) {
    if (reread == nullptr) return false;
    const FileTime &changed = difference.ctime, &since = reread->since;
    return changed.seconds > since.seconds ||
           (changed.seconds == since.seconds && changed.nanoseconds >= since.nanoseconds) ||
           reread->paths.contains(difference.path) || reread->inodes.contains(difference.inode);
}

// As the newer revision has it, still.
bool is_still_so(Fs& fs, const TreeDifference& difference) {
    struct statx now {};
    const int error =
        fs.status(AT_FDCWD, difference.path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, now);
    if (difference.kind == Kind::gone) return error == -ENOENT || error == -ENOTDIR;
    if (error < 0) return false;
    if (S_ISDIR(now.stx_mode) != difference.is_directory || now.stx_ino != difference.inode)
        return false;
    return now.stx_ctime.tv_sec == difference.ctime.seconds &&
           now.stx_ctime.tv_nsec == difference.ctime.nanoseconds;
}

void wait(Duration time, const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::unique_lock lock(mutex);
    changed.wait_for(lock, stop, time, [] { return false; });
}

}  // namespace

Result<FullCheckResult> check_full(BlobSource& source, const FullCheck& check,
                                   const std::stop_token& stop) {
    Fs& fs = check.fs != nullptr ? *check.fs : RealFs::instance();
    FullCheckResult result;
    std::vector<TreeDifference> open;
    std::set<std::string> above;  // directories with an entry that differs
    auto compared = TRY(compare_trees(
        source, check.before, check.after,
        [&](const TreeDifference& difference) -> Result<> {
            above.insert(difference.path.substr(0, difference.path.rfind('/')));
            if (difference.kind != Kind::content) {
                if (!check.is_marked || is_always_looked_at(difference, *check.set)) return {};
                if (open.size() >= kMostAsked) {
                    result.is_whole = false;
                    return {};
                }
            }
            const bool is_explained =
                is_reread(difference, check.reread) ||
                std::ranges::any_of(check.explained, [&](const std::string& path) {
                    return is_at_or_below(path, difference.path) ||
                           is_at_or_below(difference.path, path);
                });
            if (!is_explained) open.push_back(difference);
            return {};
        },
        stop));
    result.differences = compared.differences;
    // An entry that came or went moves its directory's times; the entry is asked for itself.
    std::erase_if(open, [&](const TreeDifference& difference) {
        return difference.is_directory && difference.kind == Kind::changed &&
               above.contains(difference.path);
    });
    const auto drop_marked = [&] {
        std::erase_if(open, [&](const TreeDifference& difference) {
            return check.is_marked && check.is_marked(difference.path);
        });
    };
    drop_marked();
    if (std::ranges::any_of(open, [](const auto& one) { return one.kind != Kind::content; })) {
        wait(check.patience, stop);
        drop_marked();
    }
    for (const TreeDifference& difference : open) {
        if (!is_still_so(fs, difference)) continue;  // changed once more: a later run's
        result.unexplained.push_back({difference.path, difference.kind == Kind::content});
    }
    return result;
}

}  // namespace backup
