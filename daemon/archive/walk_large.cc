// Large files: read and cut by one worker at a time, stored by all of them.
#include <cerrno>

#include <fcntl.h>

#include "common/failpoint.h"
#include "daemon/archive/walk.h"

namespace backup {

namespace {

// A file that is written all the time is not read for ever: a database of this size once more at
// most.
constexpr std::uint64_t kReadOnceMore = std::uint64_t{1} << 30;

}  // namespace

void WalkWorker::wait_for_large(Entry& entry, std::uint64_t size) {
    LargeFile file;
    file.size = size;
    file.name = entry.name;
    file.path = entry.path;
    file.at = entry.fragment.out.size();
    if (entry.before != nullptr) {
        file.before = entry.before->bytes;
        file.was_file = entry.before->type == NodeType::file;
        file.bytes_before = entry.before->size;
        file.was_compressed = file.was_file && entry.before->content_count() > 0 &&
                              was_compressed(input_.source, entry.before->content_id(0));
        if (!input_.full && !entry.before->head.empty()) {
            file.before_inode = entry.before->inode;
            file.before_ctime = entry.before->ctime();
            file.before_xattrs = entry.before->xattr_json;
        }
    }
    entry.fragment.large.push_back(std::move(file));
}

void WalkWorker::read_large(LargeFile& file) {
    Directory& directory = *file.directory;
    std::shared_ptr<ReadPass> pass;
    if (!file.path.empty()) {
        pass = read_large_at(file, {AT_FDCWD, file.path.c_str()});
    } else if (int fd = walk_.fds.pin(directory); fd >= 0) {
        pass = read_large_at(file, {fd, file.name.c_str()});
        walk_.fds.unpin(directory);
    } else {
        except_large(file, Error::from_errno(-fd, "open"));
    }
    walk_.fds.need(directory, -1);
    note_progress();
    if (ended() || walk_.stop.stop_requested()) return;
    // From here on the directory may be finished by another worker.
    if (pass != nullptr) {
        release(pass);
    } else {
        WalkGate::Inside inside(walk_.gate);
        if (file.was_file) parent_.note_file(file.bytes_before);
        end_large(file);
    }
}

// The reading to keep, or nullptr if the file is left out or the walk has ended.
std::shared_ptr<ReadPass> WalkWorker::read_large_at(LargeFile& file, Place place) {
    bool is_held = may_be_written(*file.directory, file.name);
    for (int reading = 1;; ++reading) {
        UniqueFd fd;
        struct statx status, after;
        int error = walk_.source.open(place, SourceReader::kFile, fd);
        if (error == -ENOENT && file.path.empty()) return nullptr;  // vanished
        if (error == 0) error = fs_.status(fd.get(), "", AT_EMPTY_PATH, status);
        bool replaced = error == -ELOOP || error == -ENXIO || error == -EISDIR ||
                        (error == 0 && !S_ISREG(status.stx_mode));
        if (replaced) {
            except_large(file, Error(ErrorKind::transient, "replaced while being read"));
            return nullptr;
        }
        bool is_settled = true;
        if (error == 0) error = walk_.source.prepare(fd.get(), is_held, status, is_settled);
        if (error == 0 && failpoint("read.begin")) error = -EIO;
        if (error < 0) return except_large(file, Error::from_errno(-error, "open")), nullptr;

        std::shared_ptr<ReadPass> pass =
            read_once(file, fd.get(), status, is_settled && !is_held && reading == 1);
        if (pass == nullptr) return nullptr;
        error = failpoint("read.end") ? -EIO : fs_.status(fd.get(), "", AT_EMPTY_PATH, after);
        if (error < 0) {
            forget_pass(pass.get());
            return except_large(file, Error::from_errno(-error, "stat")), nullptr;
        }
        bool whole = pass->bytes == status.stx_size || status.stx_size == 0;
        bool stable = whole && SourceReader::same_state(status, after);
        int most = pass->bytes > kReadOnceMore ? 2 : SourceReader::kMostReadings;
        if (stable || reading >= most) {
            if (!stable)
                except_large(file, Error(ErrorKind::transient, "changed while being read"));
            if (!stable || !is_settled) note_unsettled(*file.directory, file.name);
            ++counts_.files_read;
            pass->is_final = true;
            return pass;
        }
        forget_pass(pass.get());
        input_.progress.bytes_done.fetch_sub(pass->bytes, std::memory_order_relaxed);
        walk_.source.pause(reading);
    }
}

std::shared_ptr<ReadPass> WalkWorker::read_once(LargeFile& file, int fd, const struct statx& status,
                                                bool may_be_resumed) {
    auto pass = std::make_shared<ReadPass>();
    pass->file = &file;
    pass->status = status;
    bool same_change = file.before_inode == status.stx_ino &&
                       file.before_ctime.seconds == status.stx_ctime.tv_sec &&
                       file.before_ctime.nanoseconds == status.stx_ctime.tv_nsec;
    if (same_change) {
        pass->xattr_json = file.before_xattrs;
    } else {
        auto found = xattrs_.read(fd);
        for (const XattrReader::Failure& failure : xattrs_.failures())
            except_large(file, xattr_error(failure));
        if (!found.empty()) encoder_.append_xattrs(found, pass->xattr_json);
    }
    fs_.advise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);

