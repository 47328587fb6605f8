#include "daemon/jobs/undo_book.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "common/path.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

constexpr std::string_view kHead = "backupd-undo 1";

std::string file_of(const std::string& folder, std::uint64_t job) {
    return folder + "/" + std::to_string(job);
}

// Any bytes but blanks, control characters and '%' stand for themselves: a line is words.
std::string word(std::string_view text) {
    static constexpr char kDigits[] = "0123456789ABCDEF";
    std::string result;
    for (char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte > 0x20 && byte != 0x7f && c != '%') {
            result += c;
        } else {
            result += '%';
            result += kDigits[byte >> 4];
            result += kDigits[byte & 15];
        }
    }
    return result.empty() ? "%" : result;
}

std::string plain(std::string_view text) {
    if (text == "%") return {};
    const auto digit = [](char c) { return c >= 'A' ? c - 'A' + 10 : c - '0'; };
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size()) {
            result += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
            i += 2;
        } else {
            result += text[i];
        }
    }
    return result;
}

std::string text_of(const timespec& time) {
    char text[48];
    std::snprintf(text, sizeof text, "%lld.%09ld", static_cast<long long>(time.tv_sec),
                  time.tv_nsec);
    return text;
}

bool parse_time(std::string_view text, timespec& time) {
    const std::size_t dot = text.rfind('.');
    if (dot == text.npos) return false;
    long long seconds = 0;
    long nanoseconds = 0;
    const auto whole = std::from_chars(text.data(), text.data() + dot, seconds);
    const auto part =
        std::from_chars(text.data() + dot + 1, text.data() + text.size(), nanoseconds);
    if (whole.ec != std::errc{} || part.ec != std::errc{}) return false;
    time = {static_cast<time_t>(seconds), nanoseconds};
    return true;
}

std::uint64_t number(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

void take_line(std::string_view line, UndoRecord& record) {
    std::vector<std::string_view> words;
    for (std::size_t at = 0; at <= line.size();) {
        const std::size_t end = std::min(line.find(' ', at), line.size());
        words.push_back(line.substr(at, end - at));
        at = end + 1;
    }
    if (words.size() < 2) return;
    const std::string_view name = words[0];
    timespec time{};
    if (name == "set") record.set = plain(words[1]);
    if (name == "repository") record.repository = plain(words[1]);
    if (name == "repository-id") record.repository_id = plain(words[1]);
    if (name == "revision") record.revision = plain(words[1]);
    if (name == "target") record.target = plain(words[1]);
    if (name == "path") record.paths.push_back(plain(words[1]));
    if (name == "on-conflict") record.on_conflict = words[1];
    if (name == "full-paths") record.full_paths = words[1] == "1";
    if (name == "verify") record.verify = words[1] == "1";
    if (name == "delete") record.delete_others = words[1] == "1";
    if (name == "all") record.all = words[1] == "1";
    if (name == "as-root") record.as_root = words[1] == "1";
    if (name == "resumes") record.resumes = number(words[1]);
    if (name == "undoes") record.undoes = number(words[1]);
    if (name == "kept") record.kept.push_back(plain(words[1]));
    if (name == "altered") record.altered.push_back(plain(words[1]));
    if (words.size() < 3) return;
    if (name == "created") record.created.push_back({plain(words[1]), plain(words[2])});
    if (name == "entries" && parse_time(words[2], time))
        record.entries.emplace(plain(words[1]), time);
    if (name == "volume") record.volumes[plain(words[1])] = plain(words[2]);
    if (name == "left" && parse_time(words[2], time)) record.left[plain(words[1])] = time;
}

}  // namespace

UndoLog::UndoLog(UniqueFd fd, std::string target)
    : fd_(std::move(fd)), target_(std::move(target)), mounts_([]() -> std::optional<MountTable> {
          auto table = MountTable::read();
          if (!table.ok()) return std::nullopt;
          return std::move(*table);
      }()) {}

Result<std::unique_ptr<UndoLog>> UndoLog::begin(const std::string& folder,
                                                const UndoRecord& request) {
    TRY(make_folders(folder));
    const std::string path = file_of(folder, request.job);
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
    if (!fd) return Error::from_errno(errno, "make " + path);
    std::unique_ptr<UndoLog> log(new UndoLog(std::move(fd), request.target));
    log->add(std::string(kHead));
    log->add("set " + word(request.set));
    log->add("repository " + word(request.repository));
    log->add("repository-id " + word(request.repository_id));
    log->add("revision " + word(request.revision));
    log->add("target " + word(request.target));
    for (const std::string& one : request.paths) log->add("path " + word(one));
    log->add("on-conflict " + request.on_conflict);
    if (request.full_paths) log->add("full-paths 1");
    if (request.verify) log->add("verify 1");
    if (request.delete_others) log->add("delete 1");
    if (request.all) log->add("all 1");
    if (request.as_root) log->add("as-root 1");
    if (request.resumes != 0) log->add("resumes " + std::to_string(request.resumes));
    if (request.undoes != 0) log->add("undoes " + std::to_string(request.undoes));
    log->note_volume_of(request.target);
    TRY(log->sync());
    UniqueFd parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent || ::fsync(parent.get()) != 0) return Error::from_errno(errno, "sync " + folder);
    return log;
}

