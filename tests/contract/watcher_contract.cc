#include "tests/contract/watcher_contract.h"

#include <filesystem>
#include <map>

#include "common/path.h"

namespace backup {

namespace {

// Made once: mkfs takes longer than the tests.
std::shared_ptr<TestVolume> shared_volume(const std::string& type) {
    static std::map<std::string, std::shared_ptr<TestVolume>> volumes;
    auto& volume = volumes[type];
    if (volume == nullptr) volume = std::make_shared<TestVolume>(type);
    return volume;
}

bool is_at_or_below(const std::string& path, const std::string& place) {
    return path.compare(0, place.size(), place) == 0 &&
           (path.size() == place.size() || path[place.size()] == '/');
}

}  // namespace

void WatcherContract::SetUp() {
    volume_ = shared_volume(GetParam().volume);
    if (!volume_->problem().empty()) GTEST_SKIP() << volume_->problem();
    root_ = volume_->path() + "/watched";
    outside_ = volume_->path() + "/outside";
    std::filesystem::create_directories(root_);
    std::filesystem::create_directories(outside_);
}

void WatcherContract::TearDown() {
    watcher_.reset();
    std::error_code ignored;
    if (root_.empty()) return;
    std::filesystem::remove_all(root_, ignored);
    std::filesystem::remove_all(outside_, ignored);
}

std::unique_ptr<Watcher> WatcherContract::make(const std::string& path, WatchOptions options) {
    const std::vector<Path> roots{Path::parse(path).value()};
    auto made = is_fanotify() ? watch_with_fanotify(roots, std::move(options))
                              : watch_with_inotify(roots, std::move(options));
    if (!made.ok()) {
        ADD_FAILURE() << made.error().message();
        return nullptr;
    }
    return std::move(*made);
}

void WatcherContract::arm(WatchOptions options) {
    watcher_ = make(root_, std::move(options));
    ASSERT_NE(watcher_, nullptr);
}

WatchBatch WatcherContract::barrier() {
    auto batch = watcher_->barrier();
    EXPECT_TRUE(batch.ok()) << batch.error().message();
    return batch.ok() ? std::move(*batch) : WatchBatch{};
}

bool WatcherContract::tells_of(const WatchBatch& batch, const std::string& path) {
    using Kind = WatchBatch::DirectoryMove::Kind;
    for (const auto& name : batch.names) {
        const auto directory = watcher_->path_of(name.directory);
        if (directory && *directory + "/" + name.name == path) return true;
    }
    for (const auto& handle : batch.relist) {
        const auto directory = watcher_->path_of(handle);
        if (directory && *directory == path.substr(0, path.rfind('/'))) return true;
    }
    for (const auto& move : batch.moves) {
        if (move.kind != Kind::arrived) continue;
        const auto directory = watcher_->path_of(move.to_directory);
        if (directory && is_at_or_below(path, *directory + "/" + move.to_name)) return true;
    }
    for (const auto& handle : batch.directories)
        if (watcher_->path_of(handle) == path) return true;
    return !batch.lost.empty();
}

void WatcherContract::expect_told(const std::string& path, const std::string& what,
                                  const std::function<void()>& change) {
    barrier();
    change();
    const WatchBatch batch = barrier();
    EXPECT_TRUE(tells_of(batch, path)) << what << " of " << printable(path);
    EXPECT_EQ(batch.lost, "") << what;
}

const WatchBatch::Name* WatcherContract::find(const WatchBatch& batch, const std::string& name) {
    for (const auto& one : batch.names)
        if (one.name == name) return &one;
    return nullptr;
}

}  // namespace backup
