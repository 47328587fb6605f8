// Directories of a batch: entered before anything in them is made, left when all of it is in place.
#include <cerrno>
#include <cstring>

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
Result<DirectoryState> BatchWriter::look_at_directory(const EnterDirectory& enter,
                                                      const RestoreBatch& batch) {
    const auto become = [&](DirectoryState state, std::string landing_name = {}) {
        if (state == DirectoryState::imagined)
            directories_.set_device(enter.directory, directories_.device(enter.parent));
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
        TRY(refuse_directory(enter, std::move(above).error()));
        return DirectoryState::failed;
    }
    std::string name(batch.text(enter.name));
    for (unsigned attempt = 1; attempt <= kMostNames; ++attempt) {
        UniqueFd fd(::openat((*above)->get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
        struct stat status {};
        if (!fd || ::fstat(fd.get(), &status) != 0) {
            if (errno == ENOENT) return become(DirectoryState::imagined, std::move(name));
            TRY(refuse_directory(enter, Error::from_errno(errno, "look at the directory")));
            return DirectoryState::failed;
        }
        if (S_ISDIR(status.st_mode)) {
            directories_.set_device(enter.directory, status.st_dev);
            directories_.set_found_mtime(enter.directory, status.st_mtim);
            take_from_removal(enter.parent, name);
            return become(
                is_marked_unfinished(fd.get()) ? DirectoryState::resumed : DirectoryState::existed,
                std::move(name));
        }
        // Something else is in the way. What lies above the things asked for is never replaced.
        note_conflict(path_of(enter, batch));
        if (enter.passage) {
            TRY(refuse_directory(
                enter, Error(ErrorKind::conflict, ErrorCode::conflict,
                             S_ISLNK(status.st_mode)
                                 ? "a symbolic link stands in its place; links are not followed"
                                 : "something else stands in its place")));
            return DirectoryState::failed;
        }
        switch (options_.on_conflict) {
            case ConflictMode::fail:
            case ConflictMode::skip:
            case ConflictMode::newer:
                counts_.skipped.fetch_add(1, std::memory_order_relaxed);
                return become(DirectoryState::skipped);
            case ConflictMode::replace: {
                const std::string path = directories_.target_path(enter.parent, name);
                if (const char* why = why_left_alone((*above)->get(), name, path, status)) {
                    counts_.set_aside.fetch_add(1, std::memory_order_relaxed);
                    exceptions_.add(path_of(enter, batch),
                                    Error(ErrorKind::conflict, ErrorCode::conflict, why));
                    return become(DirectoryState::skipped);
                }
                if (options_.record != nullptr) options_.record->replace(path, status, 0);
                // enter() sees the obstacle when it makes it
                return become(DirectoryState::imagined);
            }
            case ConflictMode::keep_both:
                break;
        }
        name = keep_both_name(batch.text(enter.name), options_.suffix, attempt);
    }
    TRY(refuse_directory(enter, Error(ErrorKind::conflict, ErrorCode::conflict,
                                      "there are too many restored copies beside it already")));
    return DirectoryState::failed;
}

Result<> BatchWriter::enter(const EnterDirectory& enter, BatchInFlight& batch) {
    const bool is_new_above = directories_.state(enter.parent) == DirectoryState::created;
    DirectoryState state = directories_.state(enter.directory);
    if (state != DirectoryState::pending) {
        // The walk has looked already.
    } else if (is_new_above) {
        state = DirectoryState::imagined;
        directories_.set_state(enter.directory, state);
    } else {
        state = TRY(look_at_directory(enter, *batch.plan));
    }
    if (state != DirectoryState::imagined) return {};
    if (options_.record != nullptr)
        options_.record->create("create", directories_.target_path(enter.directory),
                                directories_.device(enter.parent), 0);
    ++counts_.directories;
    ++counts_.created;
    if (options_.dry_run) return {};
    Result<> made = make_directory(enter, batch);
    if (made.ok()) return {};
    --counts_.directories;
    --counts_.created;
    return refuse_directory(enter, std::move(made).error());
}

Result<> BatchWriter::make_directory(const EnterDirectory& enter, BatchInFlight& batch) {
    const SharedFd above = TRY(directories_.open(enter.parent));
    const std::string name = directories_.name(enter.directory);
    const bool is_top = !directories_.is_hidden(enter.parent, batch.number);
    const std::string making = !is_top              ? name
                               : enter.content != 0 ? next_temp_name(enter.content)
                                                    : next_temp_name();
    if (is_top) look_for_leftovers(enter.parent, above->get());
    const bool is_adopted = adopt_directory(enter, batch, above->get(), making, is_top);
    // Ours alone while it is filled.
    if (!is_adopted && ::mkdirat(above->get(), making.c_str(), 0700) != 0)
        return Error::from_errno(errno, "make the directory");
    UniqueFd fd(
        ::openat(above->get(), making.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) {
        const int error_number = errno;
        (void)::unlinkat(above->get(), making.c_str(), AT_REMOVEDIR);
        return Error::from_errno(error_number, "open the directory");
    }
    // Where attributes are not supported, a directory left behind by a crash keeps mode 0700.
    (void)::fsetxattr(fd.get(), kUnfinished, "", 0, 0);
    directories_.set_device(enter.directory, directories_.device(enter.parent));
    directories_.set_state(enter.directory, DirectoryState::created, making);
    directories_.set_hidden(enter.directory, batch.number);
    if (is_adopted) directories_.set_adopted(enter.directory);
    batch.has_adopted |= is_adopted;
    if (is_top) batch.hidden.push_back({enter.parent, enter.directory, name});
    touch(enter.parent);
    touch(enter.directory);
    return {};
}

// All below the new directories is durable: they appear.
Result<> BatchWriter::reveal(BatchInFlight& batch) {
    bool has_failed = false;
    while (!batch.hidden.empty()) {
        const BatchInFlight::HiddenTop top = batch.hidden.back();
        Result<> done = reveal_one(top);
        if (!done.ok()) {
            if (done.error().kind() != ErrorKind::conflict) return done;
            const SharedFd above = TRY(directories_.open(top.parent));
            remove_tree(above->get(), directories_.name(top.directory));
            directories_.set_state(top.directory, DirectoryState::failed);
            refuse(directories_.source_path(top.directory), std::move(done).error());
            has_failed = true;
        }
        batch.hidden.pop_back();
    }
    if (!has_failed) return {};
    for (const EnterDirectory& enter : batch.plan->enters)
        if (directories_.state(enter.parent) == DirectoryState::failed)
            directories_.set_state(enter.directory, DirectoryState::failed);
    return {};
}

Result<> BatchWriter::reveal_one(const BatchInFlight::HiddenTop& top) {
    const SharedFd above = TRY(directories_.open(top.parent));
    bool has_swapped = false;
    const std::string obstacle = directories_.target_path(top.parent, top.name);
    const auto rename = [&](const char* from, const char* to) {
        if (::renameat2(above->get(), from, above->get(), to, RENAME_NOREPLACE) == 0) return 0;
        // File systems that cannot: a directory replaces nothing but an empty one.
        if (errno == EINVAL || errno == ENOSYS)
            return ::renameat(above->get(), from, above->get(), to);
        if (errno != EEXIST || options_.on_conflict != ConflictMode::replace) return -1;
        struct stat status {};
        const bool is_there = ::fstatat(above->get(), to, &status, AT_SYMLINK_NOFOLLOW) == 0;
        if (is_there && (S_ISDIR(status.st_mode) ||
                         why_left_alone(above->get(), to, obstacle, status) != nullptr)) {
            errno = EEXIST;  // appeared or changed meanwhile
            return -1;
        }
        // What is in the way and the directory change places in one step.
        has_swapped = true;
        return ::renameat2(above->get(), from, above->get(), to, RENAME_EXCHANGE);
    };
    const std::string before = directories_.name(top.directory);
    if (directories_.rename(top.directory, top.name, rename) != 0)
        return Error::from_errno(errno, "give the directory its name");
    if (!has_swapped || ::unlinkat(above->get(), before.c_str(), 0) == 0) return {};
    // It is no longer what it was a moment ago: it gets its place back.
    const int error_number = errno;
    const auto swap = [&](const char* from, const char* to) {
        return ::renameat2(above->get(), from, above->get(), to, RENAME_EXCHANGE);
    };
    (void)directories_.rename(top.directory, before, swap);
    return Error(
        ErrorKind::conflict, ErrorCode::conflict,
        std::string("what stands in its place cannot be removed: ") + std::strerror(error_number));
}

// Everything below fails with it, told by this one exception.
Result<> BatchWriter::refuse_directory(const EnterDirectory& enter, Error error) {
    directories_.set_state(enter.directory, DirectoryState::failed);
    if (error.kind() == ErrorKind::no_space || error.os_error() == EROFS) return error;
    counts_.failed.fetch_add(1, std::memory_order_relaxed);
    exceptions_.add(directories_.source_path(enter.directory), std::move(error));
    return {};
}

BatchWriter::Leaving BatchWriter::leaving_of(const LeaveDirectory& leave,
                                             const RestoreBatch& batch) {
    switch (directories_.state(leave.directory)) {
        case DirectoryState::pending:
        case DirectoryState::skipped:
        case DirectoryState::failed:
        case DirectoryState::imagined:
            return Leaving::as_it_is;
        case DirectoryState::resumed:
        case DirectoryState::created:
            return Leaving::altered;
        case DirectoryState::existed:
            break;
    }
    if (leave.passage) return Leaving::as_it_is;
    Result<SharedFd> at = directories_.open(leave.directory);
    struct stat status {};
    if (!at.ok() || ::fstat((*at)->get(), &status) != 0) return Leaving::as_it_is;
    // What we did in it is no difference of its own.
    const timespec now = status.st_mtim;
    status.st_mtim = directories_.found_mtime(leave.directory);
    const FileTime mtime{status.st_mtim.tv_sec, static_cast<std::uint32_t>(status.st_mtim.tv_nsec)};
    const bool is_ours =
        options_.on_conflict == ConflictMode::replace ||
        (options_.on_conflict == ConflictMode::newer && leave.metadata.mtime > mtime);
    if (!is_ours ||
        (options_.alters && !options_.alters(directories_.target_path(leave.directory))))
        return Leaving::as_it_is;
    const auto may_alter = [&] {
        return options_.planned == nullptr ||
               options_.planned->is_same(directories_.target_path(leave.directory), status);
    };
    if (!has_metadata((*at)->get(), status, NodeType::dir, leave.metadata, batch)) {
        if (options_.record != nullptr)
            options_.record->alter(directories_.target_path(leave.directory), status);
        // What the plan did not find so was not kept.
        return may_alter() ? Leaving::altered : Leaving::as_it_is;
    }
    const bool has_moved =
        now.tv_sec != status.st_mtim.tv_sec || now.tv_nsec != status.st_mtim.tv_nsec;
    return has_moved ? Leaving::its_time : Leaving::as_it_is;
}

Result<> BatchWriter::leave(const LeaveDirectory& leave, const RestoreBatch& batch) {
    const DirectoryState state = directories_.state(leave.directory);
    const Leaving leaving = leaving_of(leave, batch);
    if (state == DirectoryState::existed && !leave.passage) {
        ++(leaving == Leaving::altered ? counts_.replaced : counts_.unchanged);
        ++counts_.directories;
    }
    const bool is_entered = state == DirectoryState::existed || state == DirectoryState::resumed ||
                            state == DirectoryState::created;
    if (is_entered && !(state == DirectoryState::existed && leave.passage))
        progress_.items_done.fetch_add(1, std::memory_order_relaxed);
    if (leaving == Leaving::as_it_is || options_.dry_run) return {};
    const SharedFd at = TRY(directories_.open(leave.directory));
    UniqueFd fd(::openat(at->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
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
