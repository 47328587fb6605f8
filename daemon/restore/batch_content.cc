// The objects of a batch are made: blobs fetched pack by pack and written to all their places,
// links and nodes.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "common/path.h"
#include "daemon/restore/batch_writer.h"
#include "daemon/restore/parallel.h"
#include "daemon/restore/temp_file.h"

namespace backup {

namespace {

// Up to so many files a batch syncs one by one: cheaper than waiting for all that the machine has
// in flight.
constexpr std::size_t kFewFiles = 16;
// Files with several blobs that stay open between two of them; further ones are opened again for
// every blob.
constexpr int kMostOpenFiles = 256;

void note_first_byte(Progress& progress) {
    if (progress.first_byte_usec.load(std::memory_order_relaxed) != 0) return;
    std::uint64_t none = 0;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    progress.first_byte_usec.compare_exchange_strong(
        none, static_cast<std::uint64_t>(
                  std::chrono::duration_cast<std::chrono::microseconds>(now).count()));
}

Error as_damage(const Error& error) {
    if (error.kind() != ErrorKind::not_found) return error;
    return Error(ErrorKind::corrupt, ErrorCode::repository_damaged, error.message());
}

}  // namespace

Result<> BatchWriter::make_objects(BatchInFlight& batch, std::stop_token stop) {
    std::vector<std::uint32_t> others;
    std::size_t files = 0;
    for (const Piece& piece : batch.content.pieces)
        batch.states[piece.object].pieces_left.fetch_add(1, std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < batch.states.size(); ++i) {
        ObjectState& state = batch.states[i];
        if (state.is_done || state.has_failed || !is_made(state.action)) continue;
        if (batch.plan->objects[i].type == NodeType::file && !state.is_link) ++files;
        if (state.pieces_left == 0 && !state.is_link) others.push_back(i);
    }
    if (options_.dry_run) {
        counts_.bytes_fetched += batch.content.bytes_to_fetch;
        for (std::uint32_t i = 0; i < batch.states.size(); ++i)
            if (!batch.states[i].is_done && !batch.states[i].has_failed) count_done(batch, i);
        return {};
    }
    batch.sync_each = files <= kFewFiles;

    constexpr std::size_t kAtOnce = 64;
    const std::size_t chunks = (others.size() + kAtOnce - 1) / kAtOnce;
    const std::size_t runs = batch.content.runs.size();
    return in_parallel(options_.threads, runs + chunks, stop, [&](std::size_t item) -> Result<> {
        if (item < runs) return fetch_run(batch, batch.content.runs[item], stop);
        const std::size_t begin = (item - runs) * kAtOnce;
        for (std::size_t i = begin; i < std::min(others.size(), begin + kAtOnce); ++i)
            TRY(make_without_content(batch, others[i]));
        return {};
    });
}

Result<> BatchWriter::fetch_run(BatchInFlight& batch, const PackRun& run, std::stop_token stop) {
    const std::span pieces = std::span(batch.content.pieces).subspan(run.first, run.count);
    std::vector<BlobSource::Wanted> wanted;
    std::vector<std::size_t> first_piece;
    const PackId& pack = batch.content.packs[run.pack];
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        const Piece& piece = pieces[i];
        if (i > 0 && pieces[i - 1].offset == piece.offset && pieces[i - 1].length == piece.length)
            continue;
        first_piece.push_back(i);
        wanted.push_back({{BlobType::data, batch.plan->blobs[piece.blob]},
                          {pack, piece.offset, piece.length, piece.uncompressed_length},
                          piece.file_offset});
    }
    first_piece.push_back(pieces.size());
    JoinedPieces joined;
    Result<> loaded = blobs_.load_from_pack(
        pack, wanted, [&](std::size_t index, Result<ByteView> plaintext) -> Result<> {
            if (!plaintext.ok() && ends_restore(plaintext.error()))
                return std::move(plaintext).error();
            counts_.bytes_fetched.fetch_add(wanted[index].location.length,
                                            std::memory_order_relaxed);
            // Who comes too fast waits here, before the next is fetched.
            if (options_.pace && !options_.pace->pass(wanted[index].location.length))
                return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
            const std::size_t next = first_piece[index + 1];
            // Zeros may have thousands of places, and are looked at once.
            const bool is_hole = plaintext.ok() && is_zero(*plaintext);
            for (std::size_t i = first_piece[index]; i < next; ++i) {
                if (stop.stop_requested())
                    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
                const bool goes_on = i + 1 == next && next < pieces.size() &&
                                     pieces[next].object == pieces[i].object;
                TRY(take_piece(batch, pieces[i], {plaintext, is_hole, goes_on}, joined));
            }
            return {};
        });
    if (!loaded.ok()) return loaded;
    return write_joined(batch, joined);
}