    if (may_be_resumed && (input_.checkpoints != nullptr || !walk_.half_files.empty())) {
        pass->path = directory_path(*file.directory);
        append_path(pass->path, file.name);
        take_up(status, *pass);
    }
    if (input_.checkpoints != nullptr && !pass->path.empty()) {
        std::lock_guard lock(walk_.mutex);
        walk_.passes.push_back(pass);
    }
    const std::uint64_t begin = pass->bytes;
    std::uint64_t end = begin;  // of the chunks so far

    LargeFileReader::Output output;
    output.buffer = [this] { return wait_for_buffer(); };
    output.release = [this](ChunkBuffer* buffer) { walk_.queue.release_buffer(buffer); };
    output.chunk = [&](ChunkBuffer* buffer, std::size_t size) {
        ChunkTask task{buffer, size, pass, 0};
        pass->pending.fetch_add(1);
        {
            std::lock_guard lock(pass->mutex);
            end += size;
            task.index = pass->content.size();
            pass->content.emplace_back();
            pass->is_stored.push_back(false);
            pass->ends.push_back(end);
        }
        walk_.bytes_read.fetch_add(size, std::memory_order_relaxed);
        input_.progress.bytes_done.fetch_add(size, std::memory_order_relaxed);
        walk_.queue.add_chunk(std::move(task));
    };
    output.zero_chunk = [&] {
        if (ended()) return false;
        BlobId id = zero_chunk_id();
        if (!input_.sink.contains({BlobType::data, id})) {
            static const Bytes zeros(kZeroChunkLength, std::uint8_t{0});
            if (!save_blob(BlobType::data, zeros, id)) return false;
        }
        std::lock_guard lock(pass->mutex);
        end += kZeroChunkLength;
        pass->content.push_back(id);
        pass->is_stored.push_back(true);
        pass->ends.push_back(end);
        input_.progress.bytes_done.fetch_add(kZeroChunkLength, std::memory_order_relaxed);
        return true;
    };
    LargeFileReader::Read read = large_reader_.read(fd, status, begin, output);
    counts_.bytes_read += read.bytes_from_disk;
    if (read.ended) return nullptr;
    if (read.error < 0) {
        forget_pass(pass.get());
        except_large(file, Error::from_errno(-read.error, "read"));
        return nullptr;
    }
    pass->bytes = read.bytes;
    return pass;
}

