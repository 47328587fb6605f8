#include "daemon/tracking/volume.h"

#include <algorithm>
#include <map>
#include <utility>

#include "daemon/tracking/scope.h"

namespace backup {

namespace {

// A part of a file system as a set sees it.
struct View {
    VolumeId volume;
    std::string set, place;
    std::string part;  // from the top of the file system
    std::uint64_t device = 0, mount = 0;
};

// Through two mounts, and the one part holds the other. The device tells, for subvolumes of btrfs
// are volumes of their own and may be seen from above as well.
bool is_same_seen_twice(const View& a, const View& b) {
    return a.device == b.device && a.mount != b.mount &&
           (is_at_or_below(a.part, b.part) || is_at_or_below(b.part, a.part));
}

}  // namespace

std::vector<VolumePlan> plan_volumes(const MountTable& table, const std::vector<SetPaths>& sets,
                                     const std::function<std::string(const Mount&)>& id_of,
                                     const std::function<bool(const Path&)>& is_directory,
                                     const RealPlaces& real_places) {
    std::map<VolumeId, VolumePlan> plans;
    std::vector<View> views;
    auto add = [&](const Mount& mount, const Path& path, const std::string& set) {
        if (volume_class(mount.type) == VolumeClass::pseudo) return;
        std::string id = id_of(mount);
        auto [found, is_new] = plans.try_emplace(id);
        VolumePlan& plan = found->second;
        if (is_new) {
            plan.id = std::move(id);
            plan.mount = mount;
        }
        plan.sets.insert(set);
        const std::string real = real_places.real(path.text());
        std::string part = mount.root;
        if (real.size() > mount.place.size())
            part = join_path(part, std::string_view(real).substr(
                                       mount.place == "/" ? 1 : mount.place.size() + 1));
        views.push_back({plan.id, set, path.text(), std::move(part), mount.device, mount.id});
        Path root = path;
        const auto is_within = [&](const Path& one) {
            return real_places.real(one.text()).size() > mount.place.size();
        };
        while (is_within(root) && !is_directory(root)) root = root.parent();
        if (std::ranges::find(plan.roots, root) == plan.roots.end()) plan.roots.push_back(root);
    };
    for (const SetPaths& set : sets) {
        for (const Path& path : set.paths) {
            const std::string real = real_places.real(path.text());
            if (const Mount* mount = table.find(real)) add(*mount, path, set.set);
            if (!set.other_filesystems_too) continue;
            for (const Mount* mount : table.below(real)) {
                auto place = Path::parse(real_places.named(path, mount->place));
                if (place.ok() && (!set.wants || set.wants(place->text())))
                    add(*mount, *place, set.set);
            }
        }
    }
    for (const View& one : views)
        for (const View& other : views)
            if (is_same_seen_twice(one, other))
                plans[one.volume].twofold.try_emplace(
                    one.set, printable(one.place) + " and " + printable(other.place));
    std::vector<VolumePlan> list;
    for (auto& [id, plan] : plans) {
        std::ranges::sort(plan.roots);
        list.push_back(std::move(plan));
    }
    return list;
}

}  // namespace backup
