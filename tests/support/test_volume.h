// A file system of its own on a loop device, or a tmpfs, mounted in a temporary directory; for
// tests that unmount, fill and overlay. Needs root and the tools of the file system: problem() says
// what is missing, in words for GTEST_SKIP. For tests only.
#pragma once

#include <cstdlib>
#include <string>

#include <sys/mount.h>
#include <unistd.h>

#include "tests/support/temp_directory.h"

namespace backup {

class TestVolume {
  public:
    // ext4, xfs, btrfs, btrfs-subvolume (one mounted by its name), tmpfs
    explicit TestVolume(std::string type) : type_(std::move(type)) {
        if (geteuid() != 0) {
            problem_ = type_ + ": needs root to mount";
            return;
        }
        if (!run("mkdir -p " + path() + " " + folder_.path() + "/other")) return;
        if (type_ != "tmpfs") {
            const std::string tool = type_ == "btrfs-subvolume" ? "btrfs" : type_;
            if (!run("command -v mkfs." + tool + " >/dev/null")) {
                problem_ = type_ + ": no mkfs." + tool;
                return;
            }
            if (!run("truncate -s 320M " + image()) ||
                !run("mkfs." + tool + " -q " + (tool == "ext4" ? "-F " : "-f ") + image()))
                return;
            if (type_ == "btrfs-subvolume" &&
                (!run("mount -o loop " + image() + " " + path()) ||
                 !run("btrfs -q subvolume create " + path() + "/part") || !unmount()))
                return;
        }
        mount();
    }
    TestVolume(const TestVolume&) = delete;
    TestVolume& operator=(const TestVolume&) = delete;
    ~TestVolume() {
        if (is_mounted_) umount2(path().c_str(), MNT_DETACH);
    }

    const std::string& problem() const { return problem_; }
    std::string path() const { return folder_.path() + "/mounted"; }
    // An empty directory on another file system.
    std::string other() const { return folder_.path() + "/other"; }
    bool mount() {
        std::string command = "mount -o loop " + image() + " " + path();
        if (type_ == "btrfs-subvolume")
            command = "mount -o loop,subvol=part " + image() + " " + path();
        if (type_ == "tmpfs") command = "mount -t tmpfs backupd-test " + path();
        return is_mounted_ = run(command);
    }
    bool unmount() {
        const bool done = run("umount " + path());
        if (done) is_mounted_ = false;
        return done;
    }

  private:
    std::string image() const { return folder_.path() + "/image"; }
    bool run(const std::string& command) {
        // NOLINTNEXTLINE(cert-env33-c): a test
        if (std::system((command + " >/dev/null 2>&1").c_str()) == 0) return true;
        if (problem_.empty()) problem_ = type_ + ": failed here: " + command;
        return false;
    }

    const std::string type_;
    TempDirectory folder_;
    std::string problem_;
    bool is_mounted_ = false;
};

}  // namespace backup
