// From marks to a LookPlan: handles to paths, renames to where things were, files with several
// names to all of them.
#include <algorithm>
#include <cerrno>
#include <climits>
#include <set>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/log.h"
#include "common/unique_fd.h"
#include "daemon/archive/listing.h"
#include "daemon/runtime/fs.h"
#include "daemon/tracking/look_plan.h"
#include "daemon/tracking/past_paths.h"
#include "daemon/watch/open_path.h"

namespace backup::tracking {

namespace {

constexpr std::string_view kCacheTag = "CACHEDIR.TAG";

class Planner {
  public:
    explicit Planner(const LookAtInput& input)
        : input_(input), fs_(input.fs != nullptr ? *input.fs : RealFs::instance()), past_(input) {}

    LookPlan plan() {
        plan_.everything = input_.everything;
        for (const auto& [id, volume] : input_.marks->volumes) take_volume(id, volume);
        for (const auto& [id, volume] : input_.marks->volumes) {
            for (const auto& [handle, origin] : volume.origins) take_origin(id, handle, origin);
            for (const auto& [handle, mark] : volume.objects) take_object(id, handle, mark);
        }
        look_for_other_names();
        plan_.held.insert(input_.held_files.begin(), input_.held_files.end());
        finish();
        return std::move(plan_);
    }

  private:
    bool is_in_set(std::string_view path) const {
        return std::any_of(input_.paths.begin(), input_.paths.end(),
                           [&](const Path& of_set) { return is_below(path, of_set.text()); });
    }

    void item(std::string path, const char* kind, const Mark& mark) {
        plan_.items.push_back({std::move(path), kind, mark.first_seen});
    }

    void look_below(const std::string& path, bool read_all) {
        see_all(path, true);
        LookPlan::Directory& directory = plan_.add_directory(path);
        directory.subtree = true;
        plan_.has_subtrees = true;
        if (read_all) directory.read_all = plan_.has_read_all = true;
    }

    // A subtree, of which perhaps only parts are in the set.
    void take_subtree(const std::string& path, const Mark& mark) {
        if (is_in_set(path)) {
            look_below(path, mark.must_read);
            return item(path, "subtree", mark);
        }
        for (const Path& of_set : input_.paths) {
            if (!is_below(of_set.text(), path)) continue;
            look_below(of_set.text(), mark.must_read);
            item(of_set.text(), "subtree", mark);
        }
    }

    void list(const std::string& path, bool read_all) {
        LookPlan::Directory& directory = plan_.add_directory(path);
        directory.listing = true;
        if (read_all) directory.read_all = plan_.has_read_all = true;
    }

    void take_volume(const VolumeId& id, const VolumeMarks& volume) {
        if (volume.has_everything()) {
            plan_.everything = true;
            plan_.read_everything = plan_.read_everything || volume.everything.must_read;
            for (const Path& of_set : input_.paths)
                item(of_set.text(), "subtree", volume.everything);
        }
        for (const auto& [handle, marks] : volume.directories) {
            const std::optional<std::string>& path = past_.path_of(id, handle);
            if (path)
                take_directory(*path, marks);
            else if (!marks.names.empty())
                see_names_out_of_reach(id, handle, marks.names);
        }
    }

    // A directory without a path is gone as a rule. If not, it is not in the set (any more), and
    // what has its names may have others in the set.
    void see_names_out_of_reach(const VolumeId& id, const ObjectHandle& handle,
                                const NameMarks& names) {
        if (!input_.resolver.open || plan_.everything) return;
        UniqueFd directory = input_.resolver.open(id, handle);
        if (!directory) return;
        for (const auto& [name, mark] : names) see(directory.get(), name.c_str());
    }

    void take_directory(const std::string& path, const DirectoryMarks& marks) {
        if (const Mark* mark = marks.subtree()) take_subtree(path, *mark);
        bool is_in = is_in_set(path);
        if (const Mark* mark = marks.listing(); mark != nullptr && is_in) {
            list(path, mark->must_read);
            see_all(path, false);
            item(path, "listing", *mark);
        }
        if (const Mark* mark = marks.itself(); mark != nullptr && is_in) {
            plan_.add_name(path);
            item(path, "name", *mark);
        }
        if (marks.names.empty()) return;
        see_names(path, marks.names);
        if (is_in) {
            LookPlan::Directory& directory = plan_.add_directory(path);
            directory.names.reserve(directory.names.size() + marks.names.size());
            for (const auto& [name, mark] : marks.names) directory.names.push_back(name);
        }
        for (const auto& [name, mark] : marks.names) {
            // A path of the set itself lies in a directory that is not in it.
            if (is_in || is_in_set(child_of(path, name))) {
                item(child_of(path, name), "name", mark);
                if (mark.must_read) plan_.must_read_files.insert(child_of(path, name));
            }
            // Above the set, too: it may be the way to it.
            if (mark.deep) take_subtree(child_of(path, name), mark);
        }
    }

    // What has the names now: if it has other names, those changed with it. Also for a directory
    // that is not in the set (any more).
    void see_names(const std::string& path, const NameMarks& names) {
        UniqueFd directory = open(path, O_PATH);
        if (!directory) return;
        for (const auto& [name, mark] : names) see(directory.get(), name.c_str());
    }

