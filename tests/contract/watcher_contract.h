// The contract of every Watcher: each promise of daemon/watch/watcher.h, on every file system that
// the watcher can be had for. See watcher_contract_test.cc for the combinations.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "daemon/watch/watcher.h"
#include "tests/support/test_volume.h"
#include "tests/support/watch_mirror.h"

namespace backup {

struct WatcherCase {
    WatchKind kind{};
    std::string volume;
};

class WatcherContract : public testing::TestWithParam<WatcherCase> {
  protected:
    void SetUp() override;
    void TearDown() override;

    // Arms a watch of `root()`; a failure ends the test.
    void arm(WatchOptions options = {});
    std::unique_ptr<Watcher> make(const std::string& path, WatchOptions options = {});
    bool is_fanotify() const { return GetParam().kind == WatchKind::fanotify; }

    const std::string& root() const { return root_; }
    std::string at(const std::string& name) const { return root_ + "/" + name; }
    // A place on the same file system that is not watched by inotify.
    const std::string& outside() const { return outside_; }
    TestVolume& volume() { return *volume_; }

    WatchBatch barrier();
    // Does the batch tell whoever takes it to look at this path? By its name, a listing of its
    // directory, or because something above it arrived.
    bool tells_of(const WatchBatch& batch, const std::string& path);
    // Runs `change` and requires that the next barrier tells of `path`.
    void expect_told(const std::string& path, const std::string& what,
                     const std::function<void()>& change);
    static const WatchBatch::Name* find(const WatchBatch& batch, const std::string& name);

    std::unique_ptr<Watcher> watcher_;

  private:
    std::shared_ptr<TestVolume> volume_;
    std::string root_, outside_;
};

}  // namespace backup
