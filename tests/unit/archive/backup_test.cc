// What a revision holds.
#include "daemon/archive/backup.h"

#include <algorithm>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "tests/unit/archive/archive_fixture.h"

namespace backup {

namespace {

using Names = std::vector<std::string>;

class BackupTest : public ArchiveTest {};

}  // namespace

TEST_F(BackupTest, FilesLinksAndSpecialFilesAreStoredWithTheirMetadata) {
    put("file", "hello\n");
    put("empty", "");
    ::chmod(at("file").c_str(), 0640);
    ASSERT_EQ(::symlink("some/where", at("link").c_str()), 0);
    ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
    ASSERT_EQ(::link(at("file").c_str(), at("twin").c_str()), 0);
    make_directory("folder");
    timespec times[2] = {{1, 0}, {1'600'000'000, 123456789}};
    ASSERT_EQ(::utimensat(AT_FDCWD, at("file").c_str(), times, 0), 0);

    BackupResult result = run();
    EXPECT_EQ(names(result, source_), (Names{"empty", "fifo", "file", "folder", "link", "twin"}));
    Node file = *node(result, at("file"));
    struct stat status;
    ASSERT_EQ(::stat(at("file").c_str(), &status), 0);
    EXPECT_EQ(file.type, NodeType::file);
    EXPECT_EQ(file.unix_mode(), status.st_mode);
    EXPECT_EQ(file.mtime, (FileTime{1'600'000'000, 123456789}));
    EXPECT_EQ(file.atime, file.mtime);
    EXPECT_EQ(file.ctime, (FileTime{status.st_ctim.tv_sec, std::uint32_t(status.st_ctim.tv_nsec)}));
    EXPECT_EQ(file.inode, status.st_ino);
    EXPECT_EQ(file.device_id, status.st_dev);
    EXPECT_EQ(file.uid, ::geteuid());
    EXPECT_EQ(file.links, 2u);
    EXPECT_EQ(file.size, 6u);
    EXPECT_EQ(content(file), "hello\n");
    EXPECT_EQ(node(result, at("twin"))->content, file.content);
    Node empty = *node(result, at("empty"));
    EXPECT_TRUE(empty.has_content);
    EXPECT_TRUE(empty.content.empty());
    EXPECT_EQ(node(result, at("link"))->link_target, "some/where");
    EXPECT_EQ(node(result, at("fifo"))->type, NodeType::fifo);
    EXPECT_EQ(node(result, at("folder"))->type, NodeType::dir);
    EXPECT_TRUE(nodes(result, at("folder")).empty());
    EXPECT_EQ(exceptions_->count(), 0u);

    EXPECT_EQ(result.counts.files_new, 3u);
    EXPECT_EQ(result.counts.total_bytes, 12u);
    EXPECT_EQ(result.counts.data_blobs_new, 1u);
}

TEST_F(BackupTest, DevicesKeepTheirNumbers) {
    if (::mknod(at("null").c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0)
        GTEST_SKIP() << "only root makes devices";
    ASSERT_EQ(::mknod(at("block").c_str(), S_IFBLK | 0600, makedev(7, 300)), 0);
    BackupResult result = run();
    EXPECT_EQ(node(result, at("null"))->type, NodeType::chardev);
    EXPECT_EQ(node(result, at("null"))->device, makedev(1, 3));
    EXPECT_EQ(node(result, at("block"))->type, NodeType::dev);
    EXPECT_EQ(node(result, at("block"))->device, 1050412u);
}

TEST_F(BackupTest, SocketsAreSkippedSilently) {
    put("file", "x");
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    ASSERT_LT(at("socket").size(), sizeof address.sun_path);
    std::ranges::copy(at("socket"), address.sun_path);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(names(run(), source_), Names{"file"});
    EXPECT_EQ(exceptions_->count(), 0u);
}

TEST_F(BackupTest, NamesMayBeAnyBytes) {
    Names odd{"\x01\x02",    " ",        "\"quoted\\", "a\nb",
              "bad\xff\xfe", "\xc3\xa4", "-rf",        std::string(255, 'x')};
    std::ranges::sort(odd);
    for (const std::string& name : odd) put(name, name);
    BackupResult result = run();
    EXPECT_EQ(names(result, source_), odd);
    for (const std::string& name : odd) EXPECT_EQ(content(*node(result, at(name))), name);
}

TEST_F(BackupTest, ExtendedAttributesAreKept) {
    put("file", "x");
    make_directory("folder");
    if (::setxattr(at("file").c_str(), "user.b", "1", 1, 0) != 0)
        GTEST_SKIP() << "no user attributes here";
    ASSERT_EQ(::setxattr(at("file").c_str(), "user.a", "", 0, 0), 0);
    std::string big(3000, 'v');
    ASSERT_EQ(::setxattr(at("folder").c_str(), "user.big", big.data(), big.size(), 0), 0);
    BackupResult result = run();
    Node file = *node(result, at("file"));
    ASSERT_EQ(file.extended_attributes.size(), 2u);
    std::ranges::sort(file.extended_attributes, {}, &ExtendedAttribute::name);
    EXPECT_EQ(file.extended_attributes[0].name, "user.a");
    EXPECT_TRUE(file.extended_attributes[0].value.empty());
    EXPECT_EQ(as_text(file.extended_attributes[1].value), "1");
    Node folder = *node(result, at("folder"));
    ASSERT_EQ(folder.extended_attributes.size(), 1u);
    EXPECT_EQ(as_text(folder.extended_attributes[0].value), big);

    // A changed attribute changes ctime, and nothing else.
    ASSERT_EQ(::setxattr(at("file").c_str(), "user.b", "2", 1, 0), 0);
    BackupResult second = run();
    file = *node(second, at("file"));
    std::ranges::sort(file.extended_attributes, {}, &ExtendedAttribute::name);
    EXPECT_EQ(as_text(file.extended_attributes[1].value), "2");
}

TEST_F(BackupTest, AttributeNamesTheFormatCannotHoldAreReported) {
    put("file", "x");
    if (::setxattr(at("file").c_str(), "user.\xff", "1", 1, 0) != 0)
        GTEST_SKIP() << "no user attributes here";
    run();
    ASSERT_EQ(exceptions_->count(), 1u);
    EXPECT_EQ(exceptions_->list()[0].path, at("file"));
    EXPECT_EQ(exceptions_->list()[0].error.code(), ErrorCode::unsupported);
}

TEST_F(BackupTest, DirectoriesAboveThePathsAreStoredWithoutTheirOtherEntries) {
    put("file", "x");
    put("../beside", "x");
    BackupResult result = run();
    EXPECT_EQ(names(result, folder_.path()), Names{"source"});
    auto above = node(result, folder_.path());
    ASSERT_TRUE(above.has_value());
    struct stat status;
    ASSERT_EQ(::stat(folder_.path().c_str(), &status), 0);
    EXPECT_EQ(above->inode, status.st_ino);
    EXPECT_EQ(above->unix_mode(), status.st_mode);
}

TEST_F(BackupTest, NestedPathsAreMerged) {
    put("a/b/file", "1");
    put("a/other", "2");
    put("c", "3");
    set_.paths = {*Path::parse(at("a/b")), *Path::parse(source_), *Path::parse(at("c"))};
    BackupResult result = run();
    EXPECT_EQ(names(result, source_), (Names{"a", "c"}));
    EXPECT_EQ(names(result, at("a")), (Names{"b", "other"}));
    EXPECT_EQ(names(result, at("a/b")), Names{"file"});
    EXPECT_EQ(result.snapshot.paths, (Names{at("a/b"), source_, at("c")}));
    // The same content, whoever names it.
    BlobId merged = *node(result, at("a"))->subtree;
    set_.paths = {*Path::parse(source_)};
    EXPECT_EQ(*node(run(), at("a"))->subtree, merged);
}

TEST_F(BackupTest, APathThatIsAFileOrALinkIsStoredAsWhatItIs) {
    put("real/file", "x");
    ASSERT_EQ(::symlink("real", at("link").c_str()), 0);
    set_.paths = {*Path::parse(at("real/file")), *Path::parse(at("link"))};
    BackupResult result = run();
    EXPECT_EQ(node(result, at("link"))->type, NodeType::symlink);
    EXPECT_EQ(content(*node(result, at("real/file"))), "x");
}

TEST_F(BackupTest, LinksAboveAPathAreFollowed) {
    put("real/inner/file", "x");
    ASSERT_EQ(::symlink("real", at("link").c_str()), 0);
    set_.paths = {*Path::parse(at("link/inner"))};
    BackupResult result = run();
    EXPECT_EQ(node(result, at("link"))->type, NodeType::dir);
    struct stat status;
    ASSERT_EQ(::stat(at("real").c_str(), &status), 0);
    EXPECT_EQ(node(result, at("link"))->inode, status.st_ino);
    EXPECT_EQ(names(result, at("link/inner")), Names{"file"});
}

TEST_F(BackupTest, AMissingPathIsAnExceptionAllOfThemAnError) {
    put("file", "x");
    set_.paths.push_back(*Path::parse(at("none/at/all")));
    BackupResult result = run();
    EXPECT_EQ(names(result, source_), Names{"file"});
    ASSERT_EQ(exceptions_->count(), 1u);
    EXPECT_EQ(exceptions_->list()[0].path, at("none/at/all"));
    EXPECT_EQ(exceptions_->list()[0].error.code(), ErrorCode::no_such_path);

    auto files_before = backend_.files();
    set_.paths = {*Path::parse(at("none"))};
    auto missing = try_run();
    ASSERT_FALSE(missing.ok());
    EXPECT_EQ(missing.error().kind(), ErrorKind::not_found);
    EXPECT_EQ(missing.error().code(), ErrorCode::no_such_path);
    EXPECT_EQ(backend_.files().size(), files_before.size()) << "nothing may be written";

    set_.paths.clear();
    auto none = try_run();
    ASSERT_FALSE(none.ok());
    EXPECT_EQ(none.error().kind(), ErrorKind::invalid);
}

TEST_F(BackupTest, PathsDeeperThanPathMaxAreStored) {
    const std::string part(200, 'p');
    constexpr int kDepth = 40;  // 8,000 bytes; the kernel takes 4,096 at once
    std::vector<UniqueFd> open;
    open.emplace_back(::open(source_.c_str(), O_RDONLY | O_DIRECTORY));
    for (int i = 0; i < kDepth; ++i) {
        ASSERT_EQ(::mkdirat(open.back().get(), part.c_str(), 0755), 0);
        open.emplace_back(::openat(open.back().get(), part.c_str(), O_RDONLY | O_DIRECTORY));
        ASSERT_TRUE(open.back());
    }
    UniqueFd file(::openat(open.back().get(), "bottom", O_WRONLY | O_CREAT, 0600));
    ASSERT_EQ(::write(file.get(), "deep", 4), 4);
    BackupResult result = run();
    EXPECT_EQ(exceptions_->count(), 0u);
    EXPECT_EQ(result.counts.files_new, 1u);
    std::string path = source_;
    for (int i = 0; i < kDepth; ++i) path += "/" + part;
    EXPECT_EQ(content(*node(result, path + "/bottom")), "deep");
    // std::filesystem cannot remove what is this deep.
    file.reset();
    ::unlinkat(open.back().get(), "bottom", 0);
    for (int i = kDepth; i > 0; --i) {
        open.pop_back();
        EXPECT_EQ(::unlinkat(open.back().get(), part.c_str(), AT_REMOVEDIR), 0);
    }
}

TEST_F(BackupTest, WideDirectoriesComeOutInOrder) {
    Names expected;
    for (int i = 0; i < 3000; ++i) {
        std::string name = "entry-" + std::to_string(i * 7919 % 3000);
        expected.push_back(name);
        if (i % 100 == 0)
            put(name + "/inside", name);
        else if (i % 500 == 1)
            put(name, random_text(700'000, unsigned(i)));
        else
            put(name, name);
    }
    std::ranges::sort(expected);
    BackupResult first = run();
    EXPECT_EQ(names(first, source_), expected);
    EXPECT_EQ(content(*node(first, at("entry-17"))), "entry-17");
    BackupResult second = run();
    EXPECT_EQ(tree_of_source(second), tree_of_source(first));
    EXPECT_EQ(second.counts.files_read, 0u);

    put("entry-1500-and-a-half", "new");
    std::filesystem::remove(at("entry-17"));
    BackupResult third = run();
    expected.push_back("entry-1500-and-a-half");
    std::erase(expected, "entry-17");
    std::ranges::sort(expected);
    EXPECT_EQ(names(third, source_), expected);
    EXPECT_EQ(third.counts.files_read, 1u);
    EXPECT_EQ(third.counts.files_removed, 1u);
    request_.parent.reset();
    EXPECT_EQ(tree_of_source(run()), tree_of_source(third)) << "the same as without a parent";
}

TEST_F(BackupTest, TheSnapshotTellsHowItCameAbout) {
    put("file", "12345");
    set_.exclude.patterns = {"*.tmp"};
    request_.trigger = "timer";
    request_.number = 7;
    BackupResult result = run();
    Snapshot stored = *repository_->load_revision(result.revision);
    EXPECT_EQ(stored.tree, result.tree);
    EXPECT_EQ(stored.hostname, "host");
    EXPECT_EQ(stored.paths, Names{source_});
    EXPECT_EQ(stored.excludes, Names{"*.tmp"});
    EXPECT_TRUE(stored.program_version.starts_with("backupd ")) << stored.program_version;
    EXPECT_FALSE(stored.parent.has_value());
    RevisionTags tags = parse_revision_tags(stored.tags);
    EXPECT_EQ(tags.set, "test");
    EXPECT_EQ(tags.number, 7u);
    EXPECT_EQ(tags.trigger, "timer");
    EXPECT_EQ(tags.mode, "full");
    ASSERT_TRUE(stored.summary.has_value());
    EXPECT_EQ(stored.summary->files_new, 1u);
    EXPECT_EQ(stored.summary->total_files_processed, 1u);
    EXPECT_EQ(stored.summary->total_bytes_processed, 5u);
    EXPECT_EQ(stored.summary->data_blobs, 1u);
    EXPECT_GE(stored.summary->tree_blobs, 2u);
    EXPECT_GE(stored.summary->backup_end, stored.summary->backup_start);

    BackupResult second = run();
    EXPECT_EQ(second.snapshot.parent, result.revision);
    EXPECT_EQ(parse_revision_tags(second.snapshot.tags).mode, "incremental");
    EXPECT_EQ(progress_->bytes_total.load(), 5u);
    EXPECT_EQ(progress_->bytes_done.load(), 5u);
}

TEST_F(BackupTest, RulesOfTheParentAreKept) {
    put("file", "x");
    request_.tree_rules = "go119";
    BackupResult first = run();
    EXPECT_EQ(go_rules_for(first.snapshot.program_version), GoRules::go119);
    request_.tree_rules = "auto";
    EXPECT_EQ(go_rules_for(run().snapshot.program_version), GoRules::go119);
    request_.tree_rules = "go122";
    EXPECT_EQ(go_rules_for(run().snapshot.program_version), GoRules::go122);
}

}  // namespace backup
