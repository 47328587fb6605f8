// Directories of a batch: entered before anything in them is made, left when all of it is in place.
#include <cerrno>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/path.h"
#include "daemon/restore/batch_writer.h"
#include "daemon/restore/temp_name.h"

namespace backup {

namespace {

constexpr unsigned kMostNames = 99;

bool is_marked_unfinished(int directory_fd) {
    char value = 0;
    const std::string path = "/proc/self/fd/" + std::to_string(directory_fd);
    return ::getxattr(path.c_str(), kUnfinished, &value, sizeof value) >= 0;
}

}  // namespace

std::string BatchWriter::path_of(const EnterDirectory& enter, const RestoreBatch& batch) const {
    return directories_.source_path(enter.parent, batch.text(enter.name));
}

// Decides what becomes of a directory without changing anything on disk: existed, resumed, skipped,
// failed, or `imagined` for one that is to be made; then under the name that the table holds.
DirectoryState BatchWriter::look_at_directory(const EnterDirectory& enter,
                                              const RestoreBatch& batch) {
    const auto become = [&](DirectoryState state, std::string landing_name = {}) {
        directories_.set_state(enter.directory, state, std::move(landing_name));
        return state;
    };
    const DirectoryState parent = directories_.state(enter.parent);
    switch (parent) {
        case DirectoryState::skipped:
        case DirectoryState::failed:
            return become(parent);
        case DirectoryState::pending:
            return become(DirectoryState::failed);
        case DirectoryState::created:
        case DirectoryState::imagined:
            return become(DirectoryState::imagined);
        case DirectoryState::existed:
        case DirectoryState::resumed:
            break;
    }
    Result<SharedFd> above = directories_.open(enter.parent);
    if (!above.ok()) {
        (void)refuse_directory(enter, std::move(above).error()).ok();
        return DirectoryState::failed;
    }
    std::string name(batch.text(enter.name));
    for (unsigned attempt = 1; attempt <= kMostNames; ++attempt) {
        UniqueFd fd(::openat((*above)->get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
        struct stat status {};
        if (!fd || ::fstat(fd.get(), &status) != 0) {
            if (errno == ENOENT) return become(DirectoryState::imagined, std::move(name));
            (void)refuse_directory(enter, Error::from_errno(errno, "look at the directory")).ok();
            return DirectoryState::failed;
        }
        if (S_ISDIR(status.st_mode)) {
            directories_.set_device(enter.directory, status.st_dev);
            return become(
                is_marked_unfinished(fd.get()) ? DirectoryState::resumed : DirectoryState::existed,
                std::move(name));
        }
        // Something else is in the way. What lies above the things asked for is never replaced.
        note_conflict(path_of(enter, batch));
        if (enter.passage) {
            (void)refuse_directory(
                enter, Error(ErrorKind::conflict, ErrorCode::conflict,
                             S_ISLNK(status.st_mode)
                                 ? "a symbolic link stands in its place; links are not followed"
                                 : "something else stands in its place"))
                .ok();
            return DirectoryState::failed;
        }
        switch (options_.on_conflict) {
            case ConflictMode::fail:
            case ConflictMode::skip:
            case ConflictMode::newer:
                counts_.skipped.fetch_add(1, std::memory_order_relaxed);
                return become(DirectoryState::skipped);
            case ConflictMode::replace:
                return become(
                    DirectoryState::imagined);  // enter() sees the obstacle when it makes it
            case ConflictMode::keep_both:
                break;
        }
        name = keep_both_name(batch.text(enter.name), options_.suffix, attempt);
    }
    (void)refuse_directory(enter, Error(ErrorKind::conflict, ErrorCode::conflict,
                                        "there are too many restored copies beside it already"))
        .ok();
    return DirectoryState::failed;
}

Result<> BatchWriter::enter(const EnterDirectory& enter, const RestoreBatch& batch) {
    const bool is_new_above = directories_.state(enter.parent) == DirectoryState::created;
    const DirectoryState state =
        is_new_above ? DirectoryState::imagined : look_at_directory(enter, batch);
    if (is_new_above) directories_.set_state(enter.directory, state);
    if (state != DirectoryState::imagined) return {};
    ++counts_.directories;
    ++counts_.created;
    if (options_.dry_run) return {};
    const std::string name = directories_.name(enter.directory);
    Result<> made = make_directory(enter, name, options_.on_conflict == ConflictMode::replace);
    if (made.ok()) return {};
    --counts_.directories;
    --counts_.created;
    return refuse_directory(enter, std::move(made).error());
}

Result<> BatchWriter::make_directory(const EnterDirectory& enter, const std::string& name,
                                     bool replaces) {
    const SharedFd above = TRY(directories_.open(enter.parent));
    // Ours alone while it is filled.
    if (::mkdirat(above->get(), name.c_str(), 0700) != 0) {
        if (errno != EEXIST || !replaces) return Error::from_errno(errno, "make the directory");
        // The directory and what is in its way change places in one step.
        const std::string temp_name = next_temp_name();
        if (::mkdirat(above->get(), temp_name.c_str(), 0700) != 0)
            return Error::from_errno(errno, "make the directory");
        if (::renameat2(above->get(), temp_name.c_str(), above->get(), name.c_str(),
                        RENAME_EXCHANGE) != 0 ||
            ::unlinkat(above->get(), temp_name.c_str(), 0) != 0) {
            const int error_number = errno;
            (void)::unlinkat(above->get(), temp_name.c_str(), AT_REMOVEDIR);
            return Error::from_errno(error_number, "replace what stands in place of the directory");
        }
    }
    UniqueFd fd(
        ::openat(above->get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "open the directory");
    // Where attributes are not supported, a directory left behind by a crash keeps mode 0700.
    (void)::fsetxattr(fd.get(), kUnfinished, "", 0, 0);
    directories_.set_device(enter.directory, directories_.device(enter.parent));
    directories_.set_state(enter.directory, DirectoryState::created);
    touch(enter.parent);
    touch(enter.directory);
    return {};
}

// Everything below fails with it, told by this one exception.
Result<> BatchWriter::refuse_directory(const EnterDirectory& enter, Error error) {
    directories_.set_state(enter.directory, DirectoryState::failed);
    if (error.kind() == ErrorKind::no_space || error.os_error() == EROFS) return error;
    counts_.failed.fetch_add(1, std::memory_order_relaxed);
    exceptions_.add(directories_.source_path(enter.directory), std::move(error));
    return {};
}

Result<> BatchWriter::leave(const LeaveDirectory& leave, const RestoreBatch& batch) {
    const DirectoryState state = directories_.state(leave.directory);
    switch (state) {
        case DirectoryState::pending:
        case DirectoryState::skipped:
        case DirectoryState::failed:
        case DirectoryState::imagined:
            return {};
        case DirectoryState::existed:
        case DirectoryState::resumed:
        case DirectoryState::created:
            break;
    }
    if (state == DirectoryState::existed && leave.passage) return {};
    const SharedFd at = TRY(directories_.open(leave.directory));
    UniqueFd fd(::openat(at->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat status {};
    bool has_changed = false;
    bool is_ours = state != DirectoryState::existed;
    if (!is_ours && ::fstat(at->get(), &status) == 0) {
        const FileTime mtime{status.st_mtim.tv_sec,
                             static_cast<std::uint32_t>(status.st_mtim.tv_nsec)};
        is_ours = options_.on_conflict == ConflictMode::replace ||
                  (options_.on_conflict == ConflictMode::newer && leave.metadata.mtime > mtime);
        has_changed =
            is_ours && !has_metadata(at->get(), status, NodeType::dir, leave.metadata, batch);
        ++(has_changed ? counts_.replaced : counts_.unchanged);
        ++counts_.directories;
        is_ours = has_changed;
    }
    progress_.items_done.fetch_add(1, std::memory_order_relaxed);
    if (!is_ours || options_.dry_run) return {};
    const std::string path = directories_.source_path(leave.directory);
    if (!fd) {
        metadata_problems_.add(path, "metadata of the directory", EACCES);
        return {};
    }
    set_metadata(
        fd.get(), NodeType::dir, leave.metadata, batch, [&] { return path; }, metadata_problems_);
    touch(leave.directory);
    return {};
}

}  // namespace backup
