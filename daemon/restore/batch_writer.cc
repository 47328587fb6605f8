#include "daemon/restore/batch_writer.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "daemon/restore/parallel.h"
#include "daemon/restore/temp_file.h"
#include "daemon/restore/temp_name.h"

namespace backup {

namespace {

// Up to so many files a batch syncs one by one: cheaper than waiting for all that the machine has
// in flight.
constexpr std::size_t kFewFiles = 16;
// Files with several blobs that stay open between two of them; further ones are opened again for
// every blob.
constexpr int kMostOpenFiles = 256;
constexpr std::size_t kMostConflictsKept = 1000;
constexpr unsigned kMostNames = 99;

// Errors that would meet every following object, too.
bool ends_restore(const Error& error) {
    switch (error.kind()) {
        case ErrorKind::no_space:
        case ErrorKind::cancelled:
        case ErrorKind::transient:
            return true;
        case ErrorKind::not_found:
        case ErrorKind::denied:
        case ErrorKind::invalid:
        case ErrorKind::corrupt:
        case ErrorKind::conflict:
        case ErrorKind::io:
            break;
    }
    switch (error.os_error()) {
        case EMFILE:
        case ENFILE:
        case ENOMEM:
        case EROFS:
            return true;
        default:
            return error.code() == ErrorCode::repository_unavailable ||
                   error.code() == ErrorCode::offline;
    }
}

bool is_unwritable(const Error& error) {
    return error.os_error() == EACCES || error.os_error() == EPERM;
}

Error as_damage(const Error& error) {
    if (error.kind() != ErrorKind::not_found) return error;
    return Error(ErrorKind::corrupt, ErrorCode::repository_damaged, error.message());
}

bool is_made_here(Action action) {
    return action == Action::create || action == Action::replace || action == Action::keep_both;
}

}  // namespace

RestoreCounts SharedCounts::snapshot() const {
    RestoreCounts counts;
    counts.created = created;
    counts.replaced = replaced;
    counts.kept_both = kept_both;
    counts.skipped = skipped;
    counts.unchanged = unchanged;
    counts.failed = failed;
    counts.files = files;
    counts.directories = directories;
    counts.others = others;
    counts.bytes = bytes;
    counts.bytes_fetched = bytes_fetched;
    return counts;
}

Result<> BatchWriter::write(BatchInFlight& batch, std::stop_token stop) {
    batch.number = ++batch_count_;
    for (const EnterDirectory& one : batch.plan->enters) {
        if (stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        TRY(enter(one, batch));
    }
    TRY(resolve(batch, stop));

    std::vector<bool> wanted(batch.states.size());
    for (std::uint32_t i = 0; i < wanted.size(); ++i) {
        const ObjectState& state = batch.states[i];
        wanted[i] = batch.plan->objects[i].type == NodeType::file && is_made_here(state.action) &&
                    !state.is_link && !state.is_done;
    }
    batch.content = plan_content(*batch.plan, wanted,
                                 [&](const BlobHandle& handle) { return blobs_.locate(handle); });
    for (const ContentPlan::Refused& refused : batch.content.refused)
        TRY(fail(batch, refused.object,
                 Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                       refused.missing ? "blob " + refused.missing->short_hex() +
                                             " is missing from the repository"
                                       : "the stored size does not match the content")));
    return make_objects(batch, stop);
}

// ---- what happens to each object

Result<> BatchWriter::resolve(BatchInFlight& batch, std::stop_token stop) {
    constexpr std::size_t kAtOnce = 64;
    const std::size_t count = batch.states.size();
    TRY(in_parallel(
        options_.threads, (count + kAtOnce - 1) / kAtOnce, stop, [&](std::size_t chunk) {
            const std::size_t end = std::min(count, (chunk + 1) * kAtOnce);
            for (std::size_t i = chunk * kAtOnce; i < end; ++i) {
                const PlanObject& object = batch.plan->objects[i];
                if (object.link_group != kNoLinkGroup && !object.leads_group) continue;
                if (Result<> done = resolve_one(batch, static_cast<std::uint32_t>(i)); !done.ok())
                    return done;
            }
            return Result<>();
        }));
    // Links need to know what becomes of the first name.
    for (std::uint32_t i = 0; i < count; ++i) {
        const PlanObject& object = batch.plan->objects[i];
        if (object.link_group != kNoLinkGroup && !object.leads_group) TRY(resolve_link(batch, i));
    }
    return {};
}

Result<> BatchWriter::resolve_one(BatchInFlight& batch, std::uint32_t index) {
    Result<Action> action = classify(batch, index);
    if (!action.ok()) return fail(batch, index, std::move(action).error());
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    if (object.link_group != kNoLinkGroup &&
        (is_made_here(*action) || *action == Action::unchanged ||
         *action == Action::set_metadata)) {
        state.is_group_head = true;
        GroupHead head;
        head.state = is_made_here(*action) ? GroupHead::State::promised : GroupHead::State::present;
        head.directory = object.parent;
        head.name = landing_name(batch, index);
        head.inode = state.inode;
        set_group_head(object.link_group, std::move(head));
    }
    return act_on(batch, index, *action);
}

Result<> BatchWriter::resolve_link(BatchInFlight& batch, std::uint32_t index) {
    const PlanObject& object = batch.plan->objects[index];
    const GroupHead head = group_head(object.link_group);
    // The first name stayed as it was: this one has the content then.
    if (head.state == GroupHead::State::none) return resolve_one(batch, index);
    if (head.state == GroupHead::State::failed)
        return fail(batch, index,
                    Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                          "a hard link to a file that could not be restored"));
    Result<Action> action = classify(batch, index);
    if (!action.ok()) return fail(batch, index, std::move(action).error());
    ObjectState& state = batch.states[index];
    const bool is_same_file =
        head.state == GroupHead::State::present && head.inode != 0 && head.inode == state.inode;
    const bool relinks = options_.on_conflict == ConflictMode::replace && !is_same_file &&
                         (*action == Action::unchanged || *action == Action::set_metadata);
    if (relinks) *action = Action::replace;
    if (is_same_file && *action == Action::set_metadata) *action = Action::unchanged;
    state.is_link = is_made_here(*action);
    return act_on(batch, index, *action);
}

