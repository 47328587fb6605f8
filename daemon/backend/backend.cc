#include "daemon/backend/backend.h"

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

}  // namespace backup
