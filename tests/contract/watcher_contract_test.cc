#include "tests/contract/watcher_contract.h"

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "common/path.h"

namespace backup {

namespace {

namespace fs = std::filesystem;
using Kind = WatchBatch::DirectoryMove::Kind;

void write_file(const std::string& path, const std::string& text = "text") {
    std::ofstream(path, std::ios::binary) << text;
}

UniqueFd open_file(const std::string& path, int flags = O_RDWR | O_CREAT) {
    return UniqueFd(open(path.c_str(), flags | O_CLOEXEC, 0600));
}

void exchange(const std::string& a, const std::string& b) {
    ASSERT_EQ(renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE), 0);
}

ObjectHandle handle(const std::string& path) {
    auto found = handle_of(AT_FDCWD, path.c_str());
    EXPECT_TRUE(found.ok()) << path;
    return found.ok() ? *found : ObjectHandle{};
}

const WatchBatch::DirectoryMove* find_move(const WatchBatch& batch, const std::string& to_name) {
    for (const auto& move : batch.moves)
        if (move.to_name == to_name) return &move;
    return nullptr;
}

void in_child(const std::function<void()>& work) {
    const pid_t pid = fork();
    if (pid == 0) {
        work();
        _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    ASSERT_EQ(status, 0);
}

}  // namespace

TEST_P(WatcherContract, EverythingThatIsMadeIsTold) {
    arm();
    write_file(outside() + "/linked");
    expect_told(at("file"), "creat", [&] { write_file(at("file")); });
    expect_told(at("dir"), "mkdir", [&] { fs::create_directory(at("dir")); });
    expect_told(at("dir/file"), "creat in a new directory", [&] { write_file(at("dir/file")); });
    expect_told(at("link"), "symlink", [&] { fs::create_symlink("nowhere", at("link")); });
    expect_told(at("fifo"), "mkfifo", [&] { mkfifo(at("fifo").c_str(), 0600); });
    expect_told(at("device"), "mknod",
                [&] { mknod(at("device").c_str(), S_IFCHR | 0600, makedev(1, 3)); });
    expect_told(at("hard"), "link",
                [&] { fs::create_hard_link(outside() + "/linked", at("hard")); });
    expect_told(at("socket"), "bind", [&] {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        ASSERT_LT(at("socket").size(), sizeof(address.sun_path));
        at("socket").copy(address.sun_path, sizeof(address.sun_path) - 1);
        const UniqueFd socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        ASSERT_EQ(bind(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    });
    expect_told(at("unnamed"), "O_TMPFILE and linkat", [&] {
        const UniqueFd file(open(root().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
        ASSERT_TRUE(file);
        ASSERT_EQ(write(file.get(), "text", 4), 4);
        const std::string link = "/proc/self/fd/" + std::to_string(file.get());
        ASSERT_EQ(
            linkat(AT_FDCWD, link.c_str(), AT_FDCWD, at("unnamed").c_str(), AT_SYMLINK_FOLLOW), 0);
    });
}

TEST_P(WatcherContract, NamesAreBytes) {
    arm();
    for (const std::string& name :
         {std::string(255, 'n'), std::string("new\nline"), std::string("\xff\xfe bad"),
          std::string("back\\slash"), std::string("#123"), std::string("...")}) {
        expect_told(at(name), "creat", [&] { write_file(at(name)); });
        fs::remove(at(name));
    }
}

TEST_P(WatcherContract, EveryWayToChangeBytesIsTold) {
    const std::string file = at("file"), other = at("other");
    write_file(file, std::string(20000, 'a'));
    write_file(other, std::string(20000, 'b'));
    arm();
    const UniqueFd fd = open_file(file), from = open_file(other);
    const auto told = [&](const std::string& what, const std::function<void()>& change) {
        expect_told(file, what, change);
    };
    // None of these closes it.
    told("pwrite", [&] { ASSERT_EQ(pwrite(fd.get(), "x", 1, 0), 1); });
    told("write", [&] { ASSERT_EQ(write(fd.get(), "x", 1), 1); });
    told("writev", [&] {
        char text[] = "ab";
        const iovec parts[] = {{text, 1}, {text + 1, 1}};
        ASSERT_EQ(writev(fd.get(), parts, 2), 2);
    });
    told("append", [&] {
        const UniqueFd end = open_file(file, O_WRONLY | O_APPEND);
        ASSERT_EQ(write(end.get(), "x", 1), 1);
    });
    told("splice", [&] {
        std::array<int, 2> ends{};
        ASSERT_EQ(pipe(ends.data()), 0);
        const UniqueFd out(ends[0]), in(ends[1]);
        ASSERT_EQ(write(in.get(), "text", 4), 4);
        ASSERT_EQ(splice(out.get(), nullptr, fd.get(), nullptr, 4, 0), 4);
    });
    told("sendfile", [&] { ASSERT_EQ(sendfile(fd.get(), from.get(), nullptr, 10), 10); });
    told("copy_file_range",
         [&] { ASSERT_GT(copy_file_range(from.get(), nullptr, fd.get(), nullptr, 10, 0), 0); });
    told("ftruncate", [&] { ASSERT_EQ(ftruncate(fd.get(), 12000), 0); });
    told("truncate", [&] { ASSERT_EQ(truncate(file.c_str(), 11000), 0); });
    told("fallocate", [&] { ASSERT_EQ(fallocate(fd.get(), 0, 0, 30000), 0); });
    told("a hole", [&] {
        ASSERT_EQ(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
    });
    told("O_DIRECT", [&] {
        const UniqueFd direct = open_file(file, O_WRONLY | O_DIRECT);
        if (!direct) return write_file(file);  // tmpfs before Linux 6.6
        void* page = nullptr;
        ASSERT_EQ(posix_memalign(&page, 4096, 4096), 0);
        std::fill_n(static_cast<char*>(page), 4096, 'd');
        ASSERT_EQ(pwrite(direct.get(), page, 4096, 0), 4096);
        free(page);
    });
    told("a store through a mapping, when it ends", [&] {
        const UniqueFd mapped = open_file(file);
        void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mapped.get(), 0);
        ASSERT_NE(map, MAP_FAILED);
        static_cast<char*>(map)[7] = 'm';
        ASSERT_EQ(munmap(map, 4096), 0);
    });
    if (GetParam().volume == "btrfs" || GetParam().volume == "xfs") {
        ASSERT_EQ(ftruncate(fd.get(), 0), 0);
        told("a clone", [&] { ASSERT_EQ(ioctl(fd.get(), FICLONE, from.get()), 0); });
    }
}

TEST_P(WatcherContract, ContentAndClosingAreToldApartFromMetadata) {
    write_file(at("file"));
    arm();
    fs::permissions(at("file"), fs::perms::owner_read);
    WatchBatch batch = barrier();
    ASSERT_NE(find(batch, "file"), nullptr);
    EXPECT_FALSE(find(batch, "file")->content);
    {
        const UniqueFd fd = open_file(at("file"));
        ASSERT_EQ(pwrite(fd.get(), "x", 1, 0), 1);
        batch = barrier();
        ASSERT_NE(find(batch, "file"), nullptr);
        EXPECT_TRUE(find(batch, "file")->content);
        EXPECT_FALSE(find(batch, "file")->closed);
    }
    batch = barrier();
    ASSERT_NE(find(batch, "file"), nullptr);
    EXPECT_TRUE(find(batch, "file")->closed);
    // Nothing new: nothing is told.
    batch = barrier();
    EXPECT_EQ(find(batch, "file"), nullptr);
}

TEST_P(WatcherContract, MetadataIsTold) {
    write_file(at("file"));
    fs::create_directory(at("dir"));
    arm();
    for (const std::string& path : {at("file"), at("dir")}) {
        const char* name = path.c_str();
        expect_told(path, "chmod", [&] { ASSERT_EQ(chmod(name, 0700), 0); });
        expect_told(path, "chown", [&] { ASSERT_EQ(chown(name, 12, 34), 0); });
        expect_told(path, "setxattr",
                    [&] { ASSERT_EQ(setxattr(name, "trusted.test", "x", 1, 0), 0); });
        expect_told(path, "removexattr", [&] { ASSERT_EQ(removexattr(name, "trusted.test"), 0); });
        const std::array<timespec, 2> times{{{1, 2}, {3, 4}}};
        expect_told(path, "utimensat",
                    [&] { ASSERT_EQ(utimensat(AT_FDCWD, name, times.data(), 0), 0); });
    }
    // The root's own, too.
    barrier();
    chmod(root().c_str(), 0711);
    const WatchBatch batch = barrier();
    ASSERT_EQ(batch.directories.size(), 1U);
    EXPECT_EQ(batch.directories[0], handle(root()));
}

TEST_P(WatcherContract, WhatGoesIsTold) {
    fs::create_directories(at("dir"));
    write_file(at("file"));
    arm();
    expect_told(at("file"), "unlink", [&] { fs::remove(at("file")); });
    expect_told(at("dir"), "rmdir", [&] { fs::remove(at("dir")); });
    expect_told(at("dir"), "mkdir again", [&] { fs::create_directory(at("dir")); });
    expect_told(at("dir/file"), "creat in it", [&] { write_file(at("dir/file")); });
    expect_told(at("file"), "made and removed at once", [&] {
        write_file(at("file"));
        fs::remove(at("file"));
    });
}

TEST_P(WatcherContract, BothSidesOfARenameAreTold) {
    fs::create_directory(at("dir"));
    write_file(at("a"));
    write_file(at("victim"));
    arm();
    fs::rename(at("a"), at("dir/b"));
    WatchBatch batch = barrier();
    EXPECT_TRUE(tells_of(batch, at("a")));
    EXPECT_TRUE(tells_of(batch, at("dir/b")));
    expect_told(at("victim"), "rename over", [&] { fs::rename(at("dir/b"), at("victim")); });
    write_file(at("x"));
    barrier();
    exchange(at("x"), at("victim"));
    batch = barrier();
    EXPECT_TRUE(tells_of(batch, at("x")));
    EXPECT_TRUE(tells_of(batch, at("victim")));
    exchange(at("x"), at("dir"));
    batch = barrier();
    EXPECT_TRUE(tells_of(batch, at("x")));
    EXPECT_TRUE(tells_of(batch, at("dir")));
    expect_told(at("x/new"), "creat in an exchanged directory", [&] { write_file(at("x/new")); });
}

TEST_P(WatcherContract, ANewDirectoryIsBornWithItsHandle) {
    arm();
    fs::create_directory(at("dir"));
    const WatchBatch batch = barrier();
    ASSERT_EQ(batch.moves.size(), 1U);
    EXPECT_EQ(batch.moves[0].kind, Kind::born);
    EXPECT_EQ(batch.moves[0].object, handle(at("dir")));
    EXPECT_EQ(batch.moves[0].to_directory, handle(root()));
    EXPECT_EQ(batch.moves[0].to_name, "dir");
    EXPECT_EQ(watcher_->path_of(batch.moves[0].object), at("dir"));
}

TEST_P(WatcherContract, ARenamedDirectoryIsOneMoveAndKeepsItsHandle) {
    fs::create_directories(at("one/sub/deep"));
    fs::create_directory(at("two"));
    arm();
    barrier();
    const ObjectHandle sub = handle(at("one/sub")), deep = handle(at("one/sub/deep"));
    fs::rename(at("one/sub"), at("two/moved"));
    fs::rename(at("two/moved"), at("two/again"));
    const WatchBatch batch = barrier();
    EXPECT_TRUE(tells_of(batch, at("one/sub")));
    EXPECT_TRUE(tells_of(batch, at("two/again")));
    ASSERT_GE(batch.moves.size(), 2U);
    // Where it was is what counts; the second may be told as an arrival.
    const auto& move = batch.moves[0];
    EXPECT_EQ(move.kind, Kind::moved);
    EXPECT_EQ(move.object, sub);
    EXPECT_EQ(move.from_directory, handle(at("one")));
    EXPECT_EQ(move.from_name, "sub");
    EXPECT_EQ(move.to_directory, handle(at("two")));
    EXPECT_EQ(move.to_name, "moved");
    EXPECT_EQ(batch.moves[1].to_name, "again");
    EXPECT_EQ(watcher_->path_of(sub), at("two/again"));
    EXPECT_EQ(watcher_->path_of(deep), at("two/again/deep"));
    expect_told(at("two/again/deep/file"), "creat below",
                [&] { write_file(at("two/again/deep/file")); });
}

TEST_P(WatcherContract, ThreeDirectoriesSwapNames) {
    for (const char* name : {"a", "b"}) {
        fs::create_directory(at(name));
        write_file(at(name) + "/" + name);
    }
    arm();
    barrier();
    const ObjectHandle a = handle(at("a")), b = handle(at("b"));
    fs::rename(at("a"), at("c"));
    fs::rename(at("b"), at("a"));
    fs::rename(at("c"), at("b"));
    const WatchBatch batch = barrier();
    EXPECT_EQ(watcher_->path_of(a), at("b"));
    EXPECT_EQ(watcher_->path_of(b), at("a"));
    // The first word about each is where it was.
    std::set<ObjectHandle> seen;
    for (const auto& move : batch.moves)
        if (move.kind == Kind::moved && seen.insert(move.object).second) {
            EXPECT_EQ(move.from_name, move.object == a ? "a" : "b");
        }
    EXPECT_EQ(seen.size(), 2U);
}

TEST_P(WatcherContract, ADirectoryFromOutsideArrivesWithAllThatIsInIt) {
    fs::create_directories(outside() + "/dir/sub/deep");
    write_file(outside() + "/dir/sub/deep/file");
    arm();
    barrier();
    fs::rename(outside() + "/dir", at("dir"));
    const WatchBatch batch = barrier();
    const auto* move = find_move(batch, "dir");
    ASSERT_NE(move, nullptr);
    // fanotify knows both sides of the file system.
    EXPECT_EQ(move->kind, is_fanotify() ? Kind::moved : Kind::arrived);
    EXPECT_EQ(move->object, handle(at("dir")));
    EXPECT_TRUE(tells_of(batch, at("dir")));
    EXPECT_TRUE(is_fanotify() || tells_of(batch, at("dir/sub/deep/file")));
    expect_told(at("dir/sub/deep/new"), "creat in it", [&] { write_file(at("dir/sub/deep/new")); });
}

TEST_P(WatcherContract, ADirectoryThatLeftHasNoPath) {
    fs::create_directories(at("dir/sub"));
    write_file(at("dir/sub/file"));
    arm();
    const ObjectHandle sub = handle(at("dir/sub"));
    const std::uint64_t watches = watcher_->status().watched_directories;
    expect_told(at("dir"), "rename to outside", [&] { fs::rename(at("dir"), outside() + "/dir"); });
    EXPECT_EQ(watcher_->path_of(sub), std::nullopt);
    if (is_fanotify()) return;
    // Its watches go, some time later.
    for (int i = 0; i < 1000 && watcher_->status().watched_directories != watches - 2; ++i)
        usleep(10'000);
    EXPECT_EQ(watcher_->status().watched_directories, watches - 2);
    barrier();
    write_file(outside() + "/dir/sub/file", "more");
    EXPECT_TRUE(barrier().empty());
    // And may come back.
    expect_told(at("back/sub/file"), "rename back",
                [&] { fs::rename(outside() + "/dir", at("back")); });
    expect_told(at("back/sub/new"), "creat in it", [&] { write_file(at("back/sub/new")); });
}

TEST_P(WatcherContract, ARemovedDirectoryHasNoPath) {
    fs::create_directories(at("dir/sub"));
    arm();
    const ObjectHandle sub = handle(at("dir/sub"));
    EXPECT_EQ(watcher_->path_of(sub), at("dir/sub"));
    const UniqueFd held(open(at("dir/sub").c_str(), O_RDONLY | O_CLOEXEC));
    fs::remove_all(at("dir"));
    barrier();
    EXPECT_EQ(watcher_->path_of(sub), std::nullopt);
    // Not even if something has its name.
    fs::create_directories(at("dir/sub"));
    fs::create_directories(at("dir/sub (deleted)"));
    EXPECT_EQ(watcher_->path_of(sub), std::nullopt);
    EXPECT_EQ(watcher_->path_of(handle(at("dir/sub (deleted)"))), at("dir/sub (deleted)"));
    EXPECT_EQ(watcher_->path_of(""), std::nullopt);
    EXPECT_EQ(watcher_->path_of("h"), std::nullopt);
    EXPECT_EQ(watcher_->path_of("h\x01garbage"), std::nullopt);
    EXPECT_EQ(watcher_->path_of(std::string(300, 'h')), std::nullopt);
}

TEST_P(WatcherContract, APathIsOnlyGivenWhereItLeadsToTheDirectory) {
    fs::create_directories(at("over/hidden"));
    fs::create_directories(at("seen"));
    arm();
    const ObjectHandle hidden = handle(at("over/hidden")), over = handle(at("over"));
    ASSERT_EQ(mount("backupd-test", at("over").c_str(), "tmpfs", 0, nullptr), 0);
    EXPECT_EQ(watcher_->path_of(hidden), std::nullopt);
    EXPECT_EQ(watcher_->path_of(over), std::nullopt);
    EXPECT_EQ(watcher_->path_of(handle(at("seen"))), at("seen"));
    write_file(at("over/elsewhere"));
    const WatchBatch batch = barrier();
    EXPECT_EQ(find(batch, "elsewhere"), nullptr);
    EXPECT_FALSE(batch.gone);
    ASSERT_EQ(umount(at("over").c_str()), 0);
    EXPECT_EQ(watcher_->path_of(hidden), at("over/hidden"));
    expect_told(at("over/hidden/file"), "creat in what was hidden",
                [&] { write_file(at("over/hidden/file")); });
}

TEST_P(WatcherContract, WritesThroughABindMountAreTold) {
    fs::create_directories(at("dir"));
    fs::create_directories(volume().other());
    arm();
    ASSERT_EQ(mount(at("dir").c_str(), volume().other().c_str(), nullptr, MS_BIND, nullptr), 0);
    expect_told(at("dir/file"), "creat through a bind mount",
                [&] { write_file(volume().other() + "/file"); });
    ASSERT_EQ(umount(volume().other().c_str()), 0);
}

TEST_P(WatcherContract, AHardLinkElsewhereTellsOfTheObject) {
    if (!is_fanotify()) GTEST_SKIP() << "inotify knows no objects";
    write_file(at("file"));
    fs::create_hard_link(at("file"), outside() + "/alias");
    arm();
    write_file(outside() + "/alias", "through the other name");
    // The tree looks at files with more names than it knows by itself; here it is told of the name.
    WatchBatch batch = barrier();
    EXPECT_NE(find(batch, "alias"), nullptr);
    fs::remove(outside() + "/alias");
    batch = barrier();
    ASSERT_EQ(batch.objects.size(), 1U);
    EXPECT_EQ(batch.objects[0], handle(at("file")));
    const auto facts = watcher_->facts_of(batch.objects[0]);
    ASSERT_TRUE(facts.has_value());
    struct stat status {};
    ASSERT_EQ(stat(at("file").c_str(), &status), 0);
    EXPECT_EQ(facts->inode, status.st_ino);
    EXPECT_EQ(facts->device, status.st_dev);
    EXPECT_EQ(facts->links, 1U);
    EXPECT_FALSE(facts->is_directory);
    fs::remove(at("file"));
    EXPECT_FALSE(watcher_->facts_of(batch.objects[0]).has_value());
}

TEST_P(WatcherContract, AWriteByHandleIsToldEvenIfNoNameIsKnown) {
    if (!is_fanotify()) GTEST_SKIP() << "inotify is not told";
    if (GetParam().volume == "tmpfs") GTEST_SKIP() << "tmpfs keeps every name in memory";
    TestVolume own(GetParam().volume);
    ASSERT_EQ(own.problem(), "");
    const std::string dir = own.path() + "/dir";
    fs::create_directories(dir);
    write_file(dir + "/file");
    struct {
        file_handle head;
        std::array<char, 128> space;
    } object{};
    object.head.handle_bytes = object.space.size();
    int mount_id = 0;
    ASSERT_EQ(name_to_handle_at(AT_FDCWD, (dir + "/file").c_str(), &object.head, &mount_id, 0), 0);
    const ObjectHandle expected = handle(dir + "/file");
    ASSERT_TRUE(own.unmount());
    ASSERT_TRUE(own.mount());
    watcher_ = make(own.path());
    ASSERT_NE(watcher_, nullptr);
    {
        const UniqueFd place(open(own.path().c_str(), O_RDONLY | O_CLOEXEC));
        const UniqueFd file(open_by_handle_at(place.get(), &object.head, O_WRONLY));
        ASSERT_TRUE(file);
        ASSERT_EQ(write(file.get(), "by handle", 9), 9);
    }
    const WatchBatch batch = barrier();
    ASSERT_EQ(batch.objects.size(), 1U);
    EXPECT_EQ(batch.objects[0], expected);
    watcher_.reset();
}

TEST_P(WatcherContract, AStormOfDirectoriesLosesNoFile) {
    arm();
    WatchMirror mirror(*watcher_, root());
    mirror.scan();
    // In memory as many as may be; elsewhere the disk would be measured.
    const int count = GetParam().volume == "tmpfs" ? 3000 : 600;
    std::thread storm([&] {
        for (int i = 0; i < count; ++i) {
            std::string path = root();
            for (const char* name : {"x", "y", "z"}) {
                path += '/';
                path += name;
                path += std::to_string(i);
                mkdir(path.c_str(), 0700);
                close(open((path + "/file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
            }
        }
    });
    for (int i = 0; i < 20; ++i) mirror.apply(barrier());
    storm.join();
    mirror.apply(barrier());
    EXPECT_EQ(mirror.differences(), std::vector<std::string>{});
    EXPECT_EQ(watcher_->status().overflows, 0U);
}

TEST_P(WatcherContract, AStormOfRenamesAndEverythingElseIsNeverMissed) {
    arm();
    WatchMirror mirror(*watcher_, root());
    mirror.scan();
    constexpr int kThreads = 3, kOperations = 4000;
    std::atomic<int> running = kThreads;
    std::vector<std::thread> writers;
    for (int writer = 0; writer < kThreads; ++writer)
        writers.emplace_back([&, writer] {
            std::mt19937 random(static_cast<unsigned>(writer) + 7);
            // Few names, so that all of them meet; failures are part of it.
            const auto path = [&] {
                std::string text = root();
                for (auto depth = 1 + random() % 4; depth > 0; --depth)
                    text += "/" + std::string(1, static_cast<char>('a' + random() % 4));
                return text;
            };
            for (int i = 0; i < kOperations; ++i) {
                const std::string one = path(), two = path();
                switch (random() % 8) {
                    case 0:
                    case 1:
                        mkdir(one.c_str(), 0700);
                        break;
                    case 2:
                    case 3: {
                        const UniqueFd file(open((one + "f").c_str(),
                                                 O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
                        if (file && write(file.get(), "text", 4) != 4) return;
                        break;
                    }
                    case 4:
                    case 5:
                        rename(one.c_str(), two.c_str());
                        break;
                    case 6:
                        renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, two.c_str(), RENAME_EXCHANGE);
                        break;
                    case 7:
                        if (rmdir(one.c_str()) != 0) unlink((one + "f").c_str());
                        break;
                }
            }
            --running;
        });
    while (running > 0) mirror.apply(barrier());
    for (auto& writer : writers) writer.join();
    // Directories that could not be found while all moved are found now.
    mirror.apply(barrier());
    for (int i = 0; i < 200 && !mirror.differences().empty() && !is_fanotify(); ++i) {
        usleep(10'000);
        mirror.apply(barrier());
    }
    EXPECT_EQ(mirror.differences(), std::vector<std::string>{});
    // And everything is still watched.
    std::vector<std::string> directories;
    for (const auto& entry : fs::recursive_directory_iterator(root()))
        if (entry.is_directory()) directories.push_back(entry.path());
    for (const auto& directory : directories)
        expect_told(directory + "/last", "creat afterwards",
                    [&] { write_file(directory + "/last"); });
}

TEST_P(WatcherContract, NothingIsLostWhileNobodyTakes) {
    arm();
    WatchMirror mirror(*watcher_, root());
    mirror.scan();
    for (int i = 0; i < (GetParam().volume == "tmpfs" ? 30 : 3); ++i) {
        const std::string dir = at("d" + std::to_string(i));
        mkdir(dir.c_str(), 0700);
        for (int j = 0; j < 1000; ++j)
            close(open((dir + "/f" + std::to_string(j)).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC,
                       0600));
    }
    const WatchBatch batch = barrier();
    EXPECT_EQ(batch.lost, "");
    mirror.apply(batch);
    EXPECT_EQ(mirror.differences(), std::vector<std::string>{});
}

TEST_P(WatcherContract, TooManyNamesOfADirectoryBecomeOneListing) {
    arm({.most_names = 10});
    for (int i = 0; i < 10; ++i) write_file(at(std::to_string(i)));
    WatchBatch batch = barrier();
    EXPECT_EQ(batch.names.size(), 10U);
    EXPECT_TRUE(batch.relist.empty());
    for (int i = 0; i < 11; ++i) write_file(at(std::to_string(i)));
    batch = barrier();
    EXPECT_TRUE(batch.names.empty());
    ASSERT_EQ(batch.relist.size(), 1U);
    EXPECT_EQ(batch.relist[0], handle(root()));
}

TEST_P(WatcherContract, SomebodyIsNudgedOnceUntilHeTakes) {
    std::atomic<int> nudges = 0;
    arm({.nudge = [&] { ++nudges; }});
    barrier();
    nudges = 0;
    write_file(at("a"));
    for (int i = 0; i < 1000 && nudges == 0; ++i) usleep(10'000);
    EXPECT_EQ(nudges, 1);
    write_file(at("b"));
    write_file(at("c"));
    const WatchBatch batch = barrier();
    EXPECT_EQ(nudges, 1);
    EXPECT_NE(find(batch, "a"), nullptr);
    EXPECT_NE(find(batch, "c"), nullptr);
    write_file(at("d"));
    for (int i = 0; i < 1000 && nudges == 1; ++i) usleep(10'000);
    EXPECT_EQ(nudges, 2);
}

TEST_P(WatcherContract, AnOverflowIsToldOnceAndEverythingIsWatchedAfterwards) {
    fs::create_directory(at("kept"));
    write_file(at("one"));
    write_file(at("two"));
    // fanotify gives up by itself, the queue of inotify is full at 16,384.
    arm({.most_queue_bytes = 100'000});
    barrier();
    watcher_->stall(true);
    for (int i = 0; is_fanotify() && i < 1000; ++i) write_file(at("kept/f") + std::to_string(i));
    // Nothing is merged here.
    for (int i = 0; !is_fanotify() && i < 20'000; ++i)
        chmod(at(i % 2 == 0 ? "one" : "two").c_str(), 0600);
    // Directories of which the queue holds nothing.
    fs::create_directories(at("new/sub"));
    fs::rename(at("kept"), at("renamed"));
    watcher_->stall(false);
    WatchBatch batch = barrier();
    EXPECT_NE(batch.lost, "");
    EXPECT_FALSE(batch.gone);
    EXPECT_EQ(watcher_->status().overflows, 1U);
    EXPECT_EQ(barrier().lost, "");
    expect_told(at("new/sub/file"), "creat in a directory that was made meanwhile",
                [&] { write_file(at("new/sub/file")); });
    expect_told(at("renamed/file"), "creat in a directory that was renamed meanwhile",
                [&] { write_file(at("renamed/file")); });
    EXPECT_EQ(watcher_->path_of(handle(at("renamed"))), at("renamed"));
    EXPECT_EQ(watcher_->status().overflows, 1U);
}

TEST_P(WatcherContract, AnUnmountIsTheEnd) {
    TestVolume own(GetParam().volume);
    ASSERT_EQ(own.problem(), "");
    std::atomic<int> nudges = 0;
    watcher_ = make(own.path(), {.nudge = [&] { ++nudges; }});
    ASSERT_NE(watcher_, nullptr);
    EXPECT_FALSE(barrier().gone);
    const ObjectHandle top = handle(own.path());
    // No descriptor of ours is in the way.
    ASSERT_TRUE(own.unmount()) << own.problem();
    const WatchBatch batch = barrier();
    EXPECT_TRUE(batch.gone);
    EXPECT_NE(batch.lost, "");
    EXPECT_GE(nudges, 1);
    EXPECT_NE(watcher_->status().problem, "");
    EXPECT_TRUE(barrier().gone) << "for ever";
    EXPECT_EQ(watcher_->path_of(top), std::nullopt);
    EXPECT_EQ(watcher_->path_of(handle(own.path())), std::nullopt) << "of another file system";
}

TEST_P(WatcherContract, AQuickRemountIsTheEndToo) {
    TestVolume own(GetParam().volume);
    ASSERT_EQ(own.problem(), "");
    watcher_ = make(own.path());
    ASSERT_NE(watcher_, nullptr);
    watcher_->stall(true);
    ASSERT_TRUE(own.unmount()) << own.problem();
    ASSERT_TRUE(own.mount());
    write_file(own.path() + "/unseen");
    watcher_->stall(false);
    EXPECT_TRUE(barrier().gone);
    watcher_.reset();
}

TEST_P(WatcherContract, AnotherFileSystemInItsPlaceIsTheEnd) {
    TestVolume own(GetParam().volume);
    ASSERT_EQ(own.problem(), "");
    watcher_ = make(own.path());
    ASSERT_NE(watcher_, nullptr);
    ASSERT_EQ(mount("backupd-test", own.path().c_str(), "tmpfs", 0, nullptr), 0);
    EXPECT_TRUE(barrier().gone);
    watcher_.reset();
    ASSERT_EQ(umount(own.path().c_str()), 0);
}

TEST_P(WatcherContract, OurOwnWritesAreNotTold) {
    if (!is_fanotify()) GTEST_SKIP() << "inotify does not say who";
    arm({.own_pid = getpid()});
    write_file(at("mine"));
    in_child([&] { write_file(at("theirs")); });
    const WatchBatch batch = barrier();
    EXPECT_EQ(find(batch, "mine"), nullptr);
    EXPECT_NE(find(batch, "theirs"), nullptr);
}

TEST_P(WatcherContract, AGroupOutlivesItsWatcher) {
    if (!is_fanotify()) GTEST_SKIP() << "only fanotify";
    arm();
    UniqueFd group = watcher_->group();
    ASSERT_TRUE(group);
    watcher_.reset();
    write_file(at("meanwhile"));
    const std::vector<Path> roots{Path::parse(root()).value()};
    auto again = watch_with_fanotify(roots, {}, std::move(group));
    ASSERT_TRUE(again.ok()) << again.error().message();
    watcher_ = std::move(*again);
    const WatchBatch batch = barrier();
    EXPECT_EQ(batch.lost, "");
    EXPECT_NE(find(batch, "meanwhile"), nullptr);
    expect_told(at("later"), "creat", [&] { write_file(at("later")); });
}

TEST_P(WatcherContract, AGroupDoesNotOutliveAnUnmount) {
    if (!is_fanotify()) GTEST_SKIP() << "only fanotify";
    TestVolume own(GetParam().volume);
    ASSERT_EQ(own.problem(), "");
    watcher_ = make(own.path());
    ASSERT_NE(watcher_, nullptr);
    UniqueFd group = watcher_->group();
    watcher_.reset();
    ASSERT_TRUE(own.unmount());
    ASSERT_TRUE(own.mount());
    const std::vector<Path> roots{Path::parse(own.path()).value()};
    auto again = watch_with_fanotify(roots, {}, std::move(group));
    ASSERT_TRUE(again.ok()) << again.error().message();
    watcher_ = std::move(*again);
    EXPECT_NE(barrier().lost, "");
    write_file(own.path() + "/file");
    EXPECT_NE(find(barrier(), "file"), nullptr);
    watcher_.reset();
}

TEST_P(WatcherContract, TheLimitOfWatchesIsToldAndWhatHasNoneIsNamed) {
    if (is_fanotify()) GTEST_SKIP() << "only inotify";
    std::set<std::string> all{};
    for (int i = 0; i < 100; ++i) {
        const std::string dir = at("d" + std::to_string(i));
        fs::create_directories(dir + "/sub");
        all.insert(dir);
        all.insert(dir + "/sub");
    }
    arm({.most_watches = 50});
    WatchStatus status = watcher_->status();
    EXPECT_EQ(status.watched_directories, 50U);
    EXPECT_EQ(status.unwatched_directories, 151U);
    EXPECT_NE(status.problem.find("most-watches"), std::string::npos) << status.problem;
    EXPECT_NE(status.problem.find("max_user_watches"), std::string::npos) << status.problem;
    const std::vector<std::string> unwatched = watcher_->unwatched();
    EXPECT_EQ(unwatched.size(), 151U);
    for (const std::string& path : unwatched) EXPECT_TRUE(all.contains(path)) << path;
    // What was made in a directory without a watch is found by asking.
    fs::create_directory(unwatched[0] + "/found");
    EXPECT_EQ(watcher_->unwatched().size(), 152U);
    EXPECT_EQ(watcher_->path_of(handle(unwatched[0] + "/found")), unwatched[0] + "/found");
    // Room comes back.
    const std::set<std::string> without(unwatched.begin(), unwatched.end());
    for (const std::string& path : all)
        if (!without.contains(path) && fs::is_empty(path)) fs::remove(path);
    barrier();
    watcher_->retry_unwatched();
    std::size_t listed = 0;
    for (int i = 0; i < 1000 && listed == 0; ++i) {
        usleep(10'000);
        // A directory that got its watch must be listed: nobody told what happened before.
        listed += barrier().relist.size();
    }
    EXPECT_EQ(watcher_->status().watched_directories, 50U);
    EXPECT_GT(listed, 0U);
}

// Whoever asks where a directory is must be able to tell one on its way from one that is gone.
TEST_P(WatcherContract, ADirectoryThatIsRenamedAllTheTimeIsNeverTakenForGone) {
    fs::create_directories(at("here"));
    const ObjectHandle restless = handle(at("here"));
    arm();
    std::atomic<bool> is_over = false;
    std::thread renames([&] {
        while (!is_over) {
            rename(at("here").c_str(), at("there").c_str());
            rename(at("there").c_str(), at("here").c_str());
        }
    });
    for (int i = 0; i < 200; ++i) {
        const auto path = watcher_->path_of(restless);
        if (path) continue;
        const auto facts = watcher_->facts_of(restless);
        EXPECT_TRUE(facts && facts->is_directory);
    }
    is_over = true;
    renames.join();
    fs::remove(at("here"));
    barrier();
    EXPECT_EQ(watcher_->path_of(restless), std::nullopt);
    EXPECT_FALSE(watcher_->facts_of(restless).has_value());
}

TEST_P(WatcherContract, WhatCannotBeOpenedForWantOfDescriptorsIsNotTakenForGone) {
    if (!is_fanotify()) GTEST_SKIP() << "inotify needs no descriptor to tell where a watch is";
    fs::create_directory(at("dir"));
    arm();
    const ObjectHandle directory = handle(at("dir"));
    ASSERT_EQ(barrier().lost, "");
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{0, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    const auto path = watcher_->path_of(directory);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(path, std::nullopt);
    EXPECT_NE(barrier().lost, "") << "all must be compared";
    EXPECT_EQ(watcher_->path_of(directory), at("dir"));
}

TEST_P(WatcherContract, ExcludedDirectoriesTakeNoWatch) {
    if (is_fanotify()) GTEST_SKIP() << "only inotify";
    fs::create_directories(at("cache/deep"));
    fs::create_directories(at("dir/cache"));
    arm({.skip = [&](const std::string& directory, const std::string& name) {
        return directory == root() && name == "cache";
    }});
    EXPECT_EQ(watcher_->status().watched_directories, 3U);
    write_file(at("cache/deep/file"));
    EXPECT_TRUE(barrier().empty());
    expect_told(at("dir/cache/file"), "creat", [&] { write_file(at("dir/cache/file")); });
    fs::rename(at("cache"), at("wanted"));
    expect_told(at("wanted/deep/file"), "write",
                [&] { write_file(at("wanted/deep/file"), "more"); });
}

TEST_P(WatcherContract, SeveralRootsAreOneWatch) {
    fs::create_directories(at("one"));
    fs::create_directories(at("two/three"));
    const std::vector<Path> roots{Path::parse(at("one")).value(), Path::parse(at("two")).value(),
                                  Path::parse(at("two/three")).value()};
    auto made = is_fanotify() ? watch_with_fanotify(roots, {}) : watch_with_inotify(roots, {});
    ASSERT_TRUE(made.ok()) << made.error().message();
    watcher_ = std::move(*made);
    for (const char* name : {"one/file", "two/file", "two/three/file"})
        expect_told(at(name), "creat", [&] { write_file(at(name)); });
    EXPECT_EQ(watcher_->path_of(handle(root())), std::nullopt) << "outside of every root";
}

// Where things are is told without links: nothing would be found below such a place.
TEST_P(WatcherContract, APlaceBehindALinkIsWatchedOrRefused) {
    fs::create_directories(at("real/place"));
    fs::create_directory(at("other"));
    fs::create_directory_symlink("real", at("link"));
    const std::vector<Path> roots{Path::parse(at("other")).value(),
                                  Path::parse(at("link/place")).value()};
    auto made = is_fanotify() ? watch_with_fanotify(roots, {}) : watch_with_inotify(roots, {});
    if (!made.ok()) {
        EXPECT_EQ(made.error().kind(), ErrorKind::invalid) << made.error().message();
        return;
    }
    watcher_ = std::move(*made);
    write_file(at("real/place/file"));
    bool is_told = false;
    for (const auto& name : barrier().names)
        is_told |= watcher_->path_of(name.directory) == at("link/place");
    EXPECT_TRUE(is_told);
}

TEST_P(WatcherContract, StatusSaysWhatItIs) {
    arm();
    write_file(at("file"));
    const std::uint64_t records = barrier().records;
    EXPECT_GE(records, 1U);
    const WatchStatus status = watcher_->status();
    EXPECT_EQ(status.kind, GetParam().kind);
    EXPECT_GE(status.records, records);
    EXPECT_EQ(status.overflows, 0U);
    EXPECT_EQ(status.unwatched_directories, 0U);
    EXPECT_EQ(status.watched_directories, is_fanotify() ? 0U : 1U);
    EXPECT_EQ(status.problem, "");
}

INSTANTIATE_TEST_SUITE_P(Every, WatcherContract,
                         testing::Values(WatcherCase{WatchKind::fanotify, "tmpfs"},
                                         WatcherCase{WatchKind::fanotify, "ext4"},
                                         WatcherCase{WatchKind::fanotify, "xfs"},
                                         WatcherCase{WatchKind::fanotify, "btrfs"},
                                         WatcherCase{WatchKind::fanotify, "btrfs-subvolume"},
                                         WatcherCase{WatchKind::inotify, "tmpfs"},
                                         WatcherCase{WatchKind::inotify, "ext4"},
                                         WatcherCase{WatchKind::inotify, "xfs"},
                                         WatcherCase{WatchKind::inotify, "btrfs"},
                                         WatcherCase{WatchKind::inotify, "btrfs-subvolume"}),
                         [](const testing::TestParamInfo<WatcherCase>& one) {
                             std::string name =
                                 std::string(to_string(one.param.kind)) + "_" + one.param.volume;
                             for (char& letter : name)
                                 if (letter == '-') letter = '_';
                             return name;
                         });

}  // namespace backup
