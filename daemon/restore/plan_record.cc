#include "daemon/restore/plan_record.h"

#include <algorithm>

namespace backup {

namespace {

// Three batches (restore_plan.h) exist at a time.
constexpr std::uint64_t kInFlight = 3 * (std::uint64_t{512} << 20);
constexpr std::uint64_t kBlock = 4096;

std::uint64_t rounded(std::uint64_t bytes) {
    return (bytes + kBlock - 1) / kBlock * kBlock;
}

std::uint64_t blocks_of(const struct stat& status) {
    // Of a file with further names nothing becomes free.
    if (!S_ISREG(status.st_mode) || status.st_nlink > 1) return 0;
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

std::uint64_t size_of(const struct stat& status) {
    return S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0;
}

}  // namespace

std::uint64_t PlanRecord::Space::needed() const {
    const std::uint64_t growth = replacing > given_up ? replacing - given_up : 0;
    const std::uint64_t beside = std::min(replacing, std::max(kInFlight, largest));
    return created + std::max(growth, beside);
}

void PlanRecord::step(const char* action, const std::string& path, std::uint64_t bytes) {
    if (lists_steps_ && steps_.size() < kMostSteps) steps_.push_back({action, path, bytes});
}

void PlanRecord::create(std::string action, std::string path, dev_t device, std::uint64_t bytes) {
    std::lock_guard lock(mutex_);
    step(action.c_str(), path, bytes);
    Space& space = space_[device];
    space.created += rounded(bytes);
    space.largest = std::max(space.largest, bytes);
    ++space.objects;
    if (space.path.empty()) space.path = path;
    bytes_created_ += bytes;
}

void PlanRecord::replace(std::string path, const struct stat& there, std::uint64_t bytes) {
    stamps_.add(path, there);
    std::lock_guard lock(mutex_);
    step("replace", path, bytes);
    Space& space = space_[there.st_dev];
    space.replacing += rounded(bytes);
    space.given_up += blocks_of(there);
    space.largest = std::max(space.largest, bytes);
    if (space.path.empty()) space.path = path;
    bytes_replaced_ += size_of(there);
    touched_.push_back({std::move(path), S_ISDIR(there.st_mode)});
}

void PlanRecord::alter(std::string path, const struct stat& there) {
    stamps_.add(path, there);
    std::lock_guard lock(mutex_);
    step("alter", path, 0);
    touched_.push_back({std::move(path), S_ISDIR(there.st_mode)});
}

void PlanRecord::remove(std::string path, const struct stat& there) {
    stamps_.add(path, there);
    std::lock_guard lock(mutex_);
    step("delete", path, size_of(there));
    bytes_deleted_ += size_of(there);
    touched_.push_back({std::move(path), S_ISDIR(there.st_mode)});
}

void PlanRecord::cannot_hold(const char* what) {
    std::lock_guard lock(mutex_);
    ++cannot_hold_[what];
}

std::vector<std::string> PlanRecord::cannot_hold_lines() const {
    std::vector<std::string> lines;
    for (const auto& [what, count] : cannot_hold_)
        lines.push_back(what + " (" + std::to_string(count) +
                        (count == 1 ? " object)" : " objects)"));
    return lines;
}

std::vector<TouchedObject> PlanRecord::take_touched() {
    std::ranges::sort(touched_, {}, &TouchedObject::path);
    return std::move(touched_);
}

}  // namespace backup
