#include "daemon/tracking/look_at_changes.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "daemon/tracking/look_plan.h"

namespace backup {

struct LookAtChanges::Impl {
    tracking::LookPlan plan;
};

LookAtChanges::LookAtChanges() : impl_(std::make_unique<Impl>()) {}
LookAtChanges::~LookAtChanges() = default;

Result<std::unique_ptr<LookAtChanges>> LookAtChanges::build(const LookAtInput& input) {
    std::unique_ptr<LookAtChanges> look(new LookAtChanges());
    look->impl_->plan = tracking::plan_look(input);
    return look;
}

LookAt::Directory LookAtChanges::directory(const std::string& path) const {
    return impl_->plan.directory(path);
}

std::vector<std::string> LookAtChanges::entries(const std::string& path) const {
    return impl_->plan.entries(path);
}

bool LookAtChanges::must_read(const std::string& path) const {
    return impl_->plan.must_read(path);
}

std::optional<std::string> LookAtChanges::was_at(const std::string& path) const {
    auto found = impl_->plan.was_at.find(path);
    if (found == impl_->plan.was_at.end()) return std::nullopt;
    return found->second;
}

bool LookAtChanges::may_be_written(const std::string& path) const {
    return impl_->plan.held.count(path) != 0;
}

bool LookAtChanges::is_everything() const {
    return impl_->plan.everything;
}

bool LookAtChanges::has_more_to_say() const {
    const tracking::LookPlan& plan = impl_->plan;
    return !plan.everything || plan.read_everything || plan.has_read_all ||
           !plan.must_read_files.empty() || !plan.was_at.empty() || !plan.held.empty();
}

bool LookAtChanges::links_may_have_changed() const {
    return impl_->plan.links_may_have_changed;
}

std::vector<LookAtChanges::Item> LookAtChanges::items() const {
    std::vector<Item> items = impl_->plan.items;
    std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
        return std::tie(a.path, a.since) < std::tie(b.path, b.since);
    });
    return items;
}

}  // namespace backup
