// A tmpfs of a given size, for tests of full disks. Needs root; is_mounted() tells whether it
// worked.
#pragma once

#include <string>

#include <sys/mount.h>

#include "tests/support/temp_directory.h"

namespace backup {

class SmallMount {
  public:
    explicit SmallMount(const std::string& options)
        : is_mounted_(mount("backupd-test", directory_.path().c_str(), "tmpfs",
                            MS_NOSUID | MS_NODEV, options.c_str()) == 0) {}
    SmallMount(const SmallMount&) = delete;
    SmallMount& operator=(const SmallMount&) = delete;
    ~SmallMount() {
        if (is_mounted_) umount2(directory_.path().c_str(), MNT_DETACH);
    }
    bool is_mounted() const { return is_mounted_; }
    const std::string& path() const { return directory_.path(); }
    bool remount(unsigned long flags, const std::string& options) {
        return mount("backupd-test", path().c_str(), "tmpfs",
                     MS_REMOUNT | MS_NOSUID | MS_NODEV | flags, options.c_str()) == 0;
    }

  private:
    TempDirectory directory_;
    bool is_mounted_;
};

}  // namespace backup
