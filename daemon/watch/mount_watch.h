// MountWatch calls back, on a thread of its own, whenever the mount table has changed: something
// was mounted, unmounted, moved or remounted. Several changes may make one call. The callback must
// not throw; it may block, for nothing is lost meanwhile. Destruction stops the thread and joins
// it.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "common/result.h"
#include "common/unique_fd.h"

namespace backup {

class MountWatch {
  public:
    static Result<std::unique_ptr<MountWatch>> start(std::function<void()> changed);
    ~MountWatch();
    MountWatch(const MountWatch&) = delete;
    MountWatch& operator=(const MountWatch&) = delete;

  private:
    explicit MountWatch(std::function<void()> changed);
    void run() const;

    const std::function<void()> changed_;
    UniqueFd mounts_, stop_;
    std::thread thread_;
};

}  // namespace backup
