// What happens to each object of a batch: decided before anything is made, by looking at what is
// there.
#include "common/path.h"
#include "daemon/restore/batch_writer.h"
#include "daemon/restore/parallel.h"
#include "daemon/restore/temp_name.h"

namespace backup {

namespace {

constexpr unsigned kMostNames = 99;

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
    if (!options_.dry_run && directories_.claim_cleaning(object.parent))
        remove_leftovers(directory->get());
    const bool must_hash = options_.on_conflict == ConflictMode::replace || options_.verify;
    const ContentCheck check = must_hash ? ContentCheck::hash : ContentCheck::trust;
    const std::string name(batch.plan->text(object.name));
    const Look look =
        TRY(look_at(directory->get(), name, object, *batch.plan, blobs_, check, options_.stop));
    state.inode = look.inode;
    const Action action = decide(options_.on_conflict, look.existing);
    if (look.existing.is_there && action != Action::unchanged && action != Action::set_metadata)
        note_conflict(path_of(*batch.plan, object));
    if (action != Action::keep_both) return action;
    for (unsigned attempt = 1; attempt <= kMostNames; ++attempt) {
        const std::string other = keep_both_name(name, options_.suffix, attempt);
        const Look beside = TRY(
            look_at(directory->get(), other, object, *batch.plan, blobs_, check, options_.stop));
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

}  // namespace backup
