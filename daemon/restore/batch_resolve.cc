// What happens to each object of a batch: decided before anything is made, by looking at what is
// there.
#include "common/path.h"
#include "daemon/restore/batch_writer.h"
#include "daemon/restore/parallel.h"
#include "daemon/restore/temp_name.h"

namespace backup {

namespace {

constexpr unsigned kMostNames = 99;

Timestamp time_of(const timespec& time) {
    return Timestamp(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

// What is there of it, whatever its size says. A long run of zeros is one blob again and again, and
// takes no room: it becomes a hole.
std::uint64_t bytes_on_disk(const RestoreBatch& batch, const PlanObject& object,
                            const BlobSource& source) {
    static const BlobId zeros = blob_id(Bytes(std::size_t{512} << 10));
    std::uint64_t bytes = 0;
    for (std::uint32_t i = object.first_blob; i < object.first_blob + object.blob_count; ++i) {
        if (batch.blobs[i] == zeros) continue;
        const auto location = source.locate({BlobType::data, batch.blobs[i]});
        if (location) bytes += location->plain_length();
    }
    return bytes;
}

}  // namespace

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
    *action = may_touch(batch, index, *action);
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    if (object.link_group != kNoLinkGroup &&
        (is_made(*action) || *action == Action::unchanged || *action == Action::set_metadata)) {
        state.is_group_head = true;
        GroupHead head;
        head.state = is_made(*action) ? GroupHead::State::promised : GroupHead::State::present;
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
    *action = may_touch(batch, index, *action);
    state.is_link = is_made(*action);
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
    look_for_leftovers(object.parent, directory->get());
    const bool must_hash = options_.on_conflict == ConflictMode::replace || options_.verify;
    const ContentCheck check = must_hash ? ContentCheck::hash : ContentCheck::trust;
    const std::string name(batch.plan->text(object.name));
    std::function<bool(const struct stat&)> is_known_right;
    if (options_.known_right != nullptr)
        is_known_right = [&](const struct stat& status) {
            return options_.known_right->is_same(directories_.target_path(object.parent, name),
                                                 status);
        };
    Look look = TRY(look_at(directory->get(), name, object, *batch.plan, blobs_, check,
                            options_.stop, is_known_right));
    state.inode = look.inode;
    Action action = decide(options_.on_conflict, look.existing);
    if (look.existing.is_there && action != Action::unchanged && action != Action::set_metadata)
        note_conflict(path_of(*batch.plan, object));
    if (action == Action::refuse && options_.removal != nullptr) {
        std::lock_guard lock(mutex_);
        if (options_.removal->clear_way(directory->get(), name,
                                        directories_.target_path(object.parent, name),
                                        path_of(*batch.plan, object), *options_.record))
            action = Action::replace;
    }
    if (look.existing.is_there) take_from_removal(object.parent, name);
    if (look.existing.is_there) {
        if (options_.record != nullptr && object.type == NodeType::file &&
            look.existing.same_content)
            options_.record->known_right().add(directories_.target_path(object.parent, name),
                                               look.status);
        if (action == Action::replace || action == Action::set_metadata ||
            action == Action::unchanged)
            state.there = std::make_unique<struct stat>(look.status);
    }
    if (action != Action::keep_both) return action;
    for (unsigned attempt = 1; attempt <= kMostNames; ++attempt) {
        const std::string other = keep_both_name(name, options_.suffix, attempt);
        const Look beside = TRY(
            look_at(directory->get(), other, object, *batch.plan, blobs_, check, options_.stop));
        const Action found = decide(options_.on_conflict, beside.existing);
        if (found == Action::keep_both) continue;
        if (beside.existing.is_there && options_.removal != nullptr) {
            std::lock_guard lock(mutex_);
            options_.removal->keep_beside(directories_.target_path(object.parent, other));
        }
        state.landing_name = other;
        state.inode = beside.inode;
        return found == Action::create ? Action::keep_both : found;
    }
    return Error(ErrorKind::conflict, ErrorCode::conflict,
                 "there are " + std::to_string(kMostNames) + " restored copies beside it already");
}

// What the revision has does not go, whoever named it.
void BatchWriter::take_from_removal(DirectoryIndex parent, const std::string& name) {
    if (options_.removal == nullptr) return;
    std::lock_guard lock(mutex_);
    if (options_.removal->count() != 0)
        options_.removal->keep(directories_.target_path(parent, name));
}

Action BatchWriter::may_touch(BatchInFlight& batch, std::uint32_t index, Action action) {
    const PlanObject& object = batch.plan->objects[index];
    ObjectState& state = batch.states[index];
    if ((action != Action::replace && action != Action::set_metadata) || !state.there)
        return action;
    const std::string name = landing_name(batch, index);
    Result<SharedFd> directory = directories_.open(object.parent);
    const char* why =
        !directory.ok()
            ? "its directory was replaced meanwhile: it was left as it is"
            : why_left_alone((*directory)->get(), name,
                             directories_.target_path(object.parent, name), *state.there);
    if (why == nullptr) return action;
    set_aside(batch, index, why);
    return Action::set_aside;
}

const char* BatchWriter::why_left_alone(int directory_fd, const std::string& name,
                                        const std::string& path, const struct stat& there) const {
    if (S_ISSOCK(there.st_mode)) return "a socket could not be given back: it was left as it is";
    const bool is_planned = options_.planned != nullptr && options_.planned->is_same(path, there);
    const bool is_known = is_planned || (options_.is_ours && options_.is_ours(path));
    // One that has further names gets a new ctime when another of them goes.
    if (!is_known && options_.unchanged_since && !S_ISDIR(there.st_mode) && there.st_nlink == 1 &&
        time_of(there.st_ctim) > *options_.unchanged_since)
        return "it was changed after the restore: it was left as it is";
    if (path.size() > options_.longest_kept)
        return "its path is too long for its present state to be kept: it was left as it is";
    if (S_ISREG(there.st_mode) && is_open_for_writing(directory_fd, name.c_str()))
        return "another program has it open for writing: it was left as it is";
    if (options_.planned != nullptr && !is_planned)
        return "it changed since the restore was planned: it was left as it is";
    if (options_.unsettled != nullptr && options_.unsettled->contains(path))
        return "it keeps changing: it was left as it is";
    return nullptr;
}

// Into the plan: what is made, what gives way, what the target cannot hold of it.
void BatchWriter::record(const BatchInFlight& batch, std::uint32_t index, Action action) {
    PlanRecord& record = *options_.record;
    const PlanObject& object = batch.plan->objects[index];
    const ObjectState& state = batch.states[index];
    const std::uint64_t bytes = object.type == NodeType::file && !state.is_link
                                    ? bytes_on_disk(*batch.plan, object, blobs_)
                                    : 0;
    if (action == Action::create || action == Action::keep_both)
        record.create(action == Action::create ? "create" : "keep-both",
                      directories_.target_path(object.parent, landing_name(batch, index)),
                      directories_.device(object.parent), bytes);
    else if (action == Action::replace && state.there)
        record.replace(directories_.target_path(object.parent, landing_name(batch, index)),
                       *state.there, bytes);
    else if (action == Action::set_metadata && state.there)
        record.alter(directories_.target_path(object.parent, landing_name(batch, index)),
                     *state.there);
    else
        return;
    if (!state.is_link)
        note_limits(object.type, object.metadata, *batch.plan, options_.support, record);
}

Result<> BatchWriter::act_on(BatchInFlight& batch, std::uint32_t index, Action action) {
    ObjectState& state = batch.states[index];
    state.action = action;
    if (options_.record != nullptr) record(batch, index, action);
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
        case Action::set_aside:
            return {};
    }
    state.is_done = true;
    note_unfetched(batch.plan->objects[index]);
    progress_.items_done.fetch_add(1, std::memory_order_relaxed);
    return {};
}

}  // namespace backup
