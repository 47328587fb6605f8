#include "daemon/backend/layout.h"

namespace backup {

std::string_view layout_directory(FileType type) {
    switch (type) {
        case FileType::config:
            return "";
        case FileType::key:
            return "keys";
        case FileType::lock:
            return "locks";
        case FileType::snapshot:
            return "snapshots";
        case FileType::index:
            return "index";
        case FileType::pack:
            return "data";
    }
    return "";
}

std::string layout_path(const Handle& handle) {
    if (handle.type == FileType::config) return "config";
    std::string name = handle.id.hex();
    std::string path(layout_directory(handle.type));
    path += '/';
    if (handle.type == FileType::pack) path += name.substr(0, 2) + '/';
    return path + name;
}

std::optional<FileId> layout_id(std::string_view file_name) {
    return FileId::from_hex(file_name);
}

}  // namespace backup
