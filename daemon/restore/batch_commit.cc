// The second half of a batch: everything is made under temporary names; now it becomes durable and
// gets its names.
#include <cerrno>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "common/path.h"
#include "daemon/restore/batch_writer.h"
#include "daemon/restore/temp_file.h"
#include "daemon/restore/temp_name.h"

namespace backup {

namespace {

// Beyond so many directories with changes one syncfs at the end is cheaper than an fsync of each.
constexpr std::size_t kFewDirectories = 16;

Error cancelled() {
    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
}

bool is_unsupported(int error_number) {
    return error_number == EINVAL || error_number == ENOSYS;
}

// Gives `from` the name `to` unless there is something by that name.
int rename_without_replacing(int directory_fd, const char* from, const char* to) {
    if (::renameat2(directory_fd, from, directory_fd, to, RENAME_NOREPLACE) == 0) return 0;
    if (!is_unsupported(errno)) return -1;
    // File systems that cannot: a link does not replace either.
    if (::linkat(directory_fd, from, directory_fd, to, 0) != 0) return -1;
    return ::unlinkat(directory_fd, from, 0);
}

// Puts a non-directory where an empty directory is: they change places in one step, then the
// directory goes.
int rename_over_directory(int directory_fd, const char* from, const char* to) {
    if (::renameat2(directory_fd, from, directory_fd, to, RENAME_EXCHANGE) != 0) return -1;
    if (::unlinkat(directory_fd, from, AT_REMOVEDIR) == 0) return 0;
    const int error_number = errno;
    (void)::renameat2(directory_fd, from, directory_fd, to, RENAME_EXCHANGE);
    errno = error_number;
    return -1;
}

}  // namespace

Result<> BatchWriter::commit(BatchInFlight& batch, std::stop_token stop) {
    if (options_.dry_run) {
        for (const LeaveDirectory& one : batch.plan->leaves) TRY(leave(one, *batch.plan));
        return {};
    }
    TRY(sync_batch(batch));
    TRY(tell_changes(batch));
    if (failpoint("restore.commit")) return Error(ErrorKind::io, "failpoint restore.commit");
    TRY(reveal(batch));
    const auto each = [&](auto&& applies, auto&& act) -> Result<> {
        for (std::uint32_t i = 0; i < batch.states.size(); ++i) {
            const ObjectState& state = batch.states[i];
            if (state.is_done || state.has_failed || !applies(state)) continue;
            if (stop.stop_requested()) return cancelled();
            Result<> done = act(i);
            if (!done.ok()) done = fail(batch, i, std::move(done).error());
            if (!done.ok()) return done;
            if (!state.has_failed) count_done(batch, i);
        }
        return {};
    };
    TRY(each([](const ObjectState& state) { return state.is_made; },
             [&](std::uint32_t i) { return put_in_place(batch, i); }));
    TRY(each([](const ObjectState& state) { return state.is_link; },
             [&](std::uint32_t i) { return link_in_place(batch, i); }));
    TRY(each([](const ObjectState& state) { return state.action == Action::set_metadata; },
             [&](std::uint32_t i) { return set_metadata_in_place(batch, i); }));
    for (const PlanObject& object : batch.plan->objects)
        if (object.ends_group) drop_group_head(object.link_group);
    for (const LeaveDirectory& one : batch.plan->leaves) {
        if (stop.stop_requested()) return cancelled();
        TRY(leave(one, *batch.plan));
    }
    return {};
}

bool BatchWriter::tell_entries(DirectoryIndex directory) {
    const auto mtime = directories_.claim_found_mtime(directory);
    if (!mtime) return false;
    options_.change_log->will_change_entries(directories_.target_path(directory), *mtime);
    return true;
}

// What appears below a directory of ours appears with it.
Result<> BatchWriter::tell_changes(const BatchInFlight& batch) {
    if (options_.change_log == nullptr) return {};
    const auto existed = [&](DirectoryIndex directory) {
        const DirectoryState state = directories_.state(directory);
        return state == DirectoryState::existed || state == DirectoryState::resumed;
    };
    bool any = false;
    for (const BatchInFlight::HiddenTop& top : batch.hidden) {
        if (!existed(top.parent)) continue;
        tell_entries(top.parent);
        options_.change_log->will_create(directories_.target_path(top.parent, top.name),
                                         directories_.source_path(top.directory));
        any = true;
    }
    for (std::uint32_t i = 0; i < batch.states.size(); ++i) {
        const ObjectState& state = batch.states[i];
        const bool is_coming = state.is_made || state.is_link;
        if (!is_coming || state.has_failed || state.is_done || state.is_hidden) continue;
        const PlanObject& object = batch.plan->objects[i];
        if (!existed(object.parent)) continue;
        any |= tell_entries(object.parent);
        if (state.action == Action::replace) continue;
        options_.change_log->will_create(
            directories_.target_path(object.parent, landing_name(batch, i)),
            path_of(*batch.plan, object));
        any = true;
    }
    for (const LeaveDirectory& one : batch.plan->leaves) {
        if (directories_.state(one.directory) != DirectoryState::existed ||
            leaving_of(one, *batch.plan) != Leaving::altered)
            continue;
        options_.change_log->will_alter(directories_.target_path(one.directory));
        any = true;
    }
    return any ? options_.change_log->sync() : Result<>();
}

// Without it a crash of the machine could leave a name on a file whose bytes never reached the
// disk. One syncfs for the batch costs a fraction of an fsync for each of its files.
Result<> BatchWriter::sync_batch(const BatchInFlight& batch) {
    std::map<dev_t, DirectoryIndex> devices;
    for (std::uint32_t i = 0; i < batch.states.size(); ++i) {
        const ObjectState& state = batch.states[i];
        if (!state.is_made || state.has_failed) continue;
        const PlanObject& object = batch.plan->objects[i];
        if (batch.sync_each && object.type == NodeType::file) continue;
        if (object.type != NodeType::file)
            continue;  // nothing but the inode; finish() makes it durable
        devices.try_emplace(directories_.device(object.parent), object.parent);
    }
    for (const auto& [device, directory] : devices) TRY(sync_file_system(directory));
    return {};
}

Result<> BatchWriter::sync_file_system(DirectoryIndex directory) {
    const SharedFd at = TRY(directories_.open(directory));
    UniqueFd fd(::openat(at->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "open the target to sync it");
    if (::syncfs(fd.get()) != 0) return Error::from_errno(errno, "sync the target");
    return {};
}

Result<> BatchWriter::put_in_place(BatchInFlight& batch, std::uint32_t index) {
    if (failpoint("restore.place")) return Error(ErrorKind::io, "failpoint restore.place");
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    const std::string name = landing_name(batch, index);
    if (state.is_hidden && !state.is_link) {
        // It has its name, and appeared with its directory.
        state.temp_name.clear();
        if (directories_.state(object.parent) == DirectoryState::failed)
            return Error(ErrorKind::conflict, "its directory could not be made");
        note_in_place(batch, index);
        return {};
    }
    const SharedFd directory = TRY(directories_.open(object.parent));
    int rc = 0;
    if (state.action == Action::replace) {
        if (!TRY(is_still_planned(batch, index, directory->get(), name))) return {};
        rc = ::renameat(directory->get(), state.temp_name.c_str(), directory->get(), name.c_str());
        if (rc != 0 && errno == EISDIR)
            rc = rename_over_directory(directory->get(), state.temp_name.c_str(), name.c_str());
    } else {
        rc = rename_without_replacing(directory->get(), state.temp_name.c_str(), name.c_str());
    }
    if (rc != 0) {
        const int error_number = errno;
        discard_temp(batch, index);
        if (error_number == EEXIST)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "something else appeared there during the restore");
        return Error::from_errno(error_number, "rename");
    }
    state.temp_name.clear();
    note_in_place(batch, index);
    return {};
}

// Looked at once more, right before it would be too late.
Result<bool> BatchWriter::is_still_planned(BatchInFlight& batch, std::uint32_t index,
                                           int directory_fd, const std::string& name) {
    if (options_.planned == nullptr) return true;
    struct stat status {};
    if (::fstatat(directory_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return true;  // gone meanwhile: nothing is lost
        return Error::from_errno(errno, "look at what is to be replaced");
    }
    const std::string path = directories_.target_path(batch.plan->objects[index].parent, name);
    if (const char* why = why_left_alone(directory_fd, name, path, status)) {
        set_aside(batch, index, why);
        return false;
    }
    return true;
}

void BatchWriter::note_in_place(const BatchInFlight& batch, std::uint32_t index) {
    const PlanObject& object = batch.plan->objects[index];
    touch(object.parent);
    if (!batch.states[index].is_group_head) return;
    GroupHead head = group_head(object.link_group);
    head.state = GroupHead::State::present;
    head.inode = batch.states[index].inode;
    set_group_head(object.link_group, std::move(head));
}

Result<> BatchWriter::link_in_place(BatchInFlight& batch, std::uint32_t index) {
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    const GroupHead head = group_head(object.link_group);
    if (head.state != GroupHead::State::present)
        return Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                     "a hard link to a file that could not be restored");
    const SharedFd from = TRY(directories_.open(head.directory));
    const SharedFd to = TRY(directories_.open(object.parent));
    // Only to what we made or found: not to what somebody may have put in its place.
    struct stat status {};
    if (::fstatat(from->get(), head.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        (head.inode != 0 && status.st_ino != head.inode))
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "the file to link to was replaced during the restore");
    const std::string name = landing_name(batch, index);
    int rc = 0;
    if (state.action != Action::replace) {
        rc = ::linkat(from->get(), head.name.c_str(), to->get(), name.c_str(), 0);
    } else {
        state.temp_name = next_temp_name();
        rc = ::linkat(from->get(), head.name.c_str(), to->get(), state.temp_name.c_str(), 0);
        if (rc == 0) return put_in_place(batch, index);
        state.temp_name.clear();
    }
    if (rc != 0) return Error::from_errno(errno, "make the hard link");
    touch(object.parent);
    return {};
}

Result<> BatchWriter::set_metadata_in_place(BatchInFlight& batch, std::uint32_t index) {
    const PlanObject& object = batch.plan->objects[index];
    const SharedFd directory = TRY(directories_.open(object.parent));
    const std::string name = landing_name(batch, index);
    const int flags = object.type == NodeType::file ? O_RDONLY | O_NONBLOCK : O_PATH;
    UniqueFd fd(::openat(directory->get(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "open to set metadata");
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0 || status.st_ino != batch.states[index].inode)
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "it was replaced during the restore");
    if (!TRY(is_still_planned(batch, index, directory->get(), name))) return {};
    set_metadata(
        fd.get(), object.type, object.metadata, *batch.plan,
        [&] { return path_of(*batch.plan, object); }, metadata_problems_);
    touch(object.parent);
    return {};
}

void BatchWriter::touch(DirectoryIndex directory) {
    const dev_t device = directories_.device(directory);
    std::lock_guard lock(mutex_);
    touched_devices_.try_emplace(device, directory);
    if (touched_.size() <= kFewDirectories) touched_.insert(directory);
}

Result<> BatchWriter::finish() {
    metadata_problems_.report();
    if (options_.dry_run) return {};
    remove_unused_leftovers();
    std::lock_guard lock(mutex_);
    if (touched_.size() > kFewDirectories) {
        for (const auto& [device, directory] : touched_devices_) TRY(sync_file_system(directory));
        return {};
    }
    for (DirectoryIndex directory : touched_) {
        const SharedFd at = TRY(directories_.open(directory));
        UniqueFd fd(::openat(at->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        // A directory that may be written but not read cannot be synced by itself.
        if (!fd) continue;
        if (::fsync(fd.get()) != 0 && !is_unsupported(errno))
            return Error::from_errno(errno, "sync a directory of the target");
    }
    return {};
}

}  // namespace backup
