// From a name to a finding: what a survey does where a backup makes a node.
#include <utility>

#include "common/log.h"
#include "daemon/archive/survey.h"
#include "daemon/archive/walk.h"
#include "daemon/repository/node_text.h"

namespace backup {

namespace {

using Kind = SurveyFinding::Kind;

// What a directory has that is stored empty: a mount point, or what is never entered.
const BlobId& empty_tree_id() {
    static const BlobId id = blob_id(as_bytes("{\"nodes\":[]}\n"));
    return id;
}

}  // namespace

void WalkWorker::compare(Entry& entry, const struct statx& status) {
    if (S_ISSOCK(status.stx_mode)) return;  // not part of a revision
    has_counterpart_ = true;
    ++compared_;
    ++items_noted_;
    NodeFields now = fields(entry.name, status);
    if (now.type == NodeType::dir) return compare_directory(entry, status, now);
    const RawNode* before = entry.before;
    if (before == nullptr || before->type != now.type) return tell(entry, Kind::created, false);
    if (before->type == NodeType::file && before->links > 1 && input_.survey->linked)
        input_.survey->linked(path_of_entry(entry), before->inode);
    bool same_content = before->inode == now.inode && before->size == now.size &&
                        before->device == now.device && before->mtime() == now.mtime &&
                        before->has_content == now.has_content;
    if (!same_content) return tell(entry, Kind::content, false);
    // Names of one file are known by inode and device number: those that are kept and those that
    // are written anew must have the same.
    bool same_file = now.links < 2 || before->device_id == now.device_id;
    if (!same_file || !same_metadata(now, *before)) return tell(entry, Kind::metadata, false);
    if (before->type == NodeType::file && is_unproven(entry, status))
        return tell(entry, Kind::unproven, false);
    const SurveyRequest& survey = *input_.survey;
    if (before->type == NodeType::file && now.size != 0 && survey.is_sample &&
        survey.is_sample(now.inode))
        survey.sample(path_of_entry(entry));
}

void WalkWorker::compare_directory(Entry& entry, const struct statx& status,
                                   const NodeFields& now) {
    const RawNode* before = entry.before;
    Descent descent = descent_into(entry, status);
    // Every run looks at the directories above those of the set: what they are is no finding.
    bool is_above = entry.target != nullptr && !entry.target->is_wanted();
    bool was_directory = before != nullptr && before->type == NodeType::dir;
    if (!is_above || !was_directory) {
        if (!was_directory || before->inode != now.inode) return tell(entry, Kind::created, true);
        if (descent.stays_empty) {
            if (before->subtree() != empty_tree_id()) tell(entry, Kind::content, true);
            return;
        }
        if (before->mtime() != now.mtime || !same_metadata(now, *before))
            tell(entry, Kind::metadata, true);
    }
    ChildDirectory child = child_of(entry, descent);
    child.before = before->subtree();
    entry.fragment.children.push_back(std::move(child));
}

// All else that a node tells. The device number of what has one name is left out: it is another one
// after many a restart, and says nothing about the object.
bool WalkWorker::same_metadata(const NodeFields& now, const RawNode& before) {
    return before.ctime() == now.ctime && before.mode == now.mode && before.uid == now.uid &&
           before.gid == now.gid && before.links == now.links &&
           same_text(before.user_json, now.user) && same_text(before.group_json, now.group);
}

// `json`: without its quotes.
bool WalkWorker::same_text(std::string_view json, std::string_view text) {
    bool is_plain = json.find('\\') == std::string_view::npos;
    if (is_plain && json == text) return true;
    text_.resize(most_text_bytes(text.size()));
    char* end = put_text(text_.data(), text, encoder_.rules());
    std::string_view quoted(text_.data(), static_cast<std::size_t>(end - text_.data()));
    return quoted.substr(1, quoted.size() - 2) == json;
}

void WalkWorker::tell(const Entry& entry, Kind kind, bool is_directory) {
    input_.survey->found(
        {kind, directory_path(entry.directory), std::string(entry.name), is_directory});
}

void WalkWorker::tell_gone(const Directory& directory, const RawNode& node) {
    input_.survey->found({Kind::gone, directory_path(directory), std::string(node.name),
                          node.type == NodeType::dir});
}

// About a directory as a whole, once its parent found it to be as it was.
void WalkWorker::tell(const Directory& directory, Kind kind) {
    input_.survey->found({kind, directory_path(*directory.parent), directory.name, true});
}

// Before a directory is opened.
void WalkWorker::wait_for_pace(ByteView before_json) {
    std::uint64_t entries = 0;
    TreeScanner scanner(before_json);
    for (auto next = scanner.next(); next.ok() && *next != nullptr; next = scanner.next())
        ++entries;
    input_.survey->pace(entries);
}

// The revision's tree of a directory cannot be had. If it never can, all in it is new.
void WalkWorker::survey_without(Directory& directory, Error error) {
    bool is_lost = error.kind() == ErrorKind::not_found || error.kind() == ErrorKind::corrupt;
    if (!is_lost || directory.parent == nullptr) return walk_.queue.fail(std::move(error));
    log_warning("a directory of the revision cannot be compared: " + error.message());
    tell(directory, Kind::created);
    complete(&directory, std::nullopt);
}

}  // namespace backup
