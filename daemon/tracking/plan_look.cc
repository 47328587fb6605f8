// From marks to a LookPlan: handles to paths, renames to where things were, files with several
// names to all of them.
#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/log.h"
#include "daemon/runtime/fs.h"
#include "daemon/tracking/look_plan.h"
#include "daemon/tracking/past_paths.h"

namespace backup::tracking {

namespace {

constexpr std::string_view kCacheTag = "CACHEDIR.TAG";

class Planner {
  public:
    explicit Planner(const LookAtInput& input)
        : input_(input), fs_(input.fs != nullptr ? *input.fs : RealFs::instance()), past_(input) {}

    LookPlan plan() {
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
            if (path) take_directory(*path, marks);
        }
    }

    void take_directory(const std::string& path, const DirectoryMarks& marks) {
        if (const Mark* mark = marks.subtree()) take_subtree(path, *mark);
        bool is_in = is_in_set(path);
        if (const Mark* mark = marks.listing(); mark != nullptr && is_in) {
            list(path, mark->must_read);
            item(path, "listing", *mark);
        }
        if (const Mark* mark = marks.itself(); mark != nullptr && is_in) {
            plan_.add_name(path);
            item(path, "name", *mark);
        }
        if (marks.names.empty()) return;
        if (is_in) {
            LookPlan::Directory& directory = plan_.add_directory(path);
            directory.names.reserve(directory.names.size() + marks.names.size());
            for (const auto& [name, mark] : marks.names) {
                directory.names.push_back(name);
                if (!plan_.everything) see(child_of(path, name));
            }
        }
        for (const auto& [name, mark] : marks.names) {
            if (is_in) item(child_of(path, name), "name", mark);
            if (is_in && mark.must_read) plan_.must_read_files.insert(child_of(path, name));
            // Above the set, too: it may be the way to it.
            if (mark.deep) take_subtree(child_of(path, name), mark);
        }
    }

    // A look at what has the name now: if it has other names, they changed with it.
    void see(const std::string& path) {
        struct statx status;
        int error =
            fs_.status(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, status);
        if (error == -ENAMETOOLONG) has_unseen_ = true;
        if (error < 0 || S_ISDIR(status.stx_mode)) return;
        if (status.stx_nlink > 1)
            linked_.insert(status.stx_ino);
        else
            seen_.insert(status.stx_ino);
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
        if (facts->links == 1 && seen_.count(facts->inode) != 0) return;
        linked_.insert(facts->inode);
    }

    void look_for_other_names() {
        if (has_unseen_) return give_up("a path is too long to be looked at by itself");
        if (linked_.empty() || plan_.everything) return;
        if (!input_.names_of_inodes) return give_up("no way to find all names of a file");
        auto found = input_.names_of_inodes({linked_.begin(), linked_.end()});
        if (!found.ok()) return give_up(found.error().message());
        for (const auto& [inode, past] : *found) {
            std::string path = past_.to_present(past);
            if (is_in_set(path)) plan_.add_name(path);
        }
    }

    void give_up(const std::string& reason) {
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
    // Inodes of marked names: with one name; with several, or with none that is known.
    std::unordered_set<std::uint64_t> seen_, linked_;
    bool has_unseen_ = false;
};

}  // namespace

LookPlan plan_look(const LookAtInput& input) {
    return Planner(input).plan();
}

}  // namespace backup::tracking