Result<Action> BatchWriter::classify(BatchInFlight& batch, std::uint32_t index) {
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    switch (directories_.state(object.parent)) {
        case DirectoryState::created:
            state.is_hidden = directories_.is_hidden(object.parent, batch.number);
            return Action::create;
        case DirectoryState::imagined:
            return Action::create;
        case DirectoryState::skipped:
            return Action::skip;
        case DirectoryState::failed:
        case DirectoryState::pending:
            return Error(ErrorKind::io, "its directory could not be made");
        case DirectoryState::existed:
        case DirectoryState::resumed:
            break;
    }
    const SharedFd directory = TRY(directories_.open(object.parent));
    if (!options_.dry_run && directories_.claim_cleaning(object.parent))
        remove_leftovers(directory->get());
    const bool must_hash = options_.on_conflict == ConflictMode::replace || options_.verify;
    const ContentCheck check = must_hash ? ContentCheck::hash : ContentCheck::trust;
    const std::string name(batch.plan->text(object.name));
    const Look look = TRY(look_at(directory->get(), name, object, *batch.plan, blobs_, check));
    state.inode = look.inode;
    const Action action = decide(options_.on_conflict, look.existing);
    if (look.existing.is_there && action != Action::unchanged && action != Action::set_metadata)
        note_conflict(path_of(*batch.plan, object));
    if (action != Action::keep_both) return action;
    for (unsigned attempt = 1; attempt <= kMostNames; ++attempt) {
        const std::string other = keep_both_name(name, options_.suffix, attempt);
        const Look beside =
            TRY(look_at(directory->get(), other, object, *batch.plan, blobs_, check));
        const Action found = decide(options_.on_conflict, beside.existing);
        if (found == Action::keep_both) continue;
        state.landing_name = other;
        state.inode = beside.inode;
        return found == Action::create ? Action::keep_both : found;
    }
    return Error(ErrorKind::conflict, ErrorCode::conflict,
                 "there are " + std::to_string(kMostNames) + " restored copies beside it already");
}

Result<> BatchWriter::act_on(BatchInFlight& batch, std::uint32_t index, Action action) {
    ObjectState& state = batch.states[index];
    state.action = action;
    switch (action) {
        case Action::create:
        case Action::replace:
        case Action::keep_both:
        case Action::set_metadata:
            return {};
        case Action::skip:
            counts_.skipped.fetch_add(1, std::memory_order_relaxed);
            break;
        case Action::unchanged:
            counts_.unchanged.fetch_add(1, std::memory_order_relaxed);
            break;
        case Action::conflict:
            return fail(
                batch, index,
                Error(ErrorKind::conflict, ErrorCode::conflict, "something else is there already"));
        case Action::refuse:
            return fail(batch, index,
                        Error(ErrorKind::conflict, ErrorCode::conflict,
                              "a directory with entries stands in its place; it is not removed"));
    }
    state.is_done = true;
    progress_.items_done.fetch_add(1, std::memory_order_relaxed);
    return {};
}

