#include "daemon/policy/exclusion.h"

#include <algorithm>

#include "daemon/policy/matcher.h"

namespace backup {

namespace {

constexpr std::string_view kCacheTag = "CACHEDIR.TAG";

std::string origin_of_pattern(const BackupSet& set, const std::string& pattern) {
    // Of equal ones the last decides.
    const auto& patterns = set.exclude.patterns;
    const auto found = std::find(patterns.rbegin(), patterns.rend(), pattern);
    if (found == patterns.rend()) return {};
    const auto index = static_cast<std::size_t>(patterns.rend() - found) - 1;
    return index < set.exclude.origins.size() ? set.exclude.origins[index] : std::string();
}

// Goes down from the path of the set as the walk does; the first rule that leaves something out
// ends it.
class Descent {
  public:
    Descent(const BackupSet& set, const Matcher& matcher, const std::vector<Path>& own,
            const LookUp& look_up)
        : set_(set), matcher_(matcher), own_(own), look_up_(look_up) {}

    void run(const Path& root, const Path& path, PathInSet& found) {
        Path at = root;
        ObjectFacts facts = look_up_(root.text());
        device_ = facts.device;
        for (std::string_view name : path.components()) {
            // The components above the root are no business of the set.
            if (skipped_ < root.components().size()) {
                ++skipped_;
                continue;
            }
            if ((found.excluded = behind(at, facts, name))) return;
            at = at.child(name);
            facts = look_up_(at.text());
            if ((found.excluded = itself(at, facts, at == path))) return;
        }
        found.taken_in = taken_in(at, facts);
    }

  private:
    RuleFound rule(const Path& at, const char* name) const {
        return {at.text(), name, "", set_.origin};
    }

    // Nothing, or why what lies in `directory` is left out.
    std::optional<RuleFound> behind(const Path& directory, const ObjectFacts& facts,
                                    std::string_view name) const {
        if (facts.is_symlink) return rule(directory, "symlink");
        if (std::find(own_.begin(), own_.end(), directory) != own_.end())
            return RuleFound{directory.text(), "own", "", ""};
        if (set_.exclude.cachedir_tag && facts.cache_tag && name != kCacheTag)
            return rule(directory, "cachedir-tag");
        if (is_foreign(facts)) return rule(directory, "one-file-system");
        return std::nullopt;
    }

    bool is_foreign(const ObjectFacts& facts) const {
        return set_.exclude.other_filesystems && facts.exists && facts.device != device_;
    }

    std::optional<RuleFound> itself(const Path& at, const ObjectFacts& facts, bool is_last) const {
        // Of what is not there (any more) the last may be anything, the others were directories.
        const bool is_directory = facts.exists ? facts.is_directory : !is_last;
        if (matcher_.excludes(at.text(), at.name(), is_directory)) {
            const std::string pattern =
                matcher_.deciding_pattern(at.text(), at.name(), is_directory).value_or("");
            return RuleFound{at.text(), "pattern", pattern, origin_of_pattern(set_, pattern)};
        }
        if (set_.exclude.nodump && facts.nodump) return rule(at, "nodump");
        if (facts.is_file && set_.exclude.larger_than != 0 && facts.size > set_.exclude.larger_than)
            return rule(at, "larger-than");
        // A mount point itself is kept, as an empty directory.
        if (!facts.is_directory && is_foreign(facts)) return rule(at, "one-file-system");
        return std::nullopt;
    }

    std::optional<RuleFound> taken_in(const Path& at, const ObjectFacts& facts) const {
        if (at.is_root()) return std::nullopt;
        const auto pattern = matcher_.deciding_pattern(at.text(), at.name(), facts.is_directory);
        if (!pattern || !pattern->starts_with('!')) return std::nullopt;
        return RuleFound{at.text(), "pattern", *pattern, origin_of_pattern(set_, *pattern)};
    }

    const BackupSet& set_;
    const Matcher& matcher_;
    const std::vector<Path>& own_;
    const LookUp& look_up_;
    std::uint64_t device_ = 0;
    std::size_t skipped_ = 0;
};

}  // namespace

Result<PathInSet> find_in_set(const BackupSet& set, const Path& path, const std::vector<Path>& own,
                              const LookUp& look_up) {
    PathInSet found;
    for (const Path& candidate : set.paths) {
        if (!path.is_inside(candidate)) continue;
        if (!found.root || candidate.is_inside(*found.root)) found.root = candidate;
    }
    if (!found.root) return found;
    Matcher matcher = TRY(Matcher::compile(set.exclude.patterns));
    Descent(set, matcher, own, look_up).run(*found.root, path, found);
    return found;
}

}  // namespace backup
