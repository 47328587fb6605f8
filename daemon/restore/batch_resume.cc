// Going on where a run that was cut off had come to. What it left under temporary names says by the
// name what it was to become; it is taken up only if nobody else can have changed it, and every
// blob in it is checked before it counts.
#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/restore/batch_writer.h"
#include "daemon/restore/parallel.h"
#include "daemon/restore/temp_name.h"

namespace backup {

namespace {

bool read_at(int fd, std::uint64_t offset, Bytes& into) {
    std::size_t filled = 0;
    while (filled < into.size()) {
        const ssize_t got = ::pread(fd, into.data() + filled, into.size() - filled,
                                    static_cast<off_t>(offset + filled));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        filled += static_cast<std::size_t>(got);
    }
    return true;
}

bool is_hole(int fd, std::uint64_t offset, std::uint64_t length) {
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0) return errno == ENXIO;
    return static_cast<std::uint64_t>(data) >= offset + length;
}

}  // namespace

// Once per directory that was there before.
void BatchWriter::look_for_leftovers(DirectoryIndex directory, int directory_fd) {
    if (options_.dry_run || !directories_.claim_cleaning(directory)) return;
    remove_leftovers(directory_fd, true);
    for (std::string& name : resumable_leftovers(directory_fd)) {
        const std::uint64_t content = content_of_temp_name(name).value_or(0);
        std::lock_guard lock(mutex_);
        leftovers_.emplace(std::pair(directory, content), std::move(name));
    }
}

std::string BatchWriter::take_leftover(DirectoryIndex directory, std::uint64_t content) {
    std::lock_guard lock(mutex_);
    const auto found = leftovers_.find({directory, content});
    if (found == leftovers_.end()) return {};
    std::string name = std::move(found->second);
    leftovers_.erase(found);
    return name;
}