Result<> BatchWriter::take_piece(BatchInFlight& batch, const Piece& piece, const Taken& taken,
                                 JoinedPieces& joined) {
    const Result<ByteView>& content = taken.content;
    const bool is_sound = content.ok() && content->size() == batch.content.blob_lengths[piece.blob];
    const bool may_join = is_sound && !taken.is_hole;
    if (may_join && !joined.pieces().empty() && joined.take(piece, *content)) return {};
    TRY(write_joined(batch, joined));
    if (may_join && taken.goes_on && joined.take(piece, *content)) return {};

    if (!content.ok()) return end_of_piece(batch, piece, false, as_damage(content.error()));
    if (batch.states[piece.object].has_failed) return end_of_piece(batch, piece, false, {});
    if (!is_sound)
        return end_of_piece(batch, piece, true,
                            Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                                  "a blob has another length than the index says"));
    return end_of_piece(batch, piece, true, write_content(batch, piece, *content, taken.is_hole));
}

Result<> BatchWriter::write_joined(BatchInFlight& batch, JoinedPieces& joined) {
    if (joined.pieces().empty()) return {};
    const Piece& first = *joined.pieces().front();
    const bool is_wanted = !batch.states[first.object].has_failed;
    Result<> done;
    if (is_wanted) done = write_content(batch, first, joined.content(), false);
    for (const Piece* piece : joined.pieces())
        TRY(end_of_piece(batch, *piece, is_wanted, std::exchange(done, {})));
    joined.clear();
    return {};
}

Result<> BatchWriter::end_of_piece(BatchInFlight& batch, const Piece& piece, bool was_wanted,
                                   Result<> done) {
    if (was_wanted) {
        note_first_byte(progress_);
        if (failpoint("restore.piece")) done = Error(ErrorKind::io, "failpoint restore.piece");
        progress_.bytes_done.fetch_add(batch.content.blob_lengths[piece.blob],
                                       std::memory_order_relaxed);
    }
    if (!done.ok()) TRY(fail(batch, piece.object, std::move(done).error()));
    if (batch.states[piece.object].pieces_left.fetch_sub(1, std::memory_order_acq_rel) == 1)
        return end_of_pieces(batch, piece.object);
    return {};
}

Result<> BatchWriter::write_content(BatchInFlight& batch, const Piece& piece, ByteView content,
                                    bool is_hole) {
    const PlanObject& object = batch.plan->objects[piece.object];
    ObjectState& state = batch.states[piece.object];
    int fd = state.fd.load(std::memory_order_acquire);
    UniqueFd own;
    if (fd < 0) {
        const SharedFd directory = TRY(directories_.open(object.parent));
        std::lock_guard lock(file_locks_[piece.object % kLocks]);
        fd = state.fd.load(std::memory_order_acquire);
        if (fd < 0) {
            if (state.temp_name.empty()) {
                std::string name = making_name(batch, piece.object);
                own = TRY(create_temp(directory->get(), name));
                state.temp_name = std::move(name);
            } else {
                own = TRY(reopen_temp(directory->get(), state.temp_name, O_WRONLY));
            }
            fd = own.get();
            if (open_files_.fetch_add(1) < kMostOpenFiles)
                state.fd.store(own.release(), std::memory_order_release);
            else
                open_files_.fetch_sub(1);
        }
    }
    if (is_hole) return {};
    UniqueFd own_direct;
    int direct_fd = -1;
    if (wants_direct(content.size())) {
        if (own) own_direct = open_direct(fd);
        direct_fd = own ? own_direct.get() : direct_fd_of(batch, piece.object, fd);
    }
    std::unique_lock turn(write_locks_[piece.object % kLocks], std::defer_lock);
    if (direct_fd >= 0) turn.lock();
    const bool ends_in_data = TRY(write_sparse(fd, direct_fd, piece.file_offset, content));
    if (ends_in_data && piece.file_offset + content.size() == object.size)
        state.reaches_end.store(true, std::memory_order_relaxed);
    return {};
}

int BatchWriter::direct_fd_of(BatchInFlight& batch, std::uint32_t index, int fd) {
    ObjectState& state = batch.states[index];
    int direct_fd = state.direct_fd.load(std::memory_order_acquire);
    if (direct_fd == -1) {
        std::lock_guard lock(file_locks_[index % kLocks]);
        direct_fd = state.direct_fd.load(std::memory_order_acquire);
        if (direct_fd == -1) {
            UniqueFd opened = open_direct(fd);
            direct_fd = opened ? opened.release() : ObjectState::kNoDirect;
            state.direct_fd.store(direct_fd, std::memory_order_release);
        }
    }
    return std::max(direct_fd, -1);
}

// All descriptors of it but the one that is returned are closed.
UniqueFd BatchWriter::take_open_file(ObjectState& state) {
    UniqueFd(state.direct_fd.exchange(-1)).reset();
    UniqueFd fd(state.fd.exchange(-1));
    if (fd) open_files_.fetch_sub(1);
    return fd;
}

// All pieces were taken, by whichever thread: the file is completed, or what there is of it
// removed.
Result<> BatchWriter::end_of_pieces(BatchInFlight& batch, std::uint32_t index) {
    ObjectState& state = batch.states[index];
    UniqueFd fd = take_open_file(state);
    if (state.has_failed) {
        discard_temp(batch, index);
        return {};
    }
    const auto complete = [&]() -> Result<> {
        const SharedFd directory = TRY(directories_.open(batch.plan->objects[index].parent));
        if (!fd) fd = TRY(reopen_temp(directory->get(), state.temp_name, O_WRONLY));
        return complete_file(batch, index, directory->get(), std::move(fd));
    };
    if (Result<> done = complete(); !done.ok()) {
        Result<> noted = fail(batch, index, std::move(done).error());
        discard_temp(batch, index);
        return noted;
    }
    return {};
}

