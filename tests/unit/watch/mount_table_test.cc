#include "daemon/watch/mount_table.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daemon/watch/mount_watch.h"
#include "tests/support/small_mount.h"

namespace backup {

namespace {

const Mount* find(const MountTable& table, const std::string& path) {
    return table.find(path);
}

constexpr const char* kTable =
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
    "22 21 0:5 / /dev rw - devtmpfs udev rw\n"
    "23 21 8:2 / /home rw,noatime shared:2 master:3 - xfs /dev/sda2 rw,attr2\n"
    "24 23 0:30 / /home/me/with\\040space\\134and\\011tab rw - tmpfs tmpfs ro,size=1k\n"
    "25 21 0:40 /sub /srv ro,relatime - btrfs /dev/sdb rw,subvolid=256,subvol=/sub\n"
    "26 21 8:3 / /mnt/deep rw - ext4 /dev/sdc rw\n"
    "27 21 8:4 / /mnt rw - ext4 /dev/sdd rw\n"
    "28 27 8:5 / /mnt rw - ext4 /dev/sde rw\n"
    "29 21 0:50 / /net rw - nfs4 server:/a rw\n";

}  // namespace

TEST(MountTable, LeavesOutWhatShowsAtItsPlaceWhatIsThereAnyway) {
    // As systemd makes places read-only, and leaves others writable, for one service.
    const auto table = MountTable::parse(
        "21 1 8:1 /@ / ro - btrfs /dev/sda1 rw\n"
        "22 21 8:1 /@/home /home ro - btrfs /dev/sda1 rw\n"
        "23 22 8:1 /@/home/me /home/me rw - btrfs /dev/sda1 rw\n"
        "24 22 8:2 / /home/disk rw - ext4 /dev/sdb rw\n"
        "25 24 8:2 /own /home/disk/own rw - ext4 /dev/sdb rw\n"
        "26 21 8:1 /@/srv /mnt rw - btrfs /dev/sda1 rw\n"
        "27 21 8:1 /@snapshots /srv rw - btrfs /dev/sda1 rw\n"
        "28 21 8:3 /etc /etc rw - ext4 /dev/sdc rw\n");
    ASSERT_TRUE(table.ok());
    std::vector<std::string> places;
    for (const Mount& mount : table->mounts()) places.push_back(mount.place);
    EXPECT_EQ(places, (std::vector<std::string>{"/", "/home/disk", "/mnt", "/srv", "/etc"}));
    EXPECT_EQ(table->find("/home/me/x")->place, "/");
    EXPECT_EQ(table->find("/home/disk/own/x")->place, "/home/disk");
    EXPECT_EQ(table->below("/home").size(), 1U);
}

TEST(MountTable, ReadsEveryField) {
    const auto table = MountTable::parse(kTable);
    ASSERT_TRUE(table.ok());
    ASSERT_EQ(table->mounts().size(), 9U);
    const Mount& home = table->mounts()[2];
    EXPECT_EQ(home.id, 23U);
    EXPECT_EQ(home.parent, 21U);
    EXPECT_EQ(home.device, makedev(8, 2));
    EXPECT_EQ(home.root, "/");
    EXPECT_EQ(home.place, "/home");
    EXPECT_EQ(home.type, "xfs");
    EXPECT_EQ(home.source, "/dev/sda2");
    EXPECT_EQ(home.super_options, "rw,attr2");
    EXPECT_FALSE(home.read_only);
    EXPECT_EQ(table->mounts()[3].place, "/home/me/with space\\and\ttab");
    EXPECT_TRUE(table->mounts()[3].read_only) << "the file system";
    EXPECT_TRUE(table->mounts()[4].read_only) << "the mount";
    EXPECT_EQ(table->mounts()[4].root, "/sub");
}

TEST(MountTable, FindsWhatIsSeenAtAPath) {
    const auto table = MountTable::parse(kTable);
    ASSERT_TRUE(table.ok());
    const auto id = [&](const std::string& path) { return find(*table, path)->id; };
    EXPECT_EQ(id("/"), 21U);
    EXPECT_EQ(id("/etc"), 21U);
    EXPECT_EQ(id("/home"), 23U);
    EXPECT_EQ(id("/homes"), 21U);
    EXPECT_EQ(id("/home/me"), 23U);
    EXPECT_EQ(id("/home/me/with space\\and\ttab/x"), 24U);
    EXPECT_EQ(id("/mnt"), 28U) << "the topmost of two";
    EXPECT_EQ(id("/mnt/deep"), 28U) << "hidden under a later mount";
}

TEST(MountTable, ListsOnlyWhatIsSeenBelow) {
    const auto table = MountTable::parse(kTable);
    ASSERT_TRUE(table.ok());
    std::vector<std::uint64_t> below;
    for (const Mount* mount : table->below("/")) below.push_back(mount->id);
    EXPECT_EQ(below, (std::vector<std::uint64_t>{22, 23, 24, 25, 28, 29}));
    EXPECT_EQ(table->below("/home").size(), 1U) << "strictly below";
    EXPECT_TRUE(table->below("/home/me/with space\\and\ttab").empty());
    EXPECT_TRUE(table->below("/hom").empty());
}

TEST(MountTable, ATableWithoutARootStillAnswers) {
    const auto table = MountTable::parse("5 4 8:1 / /data rw - ext4 /dev/sda rw\n");
    ASSERT_TRUE(table.ok());
    EXPECT_EQ(find(*table, "/data/x")->id, 5U);
    EXPECT_EQ(find(*table, "/other"), nullptr);
    EXPECT_EQ(MountTable::parse("")->find("/"), nullptr);
}

TEST(MountTable, AnEmptySourceIsNoError) {
    const auto table = MountTable::parse("5 4 0:9 / /data rw -  tmpfs  rw,size=1k\n");
    ASSERT_TRUE(table.ok());
    EXPECT_EQ(table->mounts()[0].type, "tmpfs");
    EXPECT_EQ(table->mounts()[0].source, "");
    EXPECT_EQ(table->mounts()[0].super_options, "rw,size=1k");
}

TEST(MountTable, ALineThatIsNotUnderstoodIsAnError) {
    for (const char* text :
         {"x 4 0:9 / /data rw - tmpfs tmpfs rw\n", "5 4 09 / /data rw - tmpfs tmpfs rw\n",
          "5 4 0:9 / data rw - tmpfs tmpfs rw\n", "5 4 0:9 / /data rw tmpfs tmpfs rw\n",
          "5 4 0:9 / /data rw -\n", "5\n"})
        EXPECT_FALSE(MountTable::parse(text).ok()) << text;
}

TEST(MountTable, TypesHaveClasses) {
    EXPECT_EQ(volume_class("ext4"), VolumeClass::local);
    EXPECT_EQ(volume_class("tmpfs"), VolumeClass::local);
    EXPECT_EQ(volume_class("overlay"), VolumeClass::overlay);
    EXPECT_EQ(volume_class("fuse.sshfs"), VolumeClass::fuse);
    EXPECT_EQ(volume_class("fuseblk"), VolumeClass::fuse);
    EXPECT_EQ(volume_class("fusectl"), VolumeClass::pseudo);
    EXPECT_EQ(volume_class("nfs4"), VolumeClass::remote);
    EXPECT_EQ(volume_class("9p"), VolumeClass::remote);
    EXPECT_EQ(volume_class("proc"), VolumeClass::pseudo);
}

TEST(MountTable, TheTableOfThisProcessNamesTheDeviceThatStatShows) {
    const auto table = MountTable::read();
    ASSERT_TRUE(table.ok());
    const Mount* mount = find(*table, "/proc");
    struct stat status {};
    ASSERT_EQ(stat("/proc", &status), 0);
    ASSERT_NE(mount, nullptr);
    EXPECT_EQ(mount->type, "proc");
    EXPECT_EQ(mount->device, status.st_dev);
}

TEST(VolumeId, RemoteAndStackedFileSystemsAreNotAsked) {
    Mount mount;
    mount.place = "/this/is/not/there";
    mount.type = "nfs4";
    mount.source = "server:/share";
    EXPECT_EQ(volume_id(mount).value(), "nfs4:server:/share");
    mount.type = "overlay";
    mount.super_options = "rw,lowerdir=/l,upperdir=/up/per,workdir=/w";
    EXPECT_EQ(volume_id(mount).value(), "overlay:/up/per");
    mount.type = "ext4";
    EXPECT_FALSE(volume_id(mount).ok());
}

TEST(VolumeId, ANewTmpfsIsAnotherVolume) {
    const SmallMount one("size=64k"), two("size=64k");
    if (!one.is_mounted() || !two.is_mounted()) GTEST_SKIP() << "cannot mount";
    const auto table = MountTable::read();
    ASSERT_TRUE(table.ok());
    const auto first = volume_id(*table->find(one.path())),
               second = volume_id(*table->find(two.path()));
    ASSERT_TRUE(first.ok());
    ASSERT_TRUE(second.ok());
    EXPECT_NE(*first, *second);
    EXPECT_EQ(*first, *volume_id(*table->find(one.path())));
}

TEST(MountWatch, CallsWhenSomethingIsMounted) {
    std::mutex mutex;
    std::condition_variable changed;
    int calls = 0;
    auto watch = MountWatch::start([&] {
        const std::lock_guard lock(mutex);
        ++calls;
        changed.notify_all();
    });
    ASSERT_TRUE(watch.ok());
    const SmallMount mount("size=64k");
    if (!mount.is_mounted()) GTEST_SKIP() << "cannot mount";
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(10), [&] { return calls > 0; }));
}

}  // namespace backup