Result<> BatchWriter::look_at_objects(BatchInFlight& batch, std::stop_token stop) {
    return in_parallel(options_.threads, batch.states.size(), stop, [&](std::size_t i) {
        // What cannot be looked at is no conflict: the run itself will say so.
        (void)classify(batch, static_cast<std::uint32_t>(i)).ok();
        return Result<>();
    });
}

// ---- content

Result<> BatchWriter::make_objects(BatchInFlight& batch, std::stop_token stop) {
    std::vector<std::uint32_t> others;
    std::size_t files = 0;
    for (const Piece& piece : batch.content.pieces)
        batch.states[piece.object].pieces_left.fetch_add(1, std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < batch.states.size(); ++i) {
        ObjectState& state = batch.states[i];
        if (state.is_done || state.has_failed || !is_made_here(state.action)) continue;
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
                          {pack, piece.offset, piece.length, piece.uncompressed_length}});
    }
    first_piece.push_back(pieces.size());
    return blobs_.load_from_pack(
        pack, wanted, [&](std::size_t index, Result<ByteView> plaintext) -> Result<> {
            if (!plaintext.ok() && ends_restore(plaintext.error()))
                return std::move(plaintext).error();
            counts_.bytes_fetched.fetch_add(wanted[index].location.length,
                                            std::memory_order_relaxed);
            for (std::size_t i = first_piece[index]; i < first_piece[index + 1]; ++i) {
                if (stop.stop_requested())
                    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
                TRY(take_piece(batch, pieces[i], plaintext));
            }
            return {};
        });
}

Result<> BatchWriter::take_piece(BatchInFlight& batch, const Piece& piece,
                                 const Result<ByteView>& content) {
    Result<> done;
    if (!content.ok()) {
        done = fail(batch, piece.object, as_damage(content.error()));
    } else if (!batch.states[piece.object].has_failed) {
        if (content->size() != batch.content.blob_lengths[piece.blob])
            done = fail(batch, piece.object,
                        Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                              "a blob has another length than the index says"));
        else
            done = write_piece(batch, piece, *content);
        if (!done.ok()) done = fail(batch, piece.object, std::move(done).error());
        progress_.bytes_done.fetch_add(content->size(), std::memory_order_relaxed);
    }
    if (!done.ok()) return done;
    if (batch.states[piece.object].pieces_left.fetch_sub(1, std::memory_order_acq_rel) == 1)
        return end_of_pieces(batch, piece.object);
    return {};
}

Result<> BatchWriter::write_piece(BatchInFlight& batch, const Piece& piece, ByteView content) {
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
    const bool ends_in_data = TRY(write_sparse(fd, piece.file_offset, content));
    if (ends_in_data && piece.file_offset + content.size() == object.size)
        state.reaches_end.store(true, std::memory_order_relaxed);
    return {};
}

// All pieces were taken, by whichever thread: the file is completed, or what there is of it
// removed.
Result<> BatchWriter::end_of_pieces(BatchInFlight& batch, std::uint32_t index) {
    ObjectState& state = batch.states[index];
    UniqueFd fd(state.fd.exchange(-1));
    if (fd) open_files_.fetch_sub(1);
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
    std::string name = making_name(batch, index);
    UniqueFd fd = TRY(create_temp(directory->get(), name));
    state.temp_name = std::move(name);
    state.reaches_end = true;
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
        blobs_));
    if (!is_right) return Error(ErrorKind::io, "what was read back is not what was written");
    return {};
}

