#include "daemon/backend/local_backend.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <memory>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/direct_io.h"
#include "daemon/backend/direct_writer.h"
#include "daemon/backend/layout.h"
#include "daemon/runtime/fence.h"

namespace backup {

namespace {

// What our temporary names look like behind the final name: not 64 digits, so every reader of the
// format skips them; not what others use, so that we never take theirs for ours.
constexpr std::string_view kTemporaryMark = "-tmp-backupd-";
constexpr std::size_t kTemporaryDigits = 16;
constexpr time_t kLeftoverAge = 24 * 60 * 60;
constexpr unsigned kConnections = 4;  // enough for a local disk: more in flight only makes it seek
// From here on it pays to tell the kernel at once how much will be read.
constexpr std::uint64_t kReadAheadFrom = std::uint64_t{1} << 20;

std::string temporary_name(const std::string& final_name) {
    std::array<std::uint8_t, kTemporaryDigits / 2> random{};
    // Only a name: after the system call fails, O_EXCL still keeps us from harm.
    [[maybe_unused]] ssize_t got = getrandom(random.data(), random.size(), 0);
    return final_name + std::string(kTemporaryMark) + to_hex(random);
}

bool is_temporary_name(std::string_view name) {
    std::size_t at = name.find(kTemporaryMark);
    if (at == std::string_view::npos) return false;
    std::string_view target = name.substr(0, at), digits = name.substr(at + kTemporaryMark.size());
    std::array<std::uint8_t, kTemporaryDigits / 2> ignored{};
    return (target == "config" || layout_id(target)) && from_hex(digits, ignored);
}

struct CloseDirectory {
    void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// Calls `each` for every name but "." and "..". 0, or the errno of what failed.
int each_name(const std::string& path,
              const std::function<void(const dirent&, int directory_fd)>& each) {
    Directory directory(opendir(path.c_str()));
    if (!directory) return errno;
    while (true) {
        errno = 0;
        const dirent* entry = readdir(directory.get());
        if (entry == nullptr) return errno;
        std::string_view name = entry->d_name;
        if (name != "." && name != "..") each(*entry, dirfd(directory.get()));
    }
}

// Durable names. Some file systems cannot sync a directory, and say so.
Result<> sync_directory(const std::string& path) {
    UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return Error::from_errno(errno, "open " + printable(path));
    if (fsync(directory.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
        return Error::from_errno(errno, "sync " + printable(path));
    return {};
}

// Removes a temporary file unless it was renamed away.
class TemporaryFile {
  public:
    explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        if (!path_.empty()) unlink(path_.c_str());
    }
    const std::string& path() const { return path_; }
    void keep() { path_.clear(); }

  private:
    std::string path_;
};

std::string two_digits(unsigned value) {
    auto byte = static_cast<std::uint8_t>(value);
    return to_hex(ByteView(&byte, 1));
}

}  // namespace

LocalBackend::LocalBackend(Path root) : root_(std::move(root)) {}

BackendProperties LocalBackend::properties() const {
    return {.connections = kConnections, .consistent_listing = true, .url = root_.text()};
}

LocalBackend::Place LocalBackend::place_of(const Handle& handle) const {
    std::string file = root_.text() + "/" + layout_path(handle);
    std::string directory = file.substr(0, file.rfind('/'));
    return {std::move(directory), std::move(file)};
}

bool LocalBackend::is_group_readable() {
    int known = group_readable_.load();
    if (known >= 0) return known == 1;
    struct stat info {};
    if (::stat((root_.text() + "/config").c_str(), &info) != 0)
        return false;  // asked again next time
    bool readable = (info.st_mode & S_IRGRP) != 0;
    group_readable_ = readable ? 1 : 0;
    return readable;
}

Result<> LocalBackend::put(const Handle& handle, ByteView content) {
    return store(handle, content, nullptr);
}

Result<> LocalBackend::put_paced(const Handle& handle, ByteView content, Pace& pace) {
    return store(handle, content, &pace);
}

Result<> LocalBackend::store(const Handle& handle, ByteView content, Pace* pace) {
    std::call_once(leftovers_removed_, [this] { remove_leftovers(); });
    Place place = place_of(handle);
    if (TRY(is_stored(handle, place, content))) return sync_directory(place.directory);

    TemporaryFile temporary(temporary_name(place.file));
    UniqueFd file = TRY(create_temporary(handle, place, temporary.path()));
    TRY(write_temporary(handle, std::move(file), content, pace));
    auto published = publish(handle, temporary.path(), place.file);
    if (published.ok()) {
        temporary.keep();
    } else if (published.error().os_error() == EEXIST) {
        // Somebody else was faster; whether it is the same file is asked again.
        if (!TRY(is_stored(handle, place, content))) return std::move(published).error();
    } else {
        return std::move(published).error();
    }
    // The name of a lock need not outlive a power cut: whoever holds it does not either.
    if (handle.type == FileType::lock) return {};
    return sync_directory(place.directory);
}

Result<bool> LocalBackend::is_stored(const Handle& handle, const Place& place, ByteView content) {
    struct stat info {};
    if (lstat(place.file.c_str(), &info) != 0) {
        if (errno == ENOENT) return false;
        return Error::from_errno(errno,
                                 "store " + handle.text() + " in " + printable(root_.text()));
    }
    bool is_same =
        S_ISREG(info.st_mode) && static_cast<std::uint64_t>(info.st_size) == content.size();
    if (is_same && handle.type == FileType::config) {
        // The one file that is not named by its content.
        Bytes stored = TRY(get(handle));
        is_same = std::equal(stored.begin(), stored.end(), content.begin(), content.end());
    }
    if (!is_same) return Error(ErrorKind::conflict, handle.text() + " exists with other content");
    return true;
}

Result<UniqueFd> LocalBackend::create_temporary(const Handle& handle, const Place& place,
                                                const std::string& name) {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    UniqueFd file(open(name.c_str(), kFlags, 0600));
    if (!file && errno == ENOENT) {
        TRY(make_directory_for(handle, place));
        file.reset(open(name.c_str(), kFlags, 0600));
    }
    if (!file)
        return explain_fence(
            Error::from_errno(errno, "store " + handle.text() + " in " + printable(root_.text())),
            root_.text());
    return file;
}

Result<> LocalBackend::write_temporary(const Handle& handle, UniqueFd file, ByteView content,
                                       Pace* pace) {
    std::string what = "store " + handle.text() + " in " + printable(root_.text());
    // Space is claimed before the writing; file systems that cannot do so fail at the write.
    if (!content.empty() && fallocate(file.get(), 0, 0, static_cast<off_t>(content.size())) != 0 &&
        (errno == ENOSPC || errno == EDQUOT))
        return Error::from_errno(errno, what);
    std::optional<Paced> paced;
    if (pace != nullptr) paced.emplace(Paced{*pace, stride_});
    if (int problem = write_direct(file.get(), content, handle.type == FileType::pack,
                                   paced ? &*paced : nullptr)) {
        if (problem == ECANCELED) return Error(ErrorKind::cancelled, ErrorCode::paused, what);
        return Error::from_errno(problem, what);
    }
    // Read-only from the start: nothing in a repository is ever written to again. Not all file
    // systems have modes.
    if (fchmod(file.get(), is_group_readable() ? 0440 : 0400) != 0 && errno != EPERM &&
        errno != ENOTSUP)
        return Error::from_errno(errno, what);
    if (fsync(file.get()) != 0 && errno != ENOTSUP) return Error::from_errno(errno, what);
    if (::close(file.release()) != 0) return Error::from_errno(errno, what);
    return {};
}

Result<> LocalBackend::publish(const Handle& handle, const std::string& from,
                               const std::string& to) {
    auto failed = [&] {
        return Error::from_errno(errno,
                                 "store " + handle.text() + " in " + printable(root_.text()));
    };
    if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
    if (errno != EINVAL && errno != ENOSYS) return failed();
    // A file system without that flag: a hard link does not replace either.
    if (link(from.c_str(), to.c_str()) == 0) {
        unlink(from.c_str());
        return {};
    }
    if (errno != EPERM && errno != ENOTSUP && errno != EMLINK && errno != ENOSYS) return failed();
    // Nor hard links. What can be lost between the check and the rename is a file with the same
    // content.
    struct stat info {};
    if (lstat(to.c_str(), &info) == 0) {
        errno = EEXIST;
        return failed();
    }
    if (rename(from.c_str(), to.c_str()) != 0) return failed();
    return {};
}

Result<> LocalBackend::make_directory(const std::string& path, bool* made) {
    bool group = is_group_readable();
    if (made != nullptr) *made = false;
    if (mkdir(path.c_str(), 0700) == 0) {
        if (made != nullptr) *made = true;
        if (group && chmod(path.c_str(), 0770) != 0 && errno != EPERM && errno != ENOTSUP)
            return Error::from_errno(errno, "set the mode of " + printable(path));
        return {};
    }
    int problem = errno;
    struct stat info {};
    if (problem == EEXIST && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
    return explain_fence(Error::from_errno(problem, "make " + printable(path)), root_.text());
}

Result<> LocalBackend::make_directory_for(const Handle& handle, const Place& place) {
    struct stat info {};
    if (::stat((root_.text() + "/config").c_str(), &info) != 0) {
        return Error(ErrorKind::not_found, ErrorCode::repository_unavailable,
                     "store " + handle.text() + ": no repository at " + printable(root_.text()) +
                         " (is its disk mounted?)");
    }
    if (handle.type == FileType::pack) {
        std::string data = root_.text() + "/data";
        TRY(make_directory(data));
        TRY(sync_directory(root_.text()));
        TRY(make_directory(place.directory));
        return sync_directory(data);
    }
    TRY(make_directory(place.directory));
    return sync_directory(root_.text());
}

namespace {

// Past the page cache, where a pack that is restored from or checked would only push out what the
// machine works with. Anything but `length` bytes: to be read in the ordinary way.
MutableByteView read_direct(int fd, std::uint64_t offset, std::uint64_t length, Bytes& buffer) {
    const int flags = fcntl(fd, F_GETFL);
    if (!takes_direct(fd) || flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) return {};
    const std::uint64_t lead = offset % kDirectAlignment;
    const std::uint64_t wanted = lead + length;
    buffer.clear();  // not a plain resize: that would copy what it held
    buffer.resize((wanted + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment);
    std::uint64_t done = 0;
    while (done < wanted) {
        const ssize_t got = pread(fd, buffer.data() + done, buffer.size() - done,
                                  static_cast<off_t>(offset - lead + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        done += static_cast<std::uint64_t>(got);
        if (done % kDirectAlignment != 0) break;  // the end of the file
    }
    (void)fcntl(fd, F_SETFL, flags);
    return done < wanted ? MutableByteView() : MutableByteView(buffer).subspan(lead, length);
}

}  // namespace

Result<Bytes> LocalBackend::get(const Handle& handle, ByteRange range) {
    Bytes content;
    TRY(read_range(handle, range, content, false));
    return content;
}

Result<MutableByteView> LocalBackend::read(const Handle& handle, ByteRange range, Bytes& buffer) {
    return read_range(handle, range, buffer, true);
}

Result<MutableByteView> LocalBackend::read_range(const Handle& handle, ByteRange range,
                                                 Bytes& buffer, bool may_have_lead) {
    Place place = place_of(handle);
    std::string what = "read " + handle.text() + " in " + printable(root_.text());
    UniqueFd file(open(place.file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) return Error::from_errno(errno, what);
    struct stat info {};
    if (fstat(file.get(), &info) != 0) return Error::from_errno(errno, what);
    if (!S_ISREG(info.st_mode)) return Error(ErrorKind::corrupt, what + ": not a regular file");
    if (handle.type == FileType::config) has_seen_config_ = true;

    auto size = static_cast<std::uint64_t>(info.st_size);
    bool to_end = range.length == UINT64_MAX;
    auto too_short = [&] { return Error(ErrorKind::corrupt, what + ": shorter than expected"); };
    if (range.offset > size || (!to_end && range.length > size - range.offset)) return too_short();
    std::uint64_t length = to_end ? size - range.offset : range.length;
    if (may_have_lead && length >= kReadAheadFrom)
        if (const MutableByteView content = read_direct(file.get(), range.offset, length, buffer);
            content.size() == length)
            return content;
    // Otherwise the kernel reads ahead in small steps, each begun when the last one is done.
    if (length >= kReadAheadFrom)
        posix_fadvise(file.get(), static_cast<off_t>(range.offset), static_cast<off_t>(length),
                      POSIX_FADV_WILLNEED);
    buffer.clear();  // not a plain resize: that would copy what it held
    buffer.resize(length);
    for (std::uint64_t done = 0; done < length;) {
        ssize_t got = pread(file.get(), buffer.data() + done, length - done,
                            static_cast<off_t>(range.offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return Error::from_errno(errno, what);
        if (got == 0) return too_short();
        done += static_cast<std::uint64_t>(got);
    }
    return MutableByteView(buffer);
}

Result<FileInfo> LocalBackend::stat(const Handle& handle) {
    struct stat info {};
    std::string what = "look at " + handle.text() + " in " + printable(root_.text());
    if (::stat(place_of(handle).file.c_str(), &info) != 0) return Error::from_errno(errno, what);
    if (!S_ISREG(info.st_mode)) return Error(ErrorKind::corrupt, what + ": not a regular file");
    if (handle.type == FileType::config) has_seen_config_ = true;
    return FileInfo{handle.id, static_cast<std::uint64_t>(info.st_size)};
}

Result<> LocalBackend::check_not_vanished() {
    struct stat info {};
    if (!has_seen_config_ || ::stat((root_.text() + "/config").c_str(), &info) == 0) return {};
    return Error(
        ErrorKind::io, ErrorCode::repository_unavailable,
        "the repository at " + printable(root_.text()) + " has vanished (is its disk mounted?)");
}

Result<> LocalBackend::list_directory(const std::string& directory, std::string_view prefix,
                                      const std::function<void(const FileInfo&)>& each) {
    int stat_problem = 0;
    int problem = each_name(directory, [&](const dirent& entry, int directory_fd) {
        std::string_view name = entry.d_name;
        if (!name.starts_with(prefix))
            return;  // a pack in a wrong place cannot be read by its name
        if (entry.d_type != DT_REG && entry.d_type != DT_UNKNOWN && entry.d_type != DT_LNK) return;
        auto id = layout_id(name);
        if (!id) return;
        struct stat info {};
        if (fstatat(directory_fd, entry.d_name, &info, 0) != 0) {
            // Removed since it was listed; everything else cuts the listing short.
            if (errno != ENOENT) stat_problem = errno;
            return;
        }
        if (S_ISREG(info.st_mode)) each({*id, static_cast<std::uint64_t>(info.st_size)});
    });
    if (problem == 0) problem = stat_problem;
    if (problem == ENOENT) return check_not_vanished();
    if (problem != 0) return Error::from_errno(problem, "list " + printable(directory));
    return {};
}

Result<> LocalBackend::list(FileType type, const std::function<void(const FileInfo&)>& each) {
    if (type == FileType::config) {
        auto info = stat({FileType::config, {}});
        if (info.ok()) each(info.value());
        if (!info.ok() && info.error().kind() != ErrorKind::not_found)
            return std::move(info).error();
        return {};
    }
    std::string directory = root_.text() + "/" + std::string(layout_directory(type));
    if (type != FileType::pack) return list_directory(directory, "", each);

    std::vector<std::string> shards;
    int problem = each_name(directory, [&](const dirent& entry, int) {
        std::uint8_t ignored = 0;
        if (from_hex(entry.d_name, MutableByteView(&ignored, 1)) && entry.d_type != DT_REG)
            shards.emplace_back(entry.d_name);
    });
    if (problem == ENOENT) return check_not_vanished();
    if (problem != 0) return Error::from_errno(problem, "list " + printable(directory));
    std::sort(shards.begin(), shards.end());
    for (const std::string& shard : shards)
        TRY(list_directory(directory + "/" + shard, shard, each));
    return {};
}

Result<> LocalBackend::remove_lock(const LockId& id) {
    return remove({FileType::lock, id_cast<FileId>(id)});
}

Result<> LocalBackend::remove(const Handle& handle) {
    if (unlink(place_of(handle).file.c_str()) == 0 || errno == ENOENT) return {};
    return explain_fence(
        Error::from_errno(errno, "remove " + handle.text() + " in " + printable(root_.text())),
        root_.text());
}

std::optional<SpaceInfo> LocalBackend::space() {
    struct statvfs info {};
    if (statvfs(root_.c_str(), &info) != 0) return std::nullopt;
    return SpaceInfo{std::uint64_t{info.f_blocks} * info.f_frsize,
                     std::uint64_t{info.f_bavail} * info.f_frsize};
}

// A repository among other files could not be told from them afterwards, nor taken away as a whole.
// What an interrupted create() left is no other file.
Result<> LocalBackend::expect_no_other_files() const {
    std::string other;
    const int problem = each_name(root_.text(), [&](const dirent& entry, int) {
        const std::string_view name = entry.d_name;
        const bool ours = name == "config" || name == "keys" || name == "locks" ||
                          name == "snapshots" || name == "index" || name == "data";
        if (!ours && name != "lost+found" && !is_temporary_name(name)) other = name;
    });
    if (problem != 0 && problem != ENOENT)
        return Error::from_errno(problem, "make a repository at " + printable(root_.text()));
    if (other.empty()) return {};
    return Error(ErrorKind::conflict, ErrorCode::conflict,
                 printable(root_.text()) + " holds other files ('" + printable(other) +
                     "'); a repository wants a directory of its own, such as " +
                     printable(root_.child("backup").text()));
}

Result<> LocalBackend::create() {
    TRY(expect_no_other_files());
    // From the top down, each name made durable in the directory above it.
    std::vector<Path> missing;
    struct stat info {};
    for (Path path = root_; ::stat(path.c_str(), &info) != 0; path = path.parent()) {
        if (errno != ENOENT) return Error::from_errno(errno, "make " + printable(root_.text()));
        missing.push_back(path);
    }
    for (auto path = missing.rbegin(); path != missing.rend(); ++path) {
        TRY(make_directory(path->text()));
        TRY(sync_directory(path->parent().text()));
    }
    for (FileType type :
         {FileType::key, FileType::lock, FileType::snapshot, FileType::index, FileType::pack})
        TRY(make_directory(root_.text() + "/" + std::string(layout_directory(type))));
    std::string data = root_.text() + "/data";
    for (unsigned shard = 0; shard < 256; ++shard)
        TRY(make_directory(data + "/" + two_digits(shard)));
    TRY(sync_directory(data));
    return sync_directory(root_.text());
}

void LocalBackend::remove_leftovers() {
    time_t now = time(nullptr);
    auto clean = [&](const std::string& directory) {
        each_name(directory, [&](const dirent& entry, int directory_fd) {
            if (!is_temporary_name(entry.d_name)) return;
            struct stat info {};
            if (fstatat(directory_fd, entry.d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) return;
            // Younger ones may be another writer's, at work right now.
            if (S_ISREG(info.st_mode) && info.st_mtime < now - kLeftoverAge)
                unlinkat(directory_fd, entry.d_name, 0);
        });
    };
    clean(root_.text());
    for (FileType type : {FileType::key, FileType::lock, FileType::snapshot, FileType::index})
        clean(root_.text() + "/" + std::string(layout_directory(type)));
    for (unsigned shard = 0; shard < 256; ++shard)
        clean(root_.text() + "/data/" + two_digits(shard));
}

}  // namespace backup