Result<> BatchWriter::make_without_content(BatchInFlight& batch, std::uint32_t index) {
    Result<> done = batch.plan->objects[index].type == NodeType::file
                        ? make_empty_file(batch, index)
                        : make_special(batch, index);
    if (done.ok()) return done;
    Result<> noted = fail(batch, index, std::move(done).error());
    discard_temp(batch, index);
    return noted;
}

Result<> BatchWriter::make_empty_file(BatchInFlight& batch, std::uint32_t index) {
    ObjectState& state = batch.states[index];
    const SharedFd directory = TRY(directories_.open(batch.plan->objects[index].parent));
    UniqueFd fd;
    if (state.temp_name.empty()) {
        std::string name = making_name(batch, index);
        fd = TRY(create_temp(directory->get(), name));
        state.temp_name = std::move(name);
        state.reaches_end = true;
    } else {
        // A run that was cut off had all of it.
        fd = TRY(reopen_temp(directory->get(), state.temp_name, O_WRONLY));
    }
    return complete_file(batch, index, directory->get(), std::move(fd));
}

Result<> BatchWriter::complete_file(BatchInFlight& batch, std::uint32_t index, int directory_fd,
                                    UniqueFd fd) {
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    if (!state.reaches_end && ::ftruncate(fd.get(), static_cast<off_t>(object.size)) != 0)
        return Error::from_errno(errno, "set the size");
    if (options_.verify) TRY(read_back(batch, index, directory_fd, fd.get()));
    set_metadata(
        fd.get(), object.type, object.metadata, *batch.plan,
        [&] { return path_of(*batch.plan, object); }, metadata_problems_);
    struct stat status {};
    if (state.is_group_head && ::fstat(fd.get(), &status) == 0) state.inode = status.st_ino;
    if (batch.sync_each && ::fsync(fd.get()) != 0) return Error::from_errno(errno, "sync");
    // Network file systems tell on close that data were lost.
    if (::close(fd.release()) != 0 && errno != EINTR) return Error::from_errno(errno, "close");
    state.is_made = true;
    return {};
}

// From the disk, not from the page cache: synced, dropped, read again.
Result<> BatchWriter::read_back(BatchInFlight& batch, std::uint32_t index, int directory_fd,
                                int fd) {
    const PlanObject& object = batch.plan->objects[index];
    UniqueFd again = TRY(reopen_temp(directory_fd, batch.states[index].temp_name, O_RDONLY));
    if (::fsync(fd) != 0) return Error::from_errno(errno, "sync");
    (void)::posix_fadvise(again.get(), 0, 0, POSIX_FADV_DONTNEED);
    const bool is_right = TRY(has_content(
        again.get(), std::span(batch.plan->blobs).subspan(object.first_blob, object.blob_count),
        blobs_, options_.stop));
    if (!is_right) return Error(ErrorKind::io, "what was read back is not what was written");
    return {};
}

Result<> BatchWriter::make_special(BatchInFlight& batch, std::uint32_t index) {
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    const SharedFd directory = TRY(directories_.open(object.parent));
    std::string name = making_name(batch, index);
    // In a directory that a run before had begun: made anew.
    const auto is_left_by_us = [&](const std::string& left) {
        return state.is_hidden && directories_.is_adopted(object.parent) &&
               ::unlinkat(directory->get(), left.c_str(), 0) == 0;
    };
    int rc = -1;
    std::string what = "make the node";
    if (object.type == NodeType::symlink) {
        const std::string target(batch.plan->text(object.link_target));
        what = "make the symbolic link";
        rc = ::symlinkat(target.c_str(), directory->get(), name.c_str());
        if (rc != 0 && errno == EEXIST && is_left_by_us(name))
            rc = ::symlinkat(target.c_str(), directory->get(), name.c_str());
    } else {
        const mode_t type = object.type == NodeType::fifo      ? S_IFIFO
                            : object.type == NodeType::chardev ? S_IFCHR
                                                               : S_IFBLK;
        what = object.type == NodeType::fifo ? "make the fifo" : "make the device node";
        rc = ::mknodat(directory->get(), name.c_str(), type | 0600, object.device);
        if (rc != 0 && errno == EEXIST && is_left_by_us(name))
            rc = ::mknodat(directory->get(), name.c_str(), type | 0600, object.device);
    }
    if (rc != 0) return Error::from_errno(errno, what);
    state.temp_name = std::move(name);
    UniqueFd fd(
        ::openat(directory->get(), state.temp_name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) return Error::from_errno(errno, what);
    set_metadata(
        fd.get(), object.type, object.metadata, *batch.plan,
        [&] { return path_of(*batch.plan, object); }, metadata_problems_);
    state.inode = status.st_ino;
    state.is_made = true;
    return {};
}

}  // namespace backup