Result<> BatchWriter::make_special(BatchInFlight& batch, std::uint32_t index) {
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    const SharedFd directory = TRY(directories_.open(object.parent));
    std::string name = making_name(batch, index);
    int rc = -1;
    std::string what = "make the node";
    if (object.type == NodeType::symlink) {
        const std::string target(batch.plan->text(object.link_target));
        what = "make the symbolic link";
        rc = ::symlinkat(target.c_str(), directory->get(), name.c_str());
    } else {
        const mode_t type = object.type == NodeType::fifo      ? S_IFIFO
                            : object.type == NodeType::chardev ? S_IFCHR
                                                               : S_IFBLK;
        what = object.type == NodeType::fifo ? "make the fifo" : "make the device node";
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

// ---- bookkeeping

Result<> BatchWriter::fail(BatchInFlight& batch, std::uint32_t index, Error error) {
    if (ends_restore(error))
        return std::move(error).during("restore " +
                                       printable(path_of(*batch.plan, batch.plan->objects[index])));
    ObjectState& state = batch.states[index];
    if (state.has_failed.exchange(true)) return {};
    const PlanObject& object = batch.plan->objects[index];
    if (state.is_group_head) {
        GroupHead head = group_head(object.link_group);
        head.state = GroupHead::State::failed;
        set_group_head(object.link_group, std::move(head));
    }
    counts_.failed.fetch_add(1, std::memory_order_relaxed);
    progress_.items_done.fetch_add(1, std::memory_order_relaxed);
    // Told once, with the directory.
    if (directories_.state(object.parent) == DirectoryState::failed) return {};
    if (is_unwritable(error) && state.temp_name.empty() && object.type != NodeType::dev &&
        object.type != NodeType::chardev) {
        if (directories_.claim_unwritable(object.parent))
            exceptions_.add(directories_.source_path(object.parent),
                            std::move(error).during("nothing can be restored in this directory"));
        return {};
    }
    exceptions_.add(path_of(*batch.plan, object), std::move(error));
    return {};
}

void BatchWriter::refuse(std::string path, Error error) {
    counts_.failed.fetch_add(1, std::memory_order_relaxed);
    exceptions_.add(std::move(path), std::move(error));
}

void BatchWriter::note_conflict(std::string path) {
    conflict_count_.fetch_add(1, std::memory_order_relaxed);
    std::lock_guard lock(mutex_);
    if (conflicts_.size() < kMostConflictsKept) conflicts_.push_back(std::move(path));
}

std::vector<std::string> BatchWriter::conflicts() const {
    std::lock_guard lock(mutex_);
    return conflicts_;
}

void BatchWriter::discard_temp(BatchInFlight& batch, std::uint32_t index) {
    ObjectState& state = batch.states[index];
    if (UniqueFd fd(state.fd.exchange(-1)); fd) open_files_.fetch_sub(1);
    if (state.temp_name.empty()) return;
    if (Result<SharedFd> directory = directories_.open(batch.plan->objects[index].parent);
        directory.ok())
        ::unlinkat((*directory)->get(), state.temp_name.c_str(), 0);
    state.temp_name.clear();
    state.is_made = false;
}

void BatchWriter::abandon(BatchInFlight& batch) {
    for (std::uint32_t i = 0; i < batch.states.size(); ++i) {
        ObjectState& state = batch.states[i];
        // Hidden ones go with their directory; revealed ones stay, they are whole.
        if (state.is_hidden) state.temp_name.clear();
        discard_temp(batch, i);
    }
    for (const BatchInFlight::HiddenTop& top : batch.hidden)
        if (Result<SharedFd> above = directories_.open(top.parent); above.ok())
            remove_tree((*above)->get(), directories_.name(top.directory));
    batch.hidden.clear();
}

void BatchWriter::count_done(BatchInFlight& batch, std::uint32_t index) {
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    switch (state.action) {
        case Action::create:
            ++counts_.created;
            break;
        case Action::replace:
        case Action::set_metadata:
            ++counts_.replaced;
            break;
        case Action::keep_both:
            ++counts_.kept_both;
            break;
        case Action::skip:
        case Action::unchanged:
        case Action::conflict:
        case Action::refuse:
            break;
    }
    ++(object.type == NodeType::file ? counts_.files : counts_.others);
    if (object.type == NodeType::file && is_made_here(state.action) && !state.is_link)
        counts_.bytes += object.size;
    state.is_done = true;
    progress_.items_done.fetch_add(1, std::memory_order_relaxed);
}

std::string BatchWriter::path_of(const RestoreBatch& batch, const PlanObject& object) const {
    return directories_.source_path(object.parent, batch.text(object.name));
}

std::string BatchWriter::landing_name(const BatchInFlight& batch, std::uint32_t index) const {
    const ObjectState& state = batch.states[index];
    if (!state.landing_name.empty()) return state.landing_name;
    return std::string(batch.plan->text(batch.plan->objects[index].name));
}

std::string BatchWriter::making_name(const BatchInFlight& batch, std::uint32_t index) const {
    return batch.states[index].is_hidden ? landing_name(batch, index) : next_temp_name();
}

BatchWriter::GroupHead BatchWriter::group_head(LinkGroup group) {
    std::lock_guard lock(mutex_);
    const auto found = groups_.find(group);
    return found == groups_.end() ? GroupHead{} : found->second;
}

void BatchWriter::set_group_head(LinkGroup group, GroupHead head) {
    std::lock_guard lock(mutex_);
    groups_[group] = std::move(head);
}

void BatchWriter::drop_group_head(LinkGroup group) {
    std::lock_guard lock(mutex_);
    groups_.erase(group);
}

}  // namespace backup
