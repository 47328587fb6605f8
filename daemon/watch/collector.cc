#include "daemon/watch/collector.h"

#include <utility>

namespace backup {

Collector::Directory& Collector::directory_of(std::string_view handle) {
    if (last_ != nullptr && last_handle_ == handle) return *last_;
    auto found = names_.find(handle);
    if (found == names_.end()) {
        found = names_.emplace(handle, Directory{}).first;
        grow();
        if (names_.empty()) found = names_.emplace(handle, Directory{}).first;
    }
    // References into the map stay when it grows.
    last_ = &found->second;
    last_handle_.assign(handle);
    return *last_;
}

void Collector::name(std::string_view directory, std::string_view name, const Seen& seen) {
    Directory& entry = directory_of(directory);
    if (entry.relist) {
        if (!seen.object.empty()) insert(objects_, seen.object);
        return;
    }
    const auto found = entry.names.find(name);
    if (found != entry.names.end()) {
        // Something was done to its bytes after the close: not closed any more.
        if (seen.content) found->second.closed = seen.closed;
        found->second.closed |= seen.closed;
        found->second.content |= seen.content;
        if (found->second.object != seen.object && !seen.object.empty()) {
            // Another file has the name now; the one before may have others.
            if (!found->second.object.empty()) insert(objects_, found->second.object);
            found->second.object = seen.object;
        }
        return;
    }
    if (entry.names.size() >= most_names_) {
        forget_names(entry);
        if (!seen.object.empty()) insert(objects_, seen.object);
        return;
    }
    entry.names.emplace(name, seen);
    grow();
}

void Collector::move(WatchBatch::DirectoryMove move) {
    moves_.push_back(std::move(move));
    grow();
}

void Collector::relist(std::string_view directory) {
    forget_names(directory_of(directory));
}

// Listing the directory shows its own names; the other names of files that changed are not among
// them.
void Collector::forget_names(Directory& entry) {
    entries_ -= entry.names.size();
    TextMap<Seen> names = std::exchange(entry.names, {});
    entry.relist = true;
    for (const auto& [name, seen] : names)
        if (!seen.object.empty()) insert(objects_, seen.object);
}

void Collector::insert(Handles& set, std::string_view handle) {
    if (set.find(handle) != set.end()) return;
    set.emplace(handle);
    grow();
}

void Collector::lose(std::string_view reason) {
    if (lost_.empty()) lost_ = reason;
}

void Collector::grow() {
    if (++entries_ <= most_entries_) return;
    names_.clear();
    last_ = nullptr;
    moves_.clear();
    directories_.clear();
    objects_.clear();
    entries_ = 0;
    lose("more changes than fit into memory waited to be taken");
}

bool Collector::empty() const {
    return names_.empty() && moves_.empty() && directories_.empty() && objects_.empty() &&
           lost_.empty() && !gone_;
}

void Collector::swap(Collector& empty) {
    std::swap(*this, empty);
    gone_ = empty.gone_;
}

WatchBatch Collector::take() {
    WatchBatch batch;
    std::size_t count = 0;
    for (const auto& [handle, entry] : names_) count += entry.names.size();
    batch.names.reserve(count);
    for (auto& [handle, entry] : names_) {
        if (entry.relist) batch.relist.push_back(handle);
        while (!entry.names.empty()) {
            auto node = entry.names.extract(entry.names.begin());
            batch.names.push_back({handle, std::move(node.key()), node.mapped().content,
                                   node.mapped().closed, std::move(node.mapped().object)});
        }
    }
    names_.clear();
    last_ = nullptr;
    batch.moves = std::exchange(moves_, {});
    batch.directories.assign(directories_.begin(), directories_.end());
    batch.objects.assign(objects_.begin(), objects_.end());
    directories_.clear();
    objects_.clear();
    batch.lost = std::exchange(lost_, {});
    batch.gone = gone_;
    batch.records = std::exchange(records_, 0);
    entries_ = 0;
    return batch;
}

}  // namespace backup
