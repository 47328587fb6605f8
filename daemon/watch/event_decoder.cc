#include "daemon/watch/event_decoder.h"

#include <cstring>
#include <type_traits>

#include <linux/fanotify.h>
#include <sys/inotify.h>

namespace backup {

namespace {

constexpr std::size_t kMostHandleBytes = 128;  // MAX_HANDLE_SZ
constexpr std::size_t kMostName = 255;

// Copies: records need not be aligned.
template <typename T>
bool load(ByteView from, T& into) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (from.size() < sizeof(T)) return false;
    std::memcpy(&into, from.data(), sizeof(T));
    return true;
}

bool is_component(std::string_view name) {
    return !name.empty() && name.size() <= kMostName && name != ".." &&
           name.find('/') == std::string_view::npos;
}

// An info part with a handle:
//   header 4 | fsid 8 | handle_bytes 4 | handle_type 4 | handle | name, NUL, padding
bool read_handle(ByteView part, HandleView& handle, std::string_view& name, bool with_name) {
    constexpr std::size_t kBefore = sizeof(fanotify_event_info_header) + 8;
    std::uint32_t length = 0;
    std::int32_t type = 0;
    if (part.size() < kBefore || !load(part.subspan(kBefore), length) ||
        part.size() < kBefore + 8 || !load(part.subspan(kBefore + 4), type))
        return false;
    const ByteView rest = part.subspan(kBefore + 8);
    if (length == 0 || length > kMostHandleBytes || length > rest.size()) return false;
    // 0 is what the kernel writes where it could not make a handle, 255 its word for invalid.
    if (type <= 0 || type >= 255) return false;
    handle.type = static_cast<std::uint8_t>(type);
    handle.bytes = as_text(rest.first(length));
    if (!with_name) return true;
    const std::string_view text = as_text(rest.subspan(length));
    const auto end = text.find('\0');
    if (end == std::string_view::npos) return false;
    name = text.substr(0, end);
    return is_component(name);
}

bool read_info(ByteView part, std::uint8_t type, FanotifyRecord& record) {
    std::string_view none;
    switch (type) {
        case FAN_EVENT_INFO_TYPE_FID:
            return read_handle(part, record.object, none, false);
        case FAN_EVENT_INFO_TYPE_DFID_NAME:
            return read_handle(part, record.directory, record.name, true);
        case FAN_EVENT_INFO_TYPE_DFID:
            return read_handle(part, record.directory, none, false);
        case FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
            return read_handle(part, record.old_directory, record.old_name, true);
        case FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
            return read_handle(part, record.new_directory, record.new_name, true);
        default:  // a kernel newer than we
            return true;
    }
}

// Does the record say what its mask promises?
bool is_complete(const FanotifyRecord& record) {
    constexpr std::uint64_t kEntry = FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO;
    constexpr std::uint64_t kObject = FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB;
    if ((record.mask & (kEntry | kObject | FAN_RENAME)) == 0) return false;
    if ((record.mask & FAN_RENAME) != 0) {
        if (record.old_directory.empty() || record.new_directory.empty()) return false;
        if (record.old_name == "." || record.new_name == ".") return false;
    }
    if ((record.mask & kEntry) != 0 &&
        (record.directory.empty() || record.is_about_directory_itself()))
        return false;
    if ((record.mask & kObject) != 0 && record.directory.empty() && record.object.empty() &&
        record.new_directory.empty())
        return false;
    return true;
}

}  // namespace

bool FanotifyDecoder::next(FanotifyRecord& record) {
    if (rest_.empty()) return false;
    record = {};
    fanotify_event_metadata head{};
    if (!load(rest_, head) || head.vers != FANOTIFY_METADATA_VERSION ||
        head.event_len < sizeof(head) || head.event_len > rest_.size() ||
        head.metadata_len < sizeof(head) || head.metadata_len > head.event_len) {
        record.is_unusable = true;
        rest_ = {};
        return true;
    }
    record.mask = head.mask;
    record.pid = head.pid;
    ByteView parts = rest_.subspan(head.metadata_len, head.event_len - head.metadata_len);
    rest_ = rest_.subspan(head.event_len);
    if ((head.mask & FAN_Q_OVERFLOW) != 0) {
        record.is_overflow = true;
        return true;
    }
    while (!parts.empty()) {
        fanotify_event_info_header info{};
        if (!load(parts, info) || info.len < sizeof(info) || info.len > parts.size() ||
            !read_info(parts.first(info.len), info.info_type, record)) {
            record.is_unusable = true;
            return true;
        }
        parts = parts.subspan(info.len);
    }
    record.is_unusable = !is_complete(record);
    return true;
}

bool InotifyDecoder::next(InotifyRecord& record) {
    if (rest_.empty()) return false;
    record = {};
    inotify_event head{};
    if (!load(rest_, head) || head.len > rest_.size() - sizeof(head)) {
        record.is_unusable = true;
        rest_ = {};
        return true;
    }
    record.watch = head.wd;
    record.mask = head.mask;
    record.cookie = head.cookie;
    const std::string_view padded = as_text(rest_.subspan(sizeof(head), head.len));
    rest_ = rest_.subspan(sizeof(head) + head.len);
    record.is_overflow = (head.mask & IN_Q_OVERFLOW) != 0;
    if (record.is_overflow) return true;
    record.name = padded.substr(0, padded.find('\0'));
    constexpr std::uint32_t kEntry = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;
    if (!record.name.empty() && (!is_component(record.name) || record.name == "."))
        record.is_unusable = true;
    if (record.name.empty() && (head.mask & kEntry) != 0) record.is_unusable = true;
    if (head.wd < 0) record.is_unusable = true;
    return true;
}

}  // namespace backup
