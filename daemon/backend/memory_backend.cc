#include "daemon/backend/memory_backend.h"

#include <algorithm>
#include <vector>

namespace backup {

namespace {
Error read_only_error(const Handle& handle) {
    return Error(ErrorKind::denied, "store " + handle.text() + ": the storage is read-only");
}
}  // namespace

MemoryBackend::MemoryBackend(BackendProperties properties) : properties_(std::move(properties)) {}

BackendProperties MemoryBackend::properties() const {
    return properties_;
}

MemoryBackend::Key MemoryBackend::key_of(const Handle& handle) {
    return {handle.type, handle.type == FileType::config ? FileId{} : handle.id};
}

Result<> MemoryBackend::put(const Handle& handle, ByteView content) {
    auto copy = std::make_shared<const Bytes>(to_bytes(content));
    std::lock_guard lock(mutex_);
    if (read_only_) return read_only_error(handle);
    auto found = files_.find(key_of(handle));
    if (found != files_.end()) {
        bool is_same = handle.type == FileType::config ? *found->second == *copy
                                                       : found->second->size() == copy->size();
        if (is_same) return {};
        return Error(ErrorKind::conflict, handle.text() + " exists with other content");
    }
    if (content.size() > capacity_ - std::min(used_, capacity_))
        return Error(ErrorKind::no_space, ErrorCode::no_space,
                     "store " + handle.text() + ": the storage is full");
    used_ += content.size();
    files_.emplace(key_of(handle), std::move(copy));
    return {};
}

Result<Bytes> MemoryBackend::get(const Handle& handle, ByteRange range) {
    std::shared_ptr<const Bytes> file;
    {
        std::lock_guard lock(mutex_);
        auto found = files_.find(key_of(handle));
        if (found == files_.end())
            return Error(ErrorKind::not_found, handle.text() + " is missing");
        file = found->second;
    }
    bool to_end = range.length == UINT64_MAX;
    if (range.offset > file->size() || (!to_end && range.length > file->size() - range.offset))
        return Error(ErrorKind::corrupt, handle.text() + " is shorter than expected");
    std::size_t length = to_end ? file->size() - range.offset : range.length;
    return to_bytes(ByteView(*file).subspan(range.offset, length));
}

Result<FileInfo> MemoryBackend::stat(const Handle& handle) {
    std::lock_guard lock(mutex_);
    auto found = files_.find(key_of(handle));
    if (found == files_.end()) return Error(ErrorKind::not_found, handle.text() + " is missing");
    return FileInfo{handle.id, found->second->size()};
}

Result<> MemoryBackend::list(FileType type, const std::function<void(const FileInfo&)>& each) {
    std::vector<FileInfo> found;
    {
        std::lock_guard lock(mutex_);
        for (auto at = files_.lower_bound({type, FileId{}});
             at != files_.end() && at->first.first == type; ++at)
            found.push_back({at->first.second, at->second->size()});
    }
    for (const FileInfo& info : found) each(info);  // without the lock: `each` may call us
    return {};
}

Result<> MemoryBackend::remove_lock(const LockId& id) {
    return remove({FileType::lock, id_cast<FileId>(id)});
}

Result<> MemoryBackend::create() {
    std::lock_guard lock(mutex_);
    if (read_only_) return Error(ErrorKind::denied, "the storage is read-only");
    return {};
}

Result<> MemoryBackend::remove(const Handle& handle) {
    std::lock_guard lock(mutex_);
    if (read_only_) return read_only_error(handle);
    auto found = files_.find(key_of(handle));
    if (found == files_.end()) return {};
    used_ -= found->second->size();
    files_.erase(found);
    return {};
}

void MemoryBackend::set_read_only(bool read_only) {
    std::lock_guard lock(mutex_);
    read_only_ = read_only;
}

void MemoryBackend::set_capacity(std::uint64_t bytes) {
    std::lock_guard lock(mutex_);
    capacity_ = bytes;
}

MemoryBackend::Files MemoryBackend::files() const {
    std::lock_guard lock(mutex_);
    return files_;
}

void MemoryBackend::set_files(Files files) {
    std::lock_guard lock(mutex_);
    files_ = std::move(files);
    used_ = 0;
    for (const auto& [key, content] : files_) used_ += content->size();
}

void MemoryBackend::overwrite(const Handle& handle, Bytes content) {
    std::lock_guard lock(mutex_);
    auto& file = files_[key_of(handle)];
    if (file) used_ -= file->size();
    used_ += content.size();
    file = std::make_shared<const Bytes>(std::move(content));
}

}  // namespace backup
