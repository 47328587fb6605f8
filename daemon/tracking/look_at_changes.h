// LookAtChanges is the answer to "what must this run look at" made from the frozen marks of a set:
// handles resolved to the paths they have now, ancestors added, renamed directories connected to
// where the parent revision has them. Building it costs a few microseconds per marked directory
// and nothing for what is not marked. Immutable after building; thread-safe; no descriptor is held.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/unique_fd.h"
#include "daemon/archive/backup.h"
#include "daemon/queue/change_queue.h"

namespace backup {

// How handles of a volume are resolved; the watcher's, or a table in tests.
struct HandleResolver {
    std::function<std::optional<std::string>(const VolumeId&, const ObjectHandle&)> path_of;
    std::function<std::optional<Watcher::ObjectFacts>(const VolumeId&, const ObjectHandle&)>
        facts_of;
    // For names in directories without a path; may be left out.
    std::function<UniqueFd(const VolumeId&, const ObjectHandle&)> open;
};

// Names in the parent revision of files by their inode numbers, found by reading its trees: needed
// for hard links (another name of the file changed too) and for objects whose name no event told.
// Paths as they were in the parent revision. One pass whatever the number of inodes.
using NamesOfInodes = std::function<Result<std::vector<std::pair<std::uint64_t, std::string>>>(
    const std::vector<std::uint64_t>& inodes)>;

struct LookAtInput {
    const FrozenMarks* marks = nullptr;
    HandleResolver resolver;
    NamesOfInodes names_of_inodes;
    // Paths of the set; what resolves to outside of them is no business of this set.
    std::vector<Path> paths;
    // Its rules: a rename may lead below or out of what a pattern speaks of. nullptr: none.
    const ExcludeRules* exclude = nullptr;
    // Look at everything, whatever the marks say; they still say what must be read.
    bool everything = false;
    // Files that somebody may write to without an event (the hot set), by path.
    std::vector<std::string> held_files;
    // Paths in the parent revision that are always looked at: files with several names, where a
    // change through one of them tells nothing of the others (inotify).
    std::vector<std::string> linked_files;
    Fs* fs = nullptr;
};

class LookAtChanges final : public LookAt {
  public:
    // Never fails for what can be covered by looking at more: then the answer is everything, by
    // metadata. Volumes that are not there are to be taken out of the marks first.
    static Result<std::unique_ptr<LookAtChanges>> build(const LookAtInput& input);
    ~LookAtChanges() override;

    Directory directory(const std::string& path) const override;
    std::vector<std::string> entries(const std::string& path) const override;
    bool must_read(const std::string& path) const override;
    std::optional<std::string> was_at(const std::string& path) const override;
    bool may_be_written(const std::string& path) const override;

    // Everything is looked at: it was asked for, or an `everything` mark, or the changes cannot be
    // told one by one.
    bool is_everything() const;
    // False: a run without a LookAt does the same.
    bool has_more_to_say() const;
    // Names of files with several names, or where files are, may have changed: `linked_files` of
    // this revision do not hold for the next one.
    bool links_may_have_changed() const;

    // For people and tests: every path that is looked at by name, directories that are listed and
    // subtrees, sorted.
    struct Item {
        std::string path;
        const char* kind;  // "name" "listing" "subtree"
        Timestamp since{};
    };
    std::vector<Item> items() const;

  private:
    LookAtChanges();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace backup