// True: it is there under `making`, with what an earlier run had made in it.
bool BatchWriter::adopt_directory(const EnterDirectory& enter, BatchInFlight& batch, int above_fd,
                                  const std::string& making, bool is_top) {
    std::string name = making;
    if (is_top) {
        if (enter.content == 0) return false;
        name = take_leftover(enter.parent, enter.content);
        if (name.empty()) return false;
    } else if (!directories_.is_adopted(enter.parent) || enter.content == 0) {
        return false;
    }
    struct stat status {};
    if (::fstatat(above_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
    // With this mode nobody but us could do anything in it.
    const bool is_ours =
        S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() && (status.st_mode & 077) == 0;
    if (is_ours && (name == making || ::renameat2(above_fd, name.c_str(), above_fd, making.c_str(),
                                                  RENAME_NOREPLACE) == 0))
        return true;
    if (is_top)
        (void)remove_leftover(above_fd, name);
    else if (S_ISDIR(status.st_mode))
        (void)remove_tree(above_fd, name);
    else
        (void)::unlinkat(above_fd, name.c_str(), 0);
    return false;
}

// What this batch does not make must not appear with it.
Result<> BatchWriter::clear_adopted(BatchInFlight& batch) {
    std::map<DirectoryIndex, std::unordered_set<std::string>> expected;
    for (const EnterDirectory& one : batch.plan->enters) {
        if (directories_.is_adopted(one.directory)) expected.try_emplace(one.directory);
        if (directories_.is_adopted(one.parent))
            expected[one.parent].emplace(batch.plan->text(one.name));
    }
    // Only content is gone on with: everything else is made anew, and must find its name free.
    for (const PlanObject& object : batch.plan->objects)
        if (object.blob_count != 0 && directories_.is_adopted(object.parent))
            expected[object.parent].emplace(batch.plan->text(object.name));
    for (const auto& [directory, names] : expected) {
        if (!directories_.is_hidden(directory, batch.number)) continue;
        const SharedFd at = TRY(directories_.open(directory));
        UniqueFd fd(::openat(at->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!fd) return Error::from_errno(errno, "open a directory that was begun");
        std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(::dup(fd.get())), &::closedir);
        if (!list) return Error::from_errno(errno, "list a directory that was begun");
        std::vector<std::string> others;
        while (const dirent* entry = ::readdir(list.get())) {
            const std::string name = entry->d_name;
            if (name != "." && name != ".." && !names.contains(name)) others.push_back(name);
        }
        for (const std::string& name : others)
            if (::unlinkat(fd.get(), name.c_str(), 0) != 0) (void)remove_tree(fd.get(), name);
    }
    return {};
}

Result<> BatchWriter::adopt_files(BatchInFlight& batch, const std::vector<bool>& wanted,
                                  std::stop_token stop) {
    {
        std::lock_guard lock(mutex_);
        if (leftovers_.empty() && !batch.has_adopted) return {};
    }
    std::vector<std::uint32_t> candidates;
    for (std::uint32_t i = 0; i < batch.states.size(); ++i)
        if (wanted[i] && batch.plan->objects[i].blob_count != 0 && !batch.states[i].has_failed)
            candidates.push_back(i);
    // One byte each: several threads write beside each other.
    found_blobs_.assign(batch.plan->blobs.size(), 0);
    TRY(in_parallel(options_.threads, candidates.size(), std::move(stop),
                    [&](std::size_t i) { return adopt_file(batch, candidates[i]); }));
    batch.has_blob.assign(found_blobs_.begin(), found_blobs_.end());
    found_blobs_ = {};
    return {};
}

Result<> BatchWriter::adopt_file(BatchInFlight& batch, std::uint32_t index) {
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    const bool is_inside = state.is_hidden && directories_.is_adopted(object.parent);
    if (state.is_hidden && !is_inside) return {};
    std::string name = is_inside ? landing_name(batch, index)
                                 : take_leftover(object.parent, content_mark(*batch.plan, object));
    if (name.empty()) return {};
    const SharedFd directory = TRY(directories_.open(object.parent));
    struct stat status {};
    if (::fstatat(directory->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return {};
    // Below a directory that is ours alone the owner may be the right one already.
    const bool is_ours = S_ISREG(status.st_mode) && status.st_nlink == 1 &&
                         (is_inside || status.st_uid == ::geteuid());
    UniqueFd fd;
    if (is_ours && (status.st_mode & 0600) != 0600) {
        // By descriptor: the name may lead elsewhere by now.
        fd.reset(::openat(directory->get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
        struct stat named {};
        if (fd && ::fstat(fd.get(), &named) == 0 && named.st_ino == status.st_ino &&
            named.st_dev == status.st_dev)
            (void)::chmod(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), 0600);
    }
    fd.reset();
    if (is_ours)
        fd.reset(
            ::openat(directory->get(), name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat opened {};
    if (!fd || ::fstat(fd.get(), &opened) != 0 || opened.st_ino != status.st_ino ||
        opened.st_nlink != 1) {
        (void)::unlinkat(directory->get(), name.c_str(), 0);
        return {};
    }
    if (!is_inside) {
        const std::string ours = making_name(batch, index);
        if (::renameat2(directory->get(), name.c_str(), directory->get(), ours.c_str(),
                        RENAME_NOREPLACE) != 0)
            return {};
        name = ours;
    }
    state.temp_name = name;
    const auto start_anew = [&] {
        (void)::unlinkat(directory->get(), name.c_str(), 0);
        state.temp_name.clear();
        std::fill(found_blobs_.begin() + object.first_blob,
                  found_blobs_.begin() + object.first_blob + object.blob_count, 0);
        return Result<>();
    };
    if (static_cast<std::uint64_t>(opened.st_size) > object.size &&
        ::ftruncate(fd.get(), static_cast<off_t>(object.size)) != 0)
        return start_anew();
    Bytes buffer;
    std::uint64_t offset = 0;
    for (std::uint32_t blob = object.first_blob; blob < object.first_blob + object.blob_count;
         ++blob) {
        if (options_.stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        const auto location = blobs_.locate({BlobType::data, batch.plan->blobs[blob]});
        if (!location) return {};  // told when the content is planned
        const std::uint64_t length = location->plain_length();
        if (!is_hole(fd.get(), offset, length)) {
            buffer.resize(length);
            if (read_at(fd.get(), offset, buffer) && blob_id(buffer) == batch.plan->blobs[blob]) {
                found_blobs_[blob] = 1;
                counts_.bytes_resumed.fetch_add(length, std::memory_order_relaxed);
                progress_.bytes_done.fetch_add(length, std::memory_order_relaxed);
            } else if (::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
                // Zeros are not written: there must be none of the old bytes below them.
                return start_anew();
            }
        }
        offset += length;
    }
    return {};
}

Result<> BatchWriter::drop_unmade(const BatchInFlight& batch) {
    if (!batch.has_adopted || options_.dry_run) return {};
    for (std::uint32_t i = 0; i < batch.states.size(); ++i) {
        const ObjectState& state = batch.states[i];
        const PlanObject& object = batch.plan->objects[i];
        if (!state.is_hidden || state.is_made || !directories_.is_adopted(object.parent)) continue;
        const SharedFd directory = TRY(directories_.open(object.parent));
        if (::unlinkat(directory->get(), landing_name(batch, i).c_str(), 0) != 0 && errno != ENOENT)
            return Error::from_errno(errno, "remove what an earlier restore left");
    }
    return {};
}

// What was left of other things than those that were restored now.
void BatchWriter::remove_unused_leftovers() {
    std::multimap<std::pair<DirectoryIndex, std::uint64_t>, std::string> left;
    {
        std::lock_guard lock(mutex_);
        left.swap(leftovers_);
    }
    for (const auto& [key, name] : left)
        if (Result<SharedFd> at = directories_.open(key.first); at.ok())
            (void)remove_leftover((*at)->get(), name);
}

}  // namespace backup
