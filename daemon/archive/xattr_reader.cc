#include "daemon/archive/xattr_reader.h"

#include <cerrno>
#include <cstring>

#include "common/path.h"

namespace backup {

namespace {

bool means_none(ssize_t error) {
    return error == -ENOTSUP || error == -ENODATA || error == -ENOSYS;
}

// Calls with a buffer that fits: first as it is, then with the size that was asked for. An
// attribute may grow between the two calls, so a few rounds.
template <typename Call>
ssize_t filled(Bytes& buffer, Call call) {
    ssize_t size = -ERANGE;
    if (buffer.empty()) buffer.resize(256);
    for (int round = 0; round < 5 && size == -ERANGE; ++round) {
        size = call(MutableByteView(buffer));
        if (size != -ERANGE) break;
        ssize_t wanted = call(MutableByteView());
        if (wanted < 0) return wanted;
        buffer.resize(static_cast<std::size_t>(wanted) + 64);
    }
    return size;
}

}  // namespace

template <typename List, typename Get>
std::span<const ExtendedAttribute> XattrReader::read_with(List list, Get get) {
    failures_.clear();
    ssize_t size = filled(names_, list);
    if (size <= 0) {
        if (size < 0 && !means_none(size)) failures_.push_back({"", static_cast<int>(-size)});
        return {};
    }
    std::size_t count = 0;
    for (ssize_t at = 0; at < size;) {
        const char* name = reinterpret_cast<const char*>(names_.data()) + at;
        std::size_t length = ::strnlen(name, static_cast<std::size_t>(size - at));
        at += static_cast<ssize_t>(length) + 1;
        if (length == 0 || at > size) continue;
        if (count == found_.size()) found_.emplace_back();
        ExtendedAttribute& attribute = found_[count];
        ssize_t value =
            filled(attribute.value, [&](MutableByteView buffer) { return get(name, buffer); });
        if (value < 0) {
            attribute.value.clear();
            if (!means_none(value)) failures_.push_back({name, static_cast<int>(-value)});
            continue;
        }
        attribute.value.resize(static_cast<std::size_t>(value));
        attribute.name.assign(name, length);
        if (!is_utf8(attribute.name)) failures_.push_back({attribute.name, EILSEQ});
        ++count;
    }
    return std::span(found_).first(count);
}

std::span<const ExtendedAttribute> XattrReader::read(int fd) {
    return read_with(
        [&](MutableByteView buffer) { return fs_.list_xattrs(fd, buffer); },
        [&](const char* name, MutableByteView buffer) { return fs_.get_xattr(fd, name, buffer); });
}

std::span<const ExtendedAttribute> XattrReader::read_at(int directory, const char* name,
                                                        bool follow) {
    return read_with(
        [&](MutableByteView buffer) { return fs_.list_xattrs_at(directory, name, follow, buffer); },
        [&](const char* xattr, MutableByteView buffer) {
            return fs_.get_xattr_at(directory, name, follow, xattr, buffer);
        });
}

}  // namespace backup
