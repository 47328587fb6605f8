#include "daemon/tracking/weigh.h"

#include <algorithm>
#include <map>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "common/unique_fd.h"
#include "daemon/archive/listing.h"
#include "daemon/watch/open_path.h"

namespace backup {

namespace {

// Of a directory that is to be listed: files that are looked at, and the rest is reckoned.
constexpr std::uint64_t kMostEntries = 256;

std::optional<std::uint64_t> size_at(int at, const char* name) {
    struct stat status;
    if (::fstatat(at, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
    return S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0;
}

std::uint64_t size_of_entries(const UniqueFd& directory) {
    Listing listing;
    if (listing.read(RealFs::instance(), directory.get()) < 0) return 0;
    std::uint64_t bytes = 0, looked = 0;
    for (const ListedName& listed : listing.names()) {
        if (looked == kMostEntries) break;
        ++looked;
        if (listed.type != DT_DIR) bytes += size_at(directory.get(), listed.text).value_or(0);
    }
    if (looked == 0) return 0;
    return bytes / looked * listing.names().size();
}

struct Place {
    std::optional<std::string> path;
    UniqueFd directory;
    std::optional<std::unordered_set<std::string>> in_revision;
    bool is_asked = false;
};

}  // namespace

bool has_renames(const VolumeMarks& volume) {
    if (volume.left_scope != 0 || volume.has_everything()) return true;
    return std::ranges::any_of(volume.origins, [](const auto& entry) {
        return entry.second.kind != DirectoryOrigin::Kind::born || entry.second.moved;
    });
}

WaitingSample sample_of(const ChangeQueue& queue, std::size_t most) {
    WaitingSample sample;
    const std::uint64_t step =
        std::max<std::uint64_t>(queue.size() / std::max<std::size_t>(most, 1), 1);
    for (const auto& [id, volume] : queue.volumes()) {
        const bool is_settled = !has_renames(volume);
        for (const auto& [handle, marks] : volume.directories) {
            auto origin = volume.origins.find(handle);
            const bool is_born = is_settled && origin != volume.origins.end();
            auto add = [&, &id = id, &handle = handle, &marks = marks](const std::string& name,
                                                                       const Mark& mark) {
                if (sample.waiting++ % step != 0) return;
                bool may_be_nothing =
                    is_settled && !name.empty() && !mark.deep && marks.subtree() == nullptr;
                sample.names.push_back(
                    {id, handle, name, mark.generation, may_be_nothing, is_born});
            };
            for (const auto& [name, mark] : marks.names) add(name, mark);
            if (marks.listing() != nullptr) add({}, *marks.listing());
            if (marks.subtree() != nullptr) add({}, *marks.subtree());
        }
        for (const auto& [handle, mark] : volume.objects) {
            if (sample.objects.size() == most) break;
            sample.objects.push_back({id, handle, mark.generation});
        }
    }
    return sample;
}

Weight weigh(const WaitingSample& sample, const HandleResolver& resolver,
             const NamesInRevision& names_in_revision) {
    Weight weight;
    std::uint64_t bytes = 0, nothing = 0;
    std::map<std::pair<VolumeId, ObjectHandle>, Place> places;
    for (const WaitingSample::Name& one : sample.names) {
        auto [at, is_new] = places.try_emplace({one.volume, one.directory});
        Place& place = at->second;
        if (is_new) {
            // One descriptor at a time: thousands of directories may wait.
            for (auto& [key, other] : places) other.directory.reset();
        }
        if (is_new) place.path = resolver.path_of(one.volume, one.directory);
        if (!place.path) {
            // Gone with its directory, and that was not there when the revision was made.
            if (one.is_born) ++nothing;
            continue;
        }
        if (!place.directory)
            place.directory.reset(
                std::max(RealFs::instance().open(AT_FDCWD, place.path->c_str(),
                                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME),
                         -1));
        if (!place.directory) continue;
        if (one.name.empty()) {
            bytes += size_of_entries(place.directory);
            continue;
        }
        if (auto size = size_at(place.directory.get(), one.name.c_str())) {
            bytes += *size;
            continue;
        }
        if (errno != ENOENT || !one.may_be_nothing) continue;
        // The directory of that path may be another one by now.
        auto handle = handle_of(place.directory.get(), "");
        if (!handle.ok() || *handle != one.directory) continue;
        if (!one.is_born) {
            if (!std::exchange(place.is_asked, true))
                place.in_revision = names_in_revision(*place.path);
            if (!place.in_revision) ++weight.unknown;
            if (!place.in_revision || place.in_revision->contains(one.name)) continue;
        }
        ++nothing;
        weight.nothing.push_back(one);
    }
    const std::uint64_t looked = std::max<std::uint64_t>(sample.names.size(), 1);
    // Both are far below 2^53.
    const double share = static_cast<double>(sample.waiting) / static_cast<double>(looked);
    weight.bytes = static_cast<std::uint64_t>(static_cast<double>(bytes) * share);
    weight.nothing_count = static_cast<std::uint64_t>(static_cast<double>(nothing) * share);
    return weight;
}

std::uint64_t count_waiting(const WaitingCount& count) {
    std::uint64_t names = count.named - std::min(count.nothing, count.named);
    // None is only said of what was looked at, each of it.
    if (count.is_reckoned) names = std::max(names, std::min<std::uint64_t>(count.named, 1));
    return std::max(names, std::min<std::uint64_t>(count.objects, 1));
}

std::optional<std::vector<WaitingSample::Object>> strangers_among(
    const std::vector<WaitingSample::Object>& objects, const HandleResolver& resolver,
    const InodesInRevision& inodes_in_revision) {
    std::vector<WaitingSample::Object> strangers;
    std::vector<std::uint64_t> inodes;
    std::vector<std::pair<std::uint64_t, const WaitingSample::Object*>> present;
    for (const WaitingSample::Object& object : objects) {
        if (auto facts = resolver.facts_of(object.volume, object.handle)) {
            inodes.push_back(facts->inode);
            present.emplace_back(facts->inode, &object);
        } else {
            strangers.push_back(object);  // gone, and each of its names was told to be
        }
    }
    if (present.empty()) return strangers;
    const auto known = inodes_in_revision(inodes);
    if (!known) return std::nullopt;
    for (const auto& [inode, object] : present)
        if (!known->contains(inode)) strangers.push_back(*object);
    return strangers;
}

}  // namespace backup