std::string UndoLog::absolute(std::string_view path) const {
    if (target_ == "/") return std::string(path);
    return path == "/" ? target_ : target_ + std::string(path);
}

void UndoLog::add(std::string line) {
    std::lock_guard lock(mutex_);
    waiting_ += line;
    waiting_ += '\n';
}

// Told before the first change in it, as all else.
void UndoLog::note_volume_of(const std::string& path) {
    const Mount* mount = mounts_ ? mounts_->find(path) : nullptr;
    if (mount == nullptr || mount->place == "/") return;
    {
        std::lock_guard lock(mutex_);
        if (!noted_.insert(mount->place).second) return;
    }
    if (const auto id = volume_id(*mount); id.ok())
        add("volume " + word(mount->place) + " " + word(*id));
}

void UndoLog::will_create(std::string_view path, std::string_view source) {
    add("created " + word(absolute(path)) + " " + word(source));
}

void UndoLog::will_change_entries(std::string_view path, const timespec& mtime) {
    const std::string directory = absolute(path);
    note_volume_of(directory);
    add("entries " + word(directory) + " " + text_of(mtime));
}

void UndoLog::will_alter(std::string_view path) {
    const std::string directory = absolute(path);
    note_volume_of(directory);
    add("altered " + word(directory));
}

void UndoLog::left(std::string_view path, const timespec& mtime) {
    add("left " + word(absolute(path)) + " " + text_of(mtime));
}

void UndoLog::kept(const std::string& revision) {
    add("kept " + revision);
}

Result<> UndoLog::sync() {
    std::lock_guard lock(mutex_);
    if (failpoint("undo.sync")) return Error(ErrorKind::io, "failpoint undo.sync");
    std::string_view left = waiting_;
    while (!left.empty()) {
        const ssize_t wrote = ::write(fd_.get(), left.data(), left.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return Error::from_errno(errno, "write what is needed to undo the restore");
        left.remove_prefix(static_cast<std::size_t>(wrote));
    }
    waiting_.clear();
    if (::fdatasync(fd_.get()) != 0)
        return Error::from_errno(errno, "sync what is needed to undo the restore");
    return {};
}

Result<UndoRecord> read_undo(const std::string& folder, std::uint64_t job) {
    const std::string path = file_of(folder, job);
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                         &std::fclose);
    if (!file && errno == ENOENT)
        return Error(ErrorKind::not_found, ErrorCode::no_such_job,
                     "job " + std::to_string(job) +
                         " is no restore that can be taken back (they can for 30 days)");
    if (!file) return Error::from_errno(errno, "read " + path);
    UndoRecord record;
    record.job = job;
    char* line = nullptr;
    std::size_t room = 0;
    bool is_first = true, is_known = false;
    for (ssize_t got; (got = ::getline(&line, &room, file.get())) > 0; is_first = false) {
        std::string_view text(line, static_cast<std::size_t>(got));
        if (!text.ends_with('\n')) break;  // cut off: nothing was done about it yet
        text.remove_suffix(1);
        if (is_first)
            is_known = text == kHead;
        else if (is_known)
            take_line(text, record);
    }
    std::free(line);
    if (!is_known)
        return Error(ErrorKind::corrupt,
                     path + " cannot be read: was it written by a newer version?");
    return record;
}

Result<> check_volumes(const UndoRecord& record) {
    if (record.volumes.empty()) return {};
    const MountTable table = TRY(MountTable::read());
    for (const auto& [place, id] : record.volumes) {
        const Mount* now = table.find(place);
        const std::string where = printable(place);
        if (now == nullptr || now->place != place)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "the file system that was mounted at " + where +
                             " is not there: mount it first; nothing was changed");
        const auto which = volume_id(*now);
        if (which.ok() && *which != id)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "another file system than then is mounted at " + where +
                             ": mount the one that job " + std::to_string(record.job) +
                             " wrote to; nothing was changed");
    }
    return {};
}

void expire_undo(const std::string& folder, Timestamp now) {
    std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(folder.c_str()), &::closedir);
    if (!list) return;
    while (const dirent* entry = ::readdir(list.get())) {
        struct stat status {};
        if (::fstatat(::dirfd(list.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(status.st_mode))
            continue;
        if (Timestamp(std::chrono::seconds(status.st_mtim.tv_sec)) + kUndoKept < now)
            (void)::unlinkat(::dirfd(list.get()), entry->d_name, 0);
    }
}

}  // namespace backup
