// What a measuring does where a backup makes a node, and what limits let a backup take in.
#include "daemon/archive/walk.h"

namespace backup {

namespace {

// Its content is another one, as far as stamps tell.
bool is_changed(const RawNode& before, const struct statx& status) {
    return before.inode != status.stx_ino || before.size != status.stx_size ||
           before.mtime() != file_time(status.stx_mtime);
}

}  // namespace

void WalkWorker::measure(Entry& entry, const struct statx& status) {
    if (S_ISSOCK(status.stx_mode)) return;  // not part of a revision
    has_counterpart_ = true;
    if (S_ISDIR(status.stx_mode)) return measure_directory(entry, status);
    const MeasureRequest& request = *input_.measure;
    const LimitValues& hard = request.limits->hard;
    const LimitValues& soft = request.limits->soft;
    const bool is_file = S_ISREG(status.stx_mode);
    const std::uint64_t size = is_file ? status.stx_size : 0;
    const RawNode* before = entry.before;
    const bool was_same = before != nullptr && (before->type == NodeType::file) == is_file &&
                          before->type != NodeType::dir;
    if (before != nullptr && !was_same) parent_.note_gone(*before, true);
    if (is_file && soft.file_size != 0 && size > soft.file_size) ++measured_.large_files;
    if (request.taken) request.taken(path_of_entry(entry), is_file, size);
    if (!was_same) {
        // What took the name of something that was safe comes in.
        const bool may_be_refused = before == nullptr && entry.target == nullptr;
        if (may_be_refused && is_file && hard.file_size != 0 && size > hard.file_size) {
            ++measured_.too_large_files;
            measured_.too_large_bytes += size;
            if (request.plan != nullptr) request.plan->plan_too_large(path_of_entry(entry));
            return;
        }
        ++measured_.new_items;
        measured_.new_files += is_file ? 1 : 0;
        measured_.new_bytes += size;
        if (request.plan != nullptr && !may_be_refused)
            request.plan->plan_fixed(size);
        else if (request.plan != nullptr && !request.plan->is_closed())
            request.plan->plan_new(path_of_entry(entry), is_file, size);
        return;
    }
    if (!is_file) return;
    parent_.note_file(before->size);
    ++measured_.kept_items;
    measured_.kept_bytes_before += before->size;
    const bool is_too_large = hard.file_size != 0 && size > std::max(hard.file_size, before->size);
    if (is_too_large && is_changed(*before, status) && request.plan != nullptr)
        request.plan->plan_too_large(path_of_entry(entry));
    if (!is_changed(*before, status) || is_too_large) {
        measured_.kept_bytes_now += before->size;
        return;
    }
    measured_.kept_bytes_now += size;
    ++measured_.changed_files;
    measured_.changed_bytes += size;
    if (request.plan != nullptr && entry.target == nullptr)
        request.plan->plan_change(path_of_entry(entry), before->size, size);
}

void WalkWorker::measure_directory(Entry& entry, const struct statx& status) {
    const MeasureRequest& request = *input_.measure;
    const Descent descent = descent_into(entry, status);
    count_replaced(entry, NodeType::dir);
    const RawNode* before = entry.before;
    const bool was_directory = before != nullptr && before->type == NodeType::dir;
    Origin origin;
    if (!descent.stays_empty)
        origin = origin_of(entry, status);
    else if (was_directory)
        origin = {before->subtree(), true};
    if (request.taken) request.taken(path_of_entry(entry), false, 0);
    if (origin.tree) {
        ++measured_.kept_items;
        ++counts_.dirs_unmodified;
    } else {
        ++measured_.new_items;
        if (request.plan != nullptr && (entry.target != nullptr || before != nullptr)) {
            request.plan->plan_fixed(0);
        } else if (request.plan != nullptr) {
            if (!request.plan->is_closed()) request.plan->plan_new(path_of_entry(entry), false, 0);
            // What is in it comes behind it.
            if (request.plan->is_closed()) return;
        }
    }
    if (descent.stays_empty) {
        tell_left_out(entry, descent.is_foreign ? "one-file-system" : "own");
        return;
    }
    if (input_.look_at != nullptr && origin.tree && !entry.follows_links() &&
        input_.look_at->directory(path_of_entry(entry)) == LookAt::Directory::untouched)
        return;
    ChildDirectory child = child_of(entry, descent);
    child.before = origin.tree;
    entry.fragment.children.push_back(std::move(child));
}

void WalkWorker::tell_left_out(const Entry& entry, const char* rule) {
    if (input_.measure == nullptr || !input_.measure->left_out) return;
    input_.measure->left_out(path_of_entry(entry), rule);
}

bool WalkWorker::may_come(Entry& entry, const struct statx& status) {
    if (entry.before != nullptr || S_ISSOCK(status.stx_mode)) return true;
    const bool is_file = S_ISREG(status.stx_mode);
    if (entry.target != nullptr) {
        input_.admission->came_anyway(is_file ? status.stx_size : 0);
        return true;
    }
    // A directory that has only moved brings nothing new.
    if (S_ISDIR(status.stx_mode) && input_.look_at != nullptr &&
        input_.look_at->was_at(path_of_entry(entry)))
        return true;
    return input_.admission->admits_new(path_of_entry(entry), is_file,
                                        is_file ? status.stx_size : 0);
}

bool WalkWorker::keep_old_file(Entry& entry, const struct statx& status) {
    const RawNode* before = entry.before;
    if (input_.admission == nullptr || before == nullptr || before->type != NodeType::file ||
        entry.target != nullptr || !is_changed(*before, status))
        return false;
    // What the repository lost must be read, whatever it is now.
    if (!before->has_content || !has_all_content(*before)) return false;
    if (input_.admission->admits_change(path_of_entry(entry), before->size, status.stx_size))
        return false;
    append(entry.fragment.out, as_bytes(before->bytes));
    entry.fragment.out.push_back(',');
    note_file(before, true, before->size);
    bytes_noted_ += before->size;
    return true;
}

}  // namespace backup
