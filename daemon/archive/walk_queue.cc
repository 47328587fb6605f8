#include "daemon/archive/walk_queue.h"

#include <algorithm>
#include <utility>

namespace backup {

WalkQueue::~WalkQueue() {
    while (directories_ != nullptr) {
        Directory* directory = directories_;
        directories_ = directory->list_after;
        delete directory;
    }
}

WalkQueue::Task WalkQueue::take(bool large_too) {
    std::unique_lock lock(mutex_);
    Task task;
    while (!ended_.load(std::memory_order_relaxed) && !take_locked(task, large_too))
        (large_too ? large_workers_ : walkers_).wait(lock);
    return task;
}

std::optional<WalkQueue::Task> WalkQueue::take_small() {
    std::lock_guard lock(mutex_);
    Task task;
    if (ended_.load(std::memory_order_relaxed) || !take_locked(task, false)) return std::nullopt;
    return task;
}

bool WalkQueue::is_large_due() const {
    if (large_.empty() || readers_ >= kMostReaders) return false;
    return !small_first_ || stack_.empty() || large_.size() > most_large_;
}

LargeFile* WalkQueue::next_large() {
    auto next = large_.begin();
    if (small_first_) next = std::ranges::min_element(large_, {}, &LargeFile::size);
    LargeFile* file = *next;
    large_.erase(next);
    return file;
}

bool WalkQueue::take_locked(Task& task, bool large_too) {
    if (large_too && !chunks_.empty()) {
        task.kind = Task::Kind::chunk;
        task.chunk = std::move(chunks_.front());
        chunks_.pop_front();
        return true;
    }
    if (large_too && is_large_due()) {
        task.kind = Task::Kind::large_file;
        task.large_file = next_large();
        if (large_.size() == most_large_) walkers_.notify_all();
        ++readers_;
        return true;
    }
    if (stack_.empty() || large_.size() > most_large_) return false;
    Open& top = stack_.back();
    task.directory = top.directory;
    if (top.fragment == nullptr) {
        task.kind = Task::Kind::batch;
        task.batch = top.directory->next_batch++;
        if (top.directory->next_batch == top.directory->batches.size()) stack_.pop_back();
    } else {
        task.kind = Task::Kind::child;
        task.fragment = top.fragment;
        task.child = &top.fragment->children[top.fragment->next_child++];
        if (top.fragment->next_child == top.fragment->children.size()) stack_.pop_back();
    }
    return true;
}

void WalkQueue::reader_done() {
    {
        std::lock_guard lock(mutex_);
        --readers_;
    }
    large_workers_.notify_all();
}

void WalkQueue::add_batches(Directory& directory) {
    {
        std::lock_guard lock(mutex_);
        stack_.push_back({&directory, nullptr});
    }
    walkers_.notify_all();
    large_workers_.notify_all();
}

void WalkQueue::add_found(Directory& directory, Fragment& fragment) {
    {
        std::lock_guard lock(mutex_);
        for (LargeFile& file : fragment.large) large_.push_back(&file);
        if (!fragment.children.empty()) stack_.push_back({&directory, &fragment});
    }
    if (!fragment.children.empty()) walkers_.notify_all();
    large_workers_.notify_all();
}

void WalkQueue::add_chunk(ChunkTask task) {
    {
        std::lock_guard lock(mutex_);
        chunks_.push_back(std::move(task));
    }
    large_workers_.notify_all();
}

WalkQueue::BufferOrChunk WalkQueue::take_buffer() {
    std::unique_lock lock(mutex_);
    BufferOrChunk got;
    while (!ended_.load(std::memory_order_relaxed)) {
        got.buffer = buffers_.take();
        if (got.buffer != nullptr) break;
        if (buffers_.none_exist()) {
            if (!error_) error_ = Error(ErrorKind::io, "no memory for reading files");
            end_locked();
            break;
        }
        if (!chunks_.empty()) {
            got.chunk = std::move(chunks_.front());
            chunks_.pop_front();
            break;
        }
        large_workers_.wait(lock);
    }
    return got;
}

void WalkQueue::release_buffer(ChunkBuffer* buffer) {
    if (buffer == nullptr) return;
    buffer->trim();
    {
        std::lock_guard lock(mutex_);
        buffers_.give_back(buffer);
    }
    large_workers_.notify_all();
}

void WalkQueue::enlist(Directory& directory) {
    std::lock_guard lock(mutex_);
    directory.list_after = directories_;
    if (directories_ != nullptr) directories_->list_before = &directory;
    directories_ = &directory;
}

void WalkQueue::delist(Directory& directory) {
    std::lock_guard lock(mutex_);
    (directory.list_before != nullptr ? directory.list_before->list_after : directories_) =
        directory.list_after;
    if (directory.list_after != nullptr) directory.list_after->list_before = directory.list_before;
}

std::vector<const Directory*> WalkQueue::directories() {
    std::lock_guard lock(mutex_);
    std::vector<const Directory*> all;
    for (const Directory* at = directories_; at != nullptr; at = at->list_after) all.push_back(at);
    return all;
}

void WalkQueue::finish(const BlobId& root) {
    std::lock_guard lock(mutex_);
    root_ = root;
    end_locked();
}

void WalkQueue::fail(Error error) {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    end_locked();
}

void WalkQueue::end_locked() {
    ended_.store(true, std::memory_order_relaxed);
    walkers_.notify_all();
    large_workers_.notify_all();
}

std::optional<Error> WalkQueue::error() {
    std::lock_guard lock(mutex_);
    return error_;
}

std::optional<BlobId> WalkQueue::root() {
    std::lock_guard lock(mutex_);
    return root_;
}

}  // namespace backup
