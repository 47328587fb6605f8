#include "daemon/queue/queue_state.h"

#include <algorithm>
#include <cassert>

namespace backup::queue {

namespace {

RecordKind kind_of(Whole which) {
    switch (which) {
        case Whole::itself:
            return RecordKind::itself;
        case Whole::listing:
            return RecordKind::listing;
        case Whole::subtree:
            return RecordKind::subtree;
    }
    return RecordKind::subtree;
}

// Of a node of an unordered_map: two words, the pair, and the allocator's own.
template <typename Pair>
constexpr std::size_t kNodeBytes = (sizeof(Pair) + 2 * sizeof(void*) + 8 + 15) / 16 * 16;

std::size_t heap_bytes(const std::string& text) {
    return text.capacity() > 15 ? text.capacity() + 1 : 0;
}

}  // namespace

QueueState::Volume& QueueState::volume(const VolumeId& id) {
    auto found = books_.find(id);
    if (found != books_.end()) return found->second;
    std::unordered_set<std::uint16_t> used;
    for (const auto& [other, book] : books_) used.insert(book.number);
    std::uint16_t number = 0;
    while (used.count(number) != 0) ++number;
    is_header_fresh_ = true;
    return books_.emplace(id, Volume{marks_[id], number, false, false, false, {}, {}, {}})
        .first->second;
}

QueueState::Volume* QueueState::find_volume(const VolumeId& id) {
    auto found = books_.find(id);
    return found == books_.end() ? nullptr : &found->second;
}

std::vector<QueueState::Volume*> QueueState::all_volumes() {
    std::vector<Volume*> all;
    for (auto& [id, volume] : books_) all.push_back(&volume);
    return all;
}

void QueueState::apply(Mark& mark, const Touch& touch) {
    if (mark.generation == 0) {
        ++count_;
        mark.first_seen = touch.now;
        if (is_oldest_known_) oldest_ = oldest_ ? std::min(*oldest_, touch.now) : touch.now;
    }
    mark.generation = touch.generation;
    if (touch.content) mark.content = 1;
    if (touch.must_read) mark.must_read = 1;
    if (touch.deep) mark.deep = 1;
    mark.is_fresh = 1;
    newest_ = touch.now;
    is_header_fresh_ = true;
}

void QueueState::touch_name(Volume& volume, const ObjectHandle& directory, std::string_view name,
                            const Touch& touch) {
    apply(volume.marks.directories[directory].names.at(name), touch);
    volume.fresh_directories.insert(directory);
}

void QueueState::touch_whole(Volume& volume, const ObjectHandle& directory, Whole which,
                             const Touch& touch) {
    apply(volume.marks.directories[directory].make(which), touch);
    volume.fresh_directories.insert(directory);
}

void QueueState::touch_object(Volume& volume, const ObjectHandle& object, const Touch& touch) {
    apply(volume.marks.objects[object], touch);
    volume.fresh_objects.insert(object);
}

void QueueState::touch_everything(Volume& volume, std::string reason, const Touch& touch) {
    apply(volume.marks.everything, touch);
    if (!reason.empty()) volume.marks.everything_reason = std::move(reason);
}

DirectoryOrigin& QueueState::touch_origin(Volume& volume, const ObjectHandle& directory,
                                          Generation generation) {
    auto [at, is_new] = volume.marks.origins.try_emplace(directory);
    if (is_new) ++origins_;
    at->second.generation = generation;
    at->second.is_fresh = true;
    volume.fresh_origins.insert(directory);
    is_header_fresh_ = true;
    return at->second;
}

void QueueState::read_what_is_marked() {
    auto read = [](Mark& mark) {
        mark.must_read = 1;
        mark.is_fresh = 1;
    };
    for (auto& [id, volume] : books_) {
        VolumeMarks& marks = volume.marks;
        for (auto& [handle, directory] : marks.directories) {
            for (auto& [name, mark] : directory.names)
                if (mark.content) read(mark);
            // Of many names in one: what happened to each was not kept.
            if (Mark* listing = directory.whole(Whole::listing)) read(*listing);
            volume.fresh_directories.insert(handle);
        }
        for (auto& [handle, mark] : marks.objects) {
            read(mark);
            volume.fresh_objects.insert(handle);
        }
        if (marks.has_everything() && marks.everything.content) read(marks.everything);
        is_header_fresh_ = true;
    }
}

void QueueState::set_left_scope(Volume& volume, Generation generation) {
    if (generation != 0) {
        volume.left_scope_fresh = true;
        is_header_fresh_ = true;
    } else {
        if (volume.left_scope_stored) remove_key(encode_key(RecordKind::left_scope, volume.number));
        volume.left_scope_stored = volume.left_scope_fresh = false;
    }
    volume.marks.left_scope = generation;
}

void QueueState::raise_first_seen(Volume& volume, Timestamp time) {
    auto raise = [&](Mark& mark) {
        if (mark.generation == 0 || mark.first_seen >= time) return false;
        mark.first_seen = time;
        mark.is_fresh = 1;
        is_header_fresh_ = true;
        return true;
    };
    for (auto& [handle, directory] : volume.marks.directories) {
        bool raised = false;
        for (auto& [name, mark] : directory.names) raised |= raise(mark);
        for (Whole which : DirectoryMarks::kWholes)
            if (Mark* mark = directory.whole(which)) raised |= raise(*mark);
        if (raised) volume.fresh_directories.insert(handle);
    }
    for (auto& [handle, mark] : volume.marks.objects)
        if (raise(mark)) volume.fresh_objects.insert(handle);
    raise(volume.marks.everything);
    is_oldest_known_ = false;
}

void QueueState::forget_mark(const Mark& mark, RecordKind kind, const Volume& volume,
                             std::string_view handle, std::string_view name) {
    --count_;
    if (oldest_ && mark.first_seen <= *oldest_) is_oldest_known_ = false;
    if (mark.is_stored) remove_key(encode_key(kind, volume.number, handle, name));
}

void QueueState::remove_key(std::string key) {
    --stored_;
    stored_sum_ -= checksum_of_key(key);
    removed_.push_back(std::move(key));
    is_header_fresh_ = true;
}

void QueueState::erase_whole(Volume& volume, const ObjectHandle& handle, DirectoryMarks& directory,
                             Whole which) {
    const Mark* mark = directory.whole(which);
    if (mark == nullptr) return;
    forget_mark(*mark, kind_of(which), volume, handle);
    directory.erase(which);
}

void QueueState::erase_object(Volume& volume, const ObjectHandle& object) {
    auto found = volume.marks.objects.find(object);
    if (found == volume.marks.objects.end()) return;
    forget_mark(found->second, RecordKind::object, volume, object);
    volume.fresh_objects.erase(object);
    volume.marks.objects.erase(found);
}

void QueueState::erase_everything(Volume& volume) {
    if (!volume.marks.has_everything()) return;
    forget_mark(volume.marks.everything, RecordKind::everything, volume, {});
    volume.marks.everything = {};
    volume.marks.everything_reason.clear();
}

void QueueState::erase_origin(Volume& volume, const ObjectHandle& directory) {
    auto found = volume.marks.origins.find(directory);
    if (found == volume.marks.origins.end()) return;
    if (found->second.is_stored)
        remove_key(encode_key(RecordKind::origin, volume.number, directory));
    --origins_;
    volume.fresh_origins.erase(directory);
    volume.marks.origins.erase(found);
}

void QueueState::forget_volume(const VolumeId& id) {
    Volume* volume = find_volume(id);
    if (volume == nullptr) return;
    for (auto& [handle, directory] : volume->marks.directories) {
        erase_names(*volume, handle, directory, [](const auto&) { return true; });
        for (Whole which : DirectoryMarks::kWholes) erase_whole(*volume, handle, directory, which);
    }
    while (!volume->marks.objects.empty())
        erase_object(*volume, ObjectHandle(volume->marks.objects.begin()->first));
    while (!volume->marks.origins.empty())
        erase_origin(*volume, ObjectHandle(volume->marks.origins.begin()->first));
    erase_everything(*volume);
    set_left_scope(*volume, 0);
    if (volume->is_stored) remove_key(encode_key(RecordKind::volume, volume->number));
    books_.erase(id);
    marks_.erase(id);
}

std::optional<Timestamp> QueueState::oldest() const {
    if (count_ == 0) return std::nullopt;
    if (is_oldest_known_) return oldest_;
    oldest_.reset();
    auto see = [&](const Mark& mark) {
        if (mark.generation != 0 && (!oldest_ || mark.first_seen < *oldest_))
            oldest_ = mark.first_seen;
    };
    for (const auto& [id, volume] : marks_) {
        see(volume.everything);
        for (const auto& [handle, mark] : volume.objects) see(mark);
        for (const auto& [handle, directory] : volume.directories) {
            for (const auto& [name, mark] : directory.names) see(mark);
            for (Whole which : DirectoryMarks::kWholes)
                if (const Mark* mark = directory.whole(which)) see(*mark);
        }
    }
    is_oldest_known_ = true;
    return oldest_;
}

std::optional<Timestamp> QueueState::newest() const {
    return count_ == 0 ? std::nullopt : newest_;
}

std::size_t QueueState::memory_bytes() const {
    std::size_t bytes = 0;
    for (const auto& [id, volume] : marks_) {
        using Directories = decltype(volume.directories)::value_type;
        using Objects = decltype(volume.objects)::value_type;
        using Origins = decltype(volume.origins)::value_type;
        bytes += sizeof(volume) + id.size() + volume.everything_reason.size();
        bytes += volume.directories.bucket_count() * sizeof(void*) +
                 volume.directories.size() * kNodeBytes<Directories>;
        for (const auto& [handle, directory] : volume.directories)
            bytes += heap_bytes(handle) + directory.memory_bytes();
        bytes += volume.objects.bucket_count() * sizeof(void*) +
                 volume.objects.size() * kNodeBytes<Objects>;
        for (const auto& [handle, mark] : volume.objects) bytes += heap_bytes(handle);
        bytes += volume.origins.bucket_count() * sizeof(void*) +
                 volume.origins.size() * kNodeBytes<Origins>;
        for (const auto& [handle, origin] : volume.origins)
            bytes += heap_bytes(handle) + heap_bytes(origin.directory) + heap_bytes(origin.name);
    }
    for (const auto& [id, book] : books_)
        bytes += (book.fresh_directories.size() + book.fresh_objects.size() +
                  book.fresh_origins.size()) *
                 (kNodeBytes<ObjectHandle> + sizeof(void*));
    for (const std::string& key : removed_) bytes += sizeof(key) + heap_bytes(key);
    return bytes;
}

}  // namespace backup::queue
