#include "daemon/restore/batch_writer.h"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "common/path.h"
#include "daemon/restore/temp_name.h"

namespace backup {

namespace {

constexpr std::size_t kMostConflictsKept = 1000;

bool is_unwritable(const Error& error) {
    return error.os_error() == EACCES || error.os_error() == EPERM;
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
    counts.set_aside = set_aside;
    counts.files = files;
    counts.directories = directories;
    counts.others = others;
    counts.bytes = bytes;
    counts.bytes_fetched = bytes_fetched;
    counts.bytes_resumed = bytes_resumed;
    return counts;
}

bool BatchWriter::ends_restore(const Error& error) {
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

Result<> BatchWriter::write(BatchInFlight& batch, std::stop_token stop) {
    batch.number = ++batch_count_;
    for (const EnterDirectory& one : batch.plan->enters) {
        if (stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        TRY(enter(one, batch));
    }
    if (batch.has_adopted) TRY(clear_adopted(batch));
    TRY(resolve(batch, stop));

    std::vector<bool> wanted(batch.states.size());
    for (std::uint32_t i = 0; i < wanted.size(); ++i) {
        const ObjectState& state = batch.states[i];
        wanted[i] = batch.plan->objects[i].type == NodeType::file && is_made(state.action) &&
                    !state.is_link && !state.is_done;
    }
    if (!options_.dry_run) TRY(adopt_files(batch, wanted, stop));
    std::function<bool(std::uint32_t, std::uint32_t)> has;
    if (!batch.has_blob.empty())
        has = [&](std::uint32_t, std::uint32_t blob) { return batch.has_blob[blob]; };
    constexpr std::uint64_t kRunBytes = std::uint64_t{4} << 20;
    batch.content = plan_content(
        *batch.plan, wanted, [&](const BlobHandle& handle) { return blobs_.locate(handle); },
        kRunBytes, has);
    for (const ContentPlan::Refused& refused : batch.content.refused)
        TRY(fail(batch, refused.object,
                 Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                       refused.missing ? "blob " + refused.missing->short_hex() +
                                             " is missing from the repository"
                                       : "the stored size does not match the content")));
    for (const ContentPlan::Refused& refused : batch.content.refused)
        discard_temp(batch, refused.object);
    TRY(make_objects(batch, stop));
    return drop_unmade(batch);
}

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

// It stays as it is; told, and counted apart from failures.
void BatchWriter::set_aside(BatchInFlight& batch, std::uint32_t index, const char* why) {
    ObjectState& state = batch.states[index];
    discard_temp(batch, index);
    if (state.has_failed.exchange(true)) return;
    state.is_done = true;
    counts_.set_aside.fetch_add(1, std::memory_order_relaxed);
    if (!state.is_made) note_unfetched(batch.plan->objects[index]);
    progress_.items_done.fetch_add(1, std::memory_order_relaxed);
    exceptions_.add(path_of(*batch.plan, batch.plan->objects[index]),
                    Error(ErrorKind::conflict, ErrorCode::conflict, why));
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
    take_open_file(state).reset();
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

void BatchWriter::note_unfetched(const PlanObject& object) {
    if (object.type == NodeType::file)
        progress_.bytes_done.fetch_add(object.size, std::memory_order_relaxed);
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
        case Action::set_aside:
            break;
    }
    ++(object.type == NodeType::file ? counts_.files : counts_.others);
    if (object.type == NodeType::file && is_made(state.action) && !state.is_link)
        counts_.bytes += object.size;
    else
        note_unfetched(object);
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
    if (batch.states[index].is_hidden) return landing_name(batch, index);
    const PlanObject& object = batch.plan->objects[index];
    if (object.type != NodeType::file || object.blob_count == 0) return next_temp_name();
    return next_temp_name(content_mark(*batch.plan, object));
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
