#include "daemon/queue/change_queue.h"

#include <algorithm>
#include <utility>

#include "daemon/queue/mark_codec.h"
#include "daemon/queue/queue_state.h"

namespace backup {

using queue::is_entry_name;
using queue::is_handle;
using queue::QueueState;
using queue::Touch;
using queue::Whole;
using Volume = QueueState::Volume;

namespace {

// What absorb() says when a record cannot be true.
constexpr const char* kOddRecord = "a record of a change could not be understood";
constexpr const char* kTooMany = "too many changes to remember them one by one";

}  // namespace

struct ChangeQueue::Impl {
    QueueLimits limits;
    QueueState state;
    Generation generation = 0;
    Generation frozen = 0;  // of the last freeze

    Touch touch(Timestamp now) {
        ++generation;
        state.note_generation_moved();
        return {.generation = generation, .now = now};
    }

    void name(Volume& volume, const ObjectHandle& directory, std::string_view name,
              const Touch& touch);
    void listing(Volume& volume, const ObjectHandle& directory, const Touch& touch);
    void fold_names(Volume& volume, const ObjectHandle& handle, DirectoryMarks& directory);
    void move(Volume& volume, const WatchBatch::DirectoryMove& move, const Touch& touch);
    void mark_carried_away(Volume& volume, Generation since);
    void clear_volume(Volume& volume, const FrozenMarks& frozen_marks);
    void clear_directory(Volume& volume, const ObjectHandle& handle, DirectoryMarks& directory,
                         Generation until, bool keep_must_read);
    void coarsen(Timestamp now);
    void coarsen_to_everything(Volume& volume, Timestamp now);
};

void ChangeQueue::Impl::name(Volume& volume, const ObjectHandle& directory, std::string_view name,
                             const Touch& touch) {
    bool is_plain = !touch.must_read && !touch.deep;
    auto found = volume.marks.directories.find(directory);
    // A run may be busy with the listing that it froze: that one is to go with the run, so what
    // comes now is remembered by itself.
    if (is_plain && found != volume.marks.directories.end()) {
        const Mark* listing = found->second.listing();
        if (listing != nullptr && listing->generation > frozen)
            return state.touch_whole(volume, directory, Whole::listing, touch);
    }
    state.touch_name(volume, directory, name, touch);
    if (!is_plain) return;
    DirectoryMarks& marks = volume.marks.directories[directory];
    if (marks.names.size() > limits.names_of_directory) fold_names(volume, directory, marks);
}

void ChangeQueue::Impl::listing(Volume& volume, const ObjectHandle& directory, const Touch& touch) {
    state.touch_whole(volume, directory, Whole::listing, touch);
    fold_names(volume, directory, volume.marks.directories[directory]);
}

// Names become a mark of the listing, which compares every entry. Not those that must be read
// whatever the comparison says.
void ChangeQueue::Impl::fold_names(Volume& volume, const ObjectHandle& handle,
                                   DirectoryMarks& directory) {
    Touch whole;
    Timestamp first = Timestamp::max();
    state.erase_names(volume, handle, directory, [&](const NameMarks::Entry& entry) {
        const Mark& mark = entry.mark;
        if (mark.must_read || mark.deep) return false;
        whole.generation = std::max<Generation>(whole.generation, mark.generation);
        whole.content = whole.content || mark.content;
        first = std::min(first, mark.first_seen);
        return true;
    });
    if (whole.generation == 0) return;
    const Mark* before = directory.listing();
    if (before != nullptr) {
        whole.generation = std::max<Generation>(whole.generation, before->generation);
        first = std::min(first, before->first_seen);
    }
    whole.now = state.newest().value_or(first);
    state.touch_whole(volume, handle, Whole::listing, whole);
    directory.whole(Whole::listing)->first_seen = first;
    state.forget_oldest();
}

void ChangeQueue::Impl::move(Volume& volume, const WatchBatch::DirectoryMove& move,
                             const Touch& touch) {
    using Record = WatchBatch::DirectoryMove::Kind;
    using Kind = DirectoryOrigin::Kind;
    bool has_from = is_handle(move.from_directory) && is_entry_name(move.from_name);
    bool has_to = is_handle(move.to_directory) && is_entry_name(move.to_name);
    if (has_from) name(volume, move.from_directory, move.from_name, touch);
    if (has_to) {
        Touch to = touch;
        // Nobody says which directory it is: then the name stands for all below it.
        to.deep = move.object.empty();
        name(volume, move.to_directory, move.to_name, to);
    } else if (move.object.empty() && !has_from) {
        state.touch_everything(volume, kOddRecord, touch);
    }
    if (move.object.empty()) return;
    if (!is_handle(move.object)) return state.touch_everything(volume, kOddRecord, touch);

    auto known = volume.marks.origins.find(move.object);
    bool is_known = known != volume.marks.origins.end();
    DirectoryOrigin& origin = state.touch_origin(volume, move.object, touch.generation);
    switch (move.kind) {
        case Record::born:
            // A handle that was known before is another object now (only where the file system has
            // no generations).
            origin.kind = Kind::born;
            origin.moved = false;
            origin.directory.clear();
            origin.name.clear();
            return;
        case Record::moved:
            if (is_known) {
                origin.moved = true;
                return;
            }
            origin.kind = has_from ? Kind::at : Kind::unknown;
            if (!has_from) return;
            origin.directory = move.from_directory;
            origin.name = move.from_name;
            return;
        case Record::arrived:
            // Where it was is worth a guess: what lies below is compared in any case.
            origin.kind = Kind::unknown;
            origin.moved = true;
            return;
    }
}

void ChangeQueue::Impl::clear_directory(Volume& volume, const ObjectHandle& handle,
                                        DirectoryMarks& directory, Generation until,
                                        bool keep_must_read) {
    state.erase_names(volume, handle, directory, [&](const NameMarks::Entry& entry) {
        return entry.mark.generation <= until && !(keep_must_read && entry.mark.must_read);
    });
    for (Whole which : DirectoryMarks::kWholes) {
        const Mark* mark = directory.whole(which);
        if (mark != nullptr && mark->generation <= until && !(keep_must_read && mark->must_read))
            state.erase_whole(volume, handle, directory, which);
    }
}

// Directories that were renamed since `since` may have been elsewhere when the run looked for what
// is marked below them. Whatever has been below one of them at any moment since then still is, or
// is below another one of them.
void ChangeQueue::Impl::mark_carried_away(Volume& volume, Generation since) {
    std::vector<ObjectHandle> moved;
    for (const auto& [handle, origin] : volume.marks.origins) {
        bool was_made_only = origin.kind == DirectoryOrigin::Kind::born && !origin.moved;
        if (origin.generation > since && !was_made_only) moved.push_back(handle);
    }
    if (moved.empty()) return;
    Touch again = touch(state.newest().value_or(Timestamp{}));
    for (const ObjectHandle& handle : moved)
        state.touch_whole(volume, handle, Whole::subtree, again);
}

void ChangeQueue::Impl::clear_volume(Volume& volume, const FrozenMarks& frozen_marks) {
    const Generation until = frozen_marks.generation;
    VolumeMarks& marks = volume.marks;
    Generation before = generation;
    mark_carried_away(volume, until);
    bool carried_away = generation != before;
    for (auto at = marks.directories.begin(); at != marks.directories.end();) {
        clear_directory(volume, at->first, at->second, until, carried_away);
        at = at->second.empty() ? marks.directories.erase(at) : std::next(at);
    }
    std::vector<ObjectHandle> old;
    for (const auto& [handle, mark] : marks.objects)
        if (mark.generation <= until) old.push_back(handle);
    for (const ObjectHandle& handle : old) state.erase_object(volume, handle);
    old.clear();
    for (const auto& [handle, origin] : marks.origins)
        if (origin.generation <= until) old.push_back(handle);
    for (const ObjectHandle& handle : old) state.erase_origin(volume, handle);
    if (marks.has_everything() && marks.everything.generation <= until)
        state.erase_everything(volume);
    if (marks.left_scope != 0 && marks.left_scope <= until) state.set_left_scope(volume, 0);
    // Marks that must be read once more stay as they are: they still stand for the old change.
    if (!carried_away) state.raise_first_seen(volume, frozen_marks.newest);
}

// The fullest directories first: a listing costs one look per entry, and most of a full directory's
// entries are marked anyway. What is left is spread so thin that nothing but everything helps.
void ChangeQueue::Impl::coarsen(Timestamp now) {
    auto load = [&] { return state.count() + state.origins(); };
    if (load() <= limits.marks) return;
    // With some room, not to come here again at once.
    const std::uint64_t enough = limits.marks / 4 * 3;
    for (std::size_t most : {256, 64, 16, 4}) {
        for (Volume* volume : state.all_volumes())
            for (auto& [handle, directory] : volume->marks.directories)
                if (directory.names.size() > most) fold_names(*volume, handle, directory);
        if (load() <= enough) return;
    }
    while (load() > enough) {
        Volume* fullest = nullptr;
        std::uint64_t most = 1;
        for (Volume* volume : state.all_volumes()) {
            std::uint64_t count = volume->marks.count() + volume->marks.origins.size();
            if (count <= most) continue;
            fullest = volume;
            most = count;
        }
        if (fullest == nullptr) return;
        coarsen_to_everything(*fullest, now);
    }
}

void ChangeQueue::Impl::coarsen_to_everything(Volume& volume, Timestamp now) {
    VolumeMarks& marks = volume.marks;
    Touch whole{.generation = generation, .now = now};
    Timestamp first = now;
    auto take = [&](const Mark& mark) {
        whole.content = whole.content || mark.content;
        whole.must_read = whole.must_read || mark.must_read;
        first = std::min(first, mark.first_seen);
    };
    for (auto& [handle, directory] : marks.directories) {
        for (const auto& [name, mark] : directory.names) take(mark);
        for (Whole which : DirectoryMarks::kWholes)
            if (const Mark* mark = directory.whole(which)) take(*mark);
        state.erase_names(volume, handle, directory, [](const auto&) { return true; });
        for (Whole which : DirectoryMarks::kWholes)
            state.erase_whole(volume, handle, directory, which);
    }
    marks.directories = {};
    std::vector<ObjectHandle> handles;
    for (const auto& [handle, mark] : marks.objects) {
        take(mark);
        handles.push_back(handle);
    }
    for (const ObjectHandle& handle : handles) state.erase_object(volume, handle);
    handles.clear();
    for (const auto& [handle, origin] : marks.origins) handles.push_back(handle);
    for (const ObjectHandle& handle : handles) state.erase_origin(volume, handle);
    state.touch_everything(volume, kTooMany, whole);
    marks.everything.first_seen = std::min(marks.everything.first_seen, first);
    state.forget_oldest();
}

ChangeQueue::ChangeQueue(QueueLimits limits) : impl_(std::make_unique<Impl>()) {
    impl_->limits = limits;
}
ChangeQueue::~ChangeQueue() = default;
ChangeQueue::ChangeQueue(ChangeQueue&&) noexcept = default;
ChangeQueue& ChangeQueue::operator=(ChangeQueue&&) noexcept = default;

void ChangeQueue::absorb(const VolumeId& id, const WatchBatch& batch, Timestamp now) {
    if (batch.names.empty() && batch.moves.empty() && batch.directories.empty() &&
        batch.objects.empty() && batch.relist.empty() && batch.lost.empty())
        return;
    Volume& volume = impl_->state.volume(id);
    Touch touch = impl_->touch(now);
    auto check = [&](const ObjectHandle& handle) {
        if (is_handle(handle)) return true;
        impl_->state.touch_everything(volume, kOddRecord, touch);
        return false;
    };
    for (const ObjectHandle& directory : batch.relist)
        if (check(directory)) impl_->listing(volume, directory, touch);
    for (const WatchBatch::Name& name : batch.names) {
        Touch of_name = touch;
        of_name.content = name.content;
        if (is_handle(name.directory) && is_entry_name(name.name))
            impl_->name(volume, name.directory, name.name, of_name);
        else
            impl_->state.touch_everything(volume, kOddRecord, touch);
    }
    for (const WatchBatch::DirectoryMove& move : batch.moves) impl_->move(volume, move, touch);
    for (const ObjectHandle& directory : batch.directories)
        if (check(directory)) impl_->state.touch_whole(volume, directory, Whole::itself, touch);
    for (const ObjectHandle& object : batch.objects)
        if (check(object)) impl_->state.touch_object(volume, object, touch);
    if (!batch.lost.empty()) impl_->state.touch_everything(volume, batch.lost, touch);
    impl_->coarsen(now);
}

void ChangeQueue::mark_name(const VolumeId& id, const ObjectHandle& directory,
                            std::string_view name, bool content, bool must_read, Timestamp now) {
    Volume& volume = impl_->state.volume(id);
    Touch touch = impl_->touch(now);
    touch.content = content;
    touch.must_read = must_read;
    if (is_handle(directory) && is_entry_name(name))
        impl_->name(volume, directory, name, touch);
    else
        impl_->state.touch_everything(volume, kOddRecord, touch);
    impl_->coarsen(now);
}

void ChangeQueue::mark_listing(const VolumeId& id, const ObjectHandle& directory, Timestamp now) {
    Volume& volume = impl_->state.volume(id);
    Touch touch = impl_->touch(now);
    if (!is_handle(directory)) return impl_->state.touch_everything(volume, kOddRecord, touch);
    impl_->listing(volume, directory, touch);
    impl_->coarsen(now);
}

void ChangeQueue::mark_subtree(const VolumeId& id, const ObjectHandle& directory, Timestamp now) {
    Volume& volume = impl_->state.volume(id);
    Touch touch = impl_->touch(now);
    if (!is_handle(directory)) return impl_->state.touch_everything(volume, kOddRecord, touch);
    impl_->state.touch_whole(volume, directory, Whole::subtree, touch);
    impl_->coarsen(now);
}

void ChangeQueue::mark_everything(const VolumeId& id, std::string reason, Timestamp now) {
    Volume& volume = impl_->state.volume(id);
    impl_->state.touch_everything(volume, std::move(reason), impl_->touch(now));
}

void ChangeQueue::read_what_is_marked() {
    impl_->state.read_what_is_marked();
}

void ChangeQueue::mark_left_scope(const VolumeId& id) {
    Volume& volume = impl_->state.volume(id);
    impl_->state.set_left_scope(volume, impl_->touch({}).generation);
}

void ChangeQueue::distrust_origins() {
    for (Volume* volume : impl_->state.all_volumes()) {
        for (const auto& [handle, known] : volume->marks.origins) {
            const bool is_born = known.kind == DirectoryOrigin::Kind::born;
            if (known.moved && (is_born || known.kind == DirectoryOrigin::Kind::unknown)) continue;
            DirectoryOrigin& origin = impl_->state.touch_origin(*volume, handle, known.generation);
            if (!is_born) origin.kind = DirectoryOrigin::Kind::unknown;
            origin.moved = true;
        }
    }
}

FrozenMarks ChangeQueue::freeze() const {
    impl_->frozen = impl_->generation;
    return {impl_->generation, newest().value_or(Timestamp{}), impl_->state.volumes()};
}

void ChangeQueue::clear(const FrozenMarks& frozen) {
    for (const auto& [id, marks] : frozen.volumes)
        if (Volume* volume = impl_->state.find_volume(id)) impl_->clear_volume(*volume, frozen);
}

void ChangeQueue::drop_name(const VolumeId& id, const ObjectHandle& directory,
                            std::string_view name, Generation generation) {
    Volume* volume = impl_->state.find_volume(id);
    if (volume == nullptr) return;
    auto found = volume->marks.directories.find(directory);
    if (found == volume->marks.directories.end()) return;
    const Mark* mark = found->second.names.find(name);
    if (mark == nullptr || mark->generation > generation) return;
    impl_->state.erase_names(*volume, directory, found->second,
                             [&](const NameMarks::Entry& entry) { return entry.name == name; });
    if (found->second.empty()) volume->marks.directories.erase(found);
}

void ChangeQueue::drop_directory(const VolumeId& id, const ObjectHandle& directory,
                                 Generation generation) {
    Volume* volume = impl_->state.find_volume(id);
    if (volume == nullptr) return;
    auto found = volume->marks.directories.find(directory);
    if (found == volume->marks.directories.end()) return;
    impl_->clear_directory(*volume, directory, found->second, generation, false);
    if (found->second.empty()) volume->marks.directories.erase(found);
}

void ChangeQueue::drop_object(const VolumeId& id, const ObjectHandle& object,
                              Generation generation) {
    Volume* volume = impl_->state.find_volume(id);
    if (volume == nullptr) return;
    auto found = volume->marks.objects.find(object);
    if (found != volume->marks.objects.end() && found->second.generation <= generation)
        impl_->state.erase_object(*volume, object);
}

void ChangeQueue::forget_volume(const VolumeId& id) {
    impl_->state.forget_volume(id);
}

Generation ChangeQueue::generation() const {
    return impl_->generation;
}
std::uint64_t ChangeQueue::size() const {
    return impl_->state.count();
}
std::optional<Timestamp> ChangeQueue::oldest() const {
    return impl_->state.oldest();
}
std::optional<Timestamp> ChangeQueue::newest() const {
    return impl_->state.newest();
}
const std::map<VolumeId, VolumeMarks>& ChangeQueue::volumes() const {
    return impl_->state.volumes();
}
std::size_t ChangeQueue::memory_bytes() const {
    return impl_->state.memory_bytes();
}

std::vector<QueueRecord> ChangeQueue::take_records() {
    return impl_->state.take_records(impl_->generation);
}
std::vector<QueueRecord> ChangeQueue::all_records() {
    return impl_->state.all_records(impl_->generation);
}
bool ChangeQueue::has_records() const {
    return impl_->state.has_records();
}

Result<ChangeQueue> ChangeQueue::load(const std::vector<QueueRecord>& records, QueueLimits limits) {
    ChangeQueue loaded(limits);
    auto generation = TRY(loaded.impl_->state.load(records));
    loaded.impl_->generation = generation.value_or(0);
    return loaded;
}

}  // namespace backup