// Goes on where the interrupted run was, if the file is as it was then.
void WalkWorker::take_up(const struct statx& status, ReadPass& pass) {
    if (input_.full) return;
    auto found = walk_.half_files.find(pass.path);
    if (found == walk_.half_files.end()) return;
    const HalfFile& half = *found->second;
    if (half.inode != status.stx_ino || half.size != status.stx_size ||
        half.mtime != file_time(status.stx_mtime) || half.ctime != file_time(status.stx_ctime) ||
        half.bytes > half.size)
        return;
    if (input_.look_at != nullptr && input_.look_at->must_read(pass.path)) return;
    // After a sudden stop of the machine stamps prove too little for half a file.
    if (input_.reread != nullptr) return;
    for (const BlobId& id : half.content)
        if (!input_.sink.contains({BlobType::data, id})) return;
    std::lock_guard lock(pass.mutex);
    pass.content = half.content;
    pass.is_stored.assign(half.content.size(), true);
    pass.ends.assign(half.content.size(), half.bytes);  // only that of the last matters
    pass.bytes = half.bytes;
    counts_.bytes_resumed += half.bytes;
    input_.progress.bytes_done.fetch_add(half.bytes, std::memory_order_relaxed);
}

void WalkWorker::forget_pass(const ReadPass* pass) {
    if (input_.checkpoints == nullptr) return;
    std::lock_guard lock(walk_.mutex);
    std::erase_if(walk_.passes, [&](const auto& one) { return one.get() == pass; });
}

ChunkBuffer* WalkWorker::wait_for_buffer() {
    for (;;) {
        WalkQueue::BufferOrChunk got = walk_.queue.take_buffer();
        if (!got.chunk) return got.buffer;
        store_chunk(*got.chunk);
    }
}

void WalkWorker::store_chunk(ChunkTask& task) {
    BlobId id;
    std::uint64_t stored = 0;
    const ByteView chunk{task.buffer->data(), task.size};
    bool saved = save_blob(BlobType::data, chunk, id, &stored);
    if (stored != 0) {
        task.pass->plain_new += task.size;
        task.pass->stored_new += stored;
        if (task.index == 0 && is_compressed_format(chunk)) task.pass->is_known_format = true;
    }
    walk_.queue.release_buffer(task.buffer);
    if (!saved) return;
    {
        std::lock_guard lock(task.pass->mutex);
        task.pass->content[task.index] = id;
        task.pass->is_stored[task.index] = true;
    }
    release(task.pass);
}

void WalkWorker::release(const std::shared_ptr<ReadPass>& pass) {
    if (pass->pending.fetch_sub(1) == 1 && pass->is_final) complete_large(*pass);
}

void WalkWorker::complete_large(ReadPass& pass) {
    WalkGate::Inside inside(walk_.gate);
    forget_pass(&pass);
    LargeFile& file = *pass.file;
    NodeFields node = fields(file.name, pass.status);
    node.size = pass.bytes;
    node.content = pass.content;
    node.xattr_json = pass.xattr_json;
    encoder_.append_node(node, file.node);
    bool same = !file.before.empty() && as_text(file.node) == file.before;
    file.node.push_back(',');
    ++(!file.was_file ? counts_.files_new
       : same         ? counts_.files_unmodified
                      : counts_.files_changed);
    if (file.was_file) parent_.note_file(file.bytes_before);
    if (input_.parent_tree) {
        Texture texture = texture_of(pass.plain_new, pass.stored_new, {});
        if (pass.is_known_format && texture == Texture::opaque) texture = Texture::orderly;
        // Nothing of it was new to the repository: the content is not of today.
        bool is_same = file.was_file && pass.plain_new == 0;
        witness_.note_read(node.inode, file.name, file.was_file, is_same, file.was_compressed,
                           texture);
    }
    counts_.total_bytes += pass.bytes;
    ++items_noted_;
    note_progress();
    end_large(file);
}

// The file's part of the directory is done, with a node or without.
void WalkWorker::end_large(LargeFile& file) {
    Directory& directory = *file.directory;
    if (directory.pending.fetch_sub(1) == 1) finish(directory);
}

void WalkWorker::except_large(const LargeFile& file, Error error) {
    if (error.os_error() == EMFILE || error.os_error() == ENFILE || error.os_error() == ENOMEM)
        return walk_.queue.fail(std::move(error));
    std::string path = directory_path(*file.directory);
    append_path(path, file.name);
    except(std::move(path), std::move(error));
}

}  // namespace backup
