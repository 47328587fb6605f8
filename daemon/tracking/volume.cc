#include "daemon/tracking/volume.h"

#include <algorithm>
#include <map>

#include "daemon/tracking/scope.h"

namespace backup {

std::vector<VolumePlan> plan_volumes(const MountTable& table, const std::vector<SetPaths>& sets,
                                     const std::function<std::string(const Mount&)>& id_of,
                                     const std::function<bool(const Path&)>& is_directory) {
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
        while (root.text().size() > mount.place.size() && !is_directory(root)) root = root.parent();
        if (std::ranges::find(plan.roots, root) == plan.roots.end()) plan.roots.push_back(root);
    };
    for (const SetPaths& set : sets) {
        for (const Path& path : set.paths) {
            if (const Mount* mount = table.find(path.text())) add(*mount, path, set.set);
            if (!set.other_filesystems_too) continue;
            for (const Mount* mount : table.below(path.text()))
                if (auto place = Path::parse(mount->place); place.ok())
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