    // Not open: it is not there any more, and marked anew because of that, or nothing needs it.
    UniqueFd open(const std::string& path, int how) {
        if (plan_.everything) return {};
        const int flags = how | O_DIRECTORY | O_NOFOLLOW;
        int fd = path.size() < PATH_MAX ? fs_.open(AT_FDCWD, path.c_str(), flags)
                                        : open_path(path, flags);
        if (fd >= 0) return UniqueFd(fd);
        bool is_gone = fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP || fd == -ESTALE;
        bool is_closed_to_us = fd == -EACCES || fd == -EPERM;  // to the run as well
        if (!is_gone && !is_closed_to_us)
            give_up(Error::from_errno(-fd, "open " + printable(path)).message());
        return {};
    }

    // True: it is a directory.
    bool see(int directory, const char* name) {
        struct statx status;
        int error = fs_.status(directory, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, status);
        if (error < 0) return false;
        if (S_ISDIR(status.stx_mode)) return true;
        if (status.stx_nlink > 1)
            linked_.insert(status.stx_ino);
        else
            seen_.insert({makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino});
        return false;
    }

    // The same where no names are known. Not recursive: the depth is others'.
    void see_all(const std::string& top, bool below) {
        std::vector<std::string> left{top};
        Listing listing;
        while (!left.empty()) {
            std::string path = std::move(left.back());
            left.pop_back();
            UniqueFd directory = open(path, O_RDONLY | O_NOATIME);
            if (!directory || listing.read(fs_, directory.get()) < 0) continue;
            for (const ListedName& listed : listing.names()) {
                bool is_directory = listed.type == DT_DIR || see(directory.get(), listed.text);
                if (is_directory && below) left.push_back(child_of(path, listed.name()));
            }
        }
    }

    void take_origin(const VolumeId& id, const ObjectHandle& handle,
                     const DirectoryOrigin& origin) {
        const std::optional<std::string>& path = past_.path_of(id, handle);
        if (!path) return;
        const Mark mark{.generation = origin.generation};
        if (!is_in_set(*path)) {
            // It may hold a path of the set.
            if (origin.kind != DirectoryOrigin::Kind::born || origin.moved)
                take_subtree(*path, mark);
            return;
        }
        plan_.add_name(*path);
        PastPaths::Answer past = past_.of_directory(id, handle);
        // Also where both are the same path: what is above it may be another directory now.
        if (past.path) plan_.was_at[*path] = *past.path;
        switch (past.sure) {
            case PastPaths::Sure::yes:
                return;
            case PastPaths::Sure::born:
                return list(*path, false);
            case PastPaths::Sure::no:
                return look_below(*path, false);
        }
    }

    void take_object(const VolumeId& id, const ObjectHandle& handle, const Mark& mark) {
        auto facts = input_.resolver.facts_of ? input_.resolver.facts_of(id, handle) : std::nullopt;
        if (!facts) return;
        if (facts->is_directory) {
            const std::optional<std::string>& path = past_.path_of(id, handle);
            if (!path || !is_in_set(*path)) return;
            plan_.add_name(*path);
            return item(*path, "name", mark);
        }
        if (facts->links == 0) return;
        if (facts->links == 1 && seen_.count({facts->device, facts->inode}) != 0) return;
        linked_.insert(facts->inode);
    }

    void look_for_other_names() {
        plan_.links_may_have_changed =
            !linked_.empty() || !plan_.was_at.empty() || plan_.has_subtrees || plan_.everything;
        if (plan_.everything) return;
        for (const std::string& past : input_.linked_files) {
            std::string path = past_.to_present(past);
            if (is_in_set(path)) plan_.add_name(path);
        }
        if (linked_.empty()) return;
        if (!input_.names_of_inodes) return give_up("no way to find all names of a file");
        auto found = input_.names_of_inodes({linked_.begin(), linked_.end()});
        if (!found.ok()) return give_up(found.error().message());
        for (const auto& [inode, past] : *found) {
            std::string path = past_.to_present(past);
            if (is_in_set(path)) plan_.add_name(path);
        }
    }

    void give_up(const std::string& reason) {
        if (plan_.everything) return;
        log_warning("changes are looked for everywhere: " + reason);
        plan_.everything = true;
    }

    void finish() {
        for (auto& [path, directory] : plan_.directories) {
            std::sort(directory.names.begin(), directory.names.end());
            directory.names.erase(std::unique(directory.names.begin(), directory.names.end()),
                                  directory.names.end());
            // It decides about all names beside it.
            if (std::binary_search(directory.names.begin(), directory.names.end(), kCacheTag))
                directory.listing = true;
        }
    }

    const LookAtInput& input_;
    Fs& fs_;
    PastPaths past_;
    LookPlan plan_;
    std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;  // device and inode of marked files
    // Inodes of files with several names, or with none that is known.
    std::unordered_set<std::uint64_t> linked_;
};

}  // namespace

LookPlan plan_look(const LookAtInput& input) {
    return Planner(input).plan();
}

}  // namespace backup::tracking
