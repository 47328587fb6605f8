#include "daemon/tracking/volume.h"

#include <algorithm>
#include <map>

#include "daemon/tracking/scope.h"

namespace backup {

std::vector<VolumePlan> plan_volumes(const MountTable& table, const std::vector<SetPaths>& sets,
                                     const std::function<std::string(const Mount&)>& id_of,
                                     const std::function<bool(const Path&)>& is_directory,
                                     const RealPlaces& real_places) {
    std::map<VolumeId, VolumePlan> plans;
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
            for (const Mount* mount : table.below(real))
                if (auto place = Path::parse(real_places.named(path, mount->place)); place.ok())
                    add(*mount, *place, set.set);
        }
    }
    std::vector<VolumePlan> list;
    for (auto& [id, plan] : plans) {
        std::ranges::sort(plan.roots);
        list.push_back(std::move(plan));
    }
    return list;
}

}  // namespace backup
