#include "daemon/backend/backend.h"

#include <algorithm>

namespace backup {

const char* to_string(FileType type) {
    switch (type) {
        case FileType::config:
            return "config";
        case FileType::key:
            return "key";
        case FileType::lock:
            return "lock";
        case FileType::snapshot:
            return "snapshot";
        case FileType::index:
            return "index";
        case FileType::pack:
            return "pack";
    }
    return "unknown";
}

std::string Handle::text() const {
    std::string text = to_string(type);
    if (type != FileType::config) text += " " + id.short_hex();
    return text;
}

Result<MutableByteView> Backend::read(const Handle& handle, ByteRange range, Bytes& buffer) {
    buffer = TRY(get(handle, range));
    return MutableByteView(buffer);
}

Result<> Backend::put_paced(const Handle& handle, ByteView content, Pace& pace) {
    for (std::size_t asked = 0; asked < content.size();) {
        const std::size_t piece = std::min(pace.piece(), content.size() - asked);
        if (!pace.pass(piece))
            return Error(ErrorKind::cancelled, ErrorCode::paused, "store " + handle.text());
        asked += piece;
    }
    return put(handle, content);
}

}  // namespace backup
