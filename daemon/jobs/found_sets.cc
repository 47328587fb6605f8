#include "daemon/jobs/found_sets.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "daemon/policy/config_file.h"

namespace backup {

namespace {

constexpr std::size_t kLongestName = 64;

// A name of a set, whatever the line is called.
std::string name_for(const std::string& host, const std::string& set,
                     const std::set<std::string>& taken) {
    if (is_valid_name(set) && !taken.contains(set)) return set;
    std::string name = host + "-" + set;
    for (char& c : name)
        if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '_') c = '-';
    name.erase(0, std::min(name.find_first_not_of(".-_"), name.size()));
    name.resize(std::min(name.size(), kLongestName - 4));
    if (name.empty()) name = "found";
    std::string numbered = name;
    for (unsigned n = 2; taken.contains(numbered); ++n) numbered = name + "-" + std::to_string(n);
    return numbered;
}

}  // namespace

std::vector<BackupSet> found_sets(const std::vector<Revision>& newest_first,
                                  const std::string& repository, const std::string& own_host,
                                  std::set<std::string> taken) {
    std::vector<BackupSet> found;
    std::set<std::pair<std::string, std::string>> seen;
    for (const Revision& revision : newest_first) {
        const std::string &host = revision.snapshot().hostname, &name = revision.tags.set;
        if (name.empty() || is_pre_restore(revision) || revision.is_trashed()) continue;
        BackupSet set;
        for (const std::string& text : revision.snapshot().paths)
            if (auto path = Path::parse(text); path.ok()) set.paths.push_back(std::move(*path));
        if (set.paths.empty() || !seen.emplace(host, name).second) continue;
        set.id = name_for(host, name, taken);
        taken.insert(set.id);
        set.repository = repository;
        if (host != own_host) set.hostname = host;
        if (set.id != name) set.adopt = {host + "/" + name};
        set.enabled = false;
        set.is_found = true;
        set.origin = "the repository '" + repository + "'";
        found.push_back(std::move(set));
    }
    return found;
}

}  // namespace backup
