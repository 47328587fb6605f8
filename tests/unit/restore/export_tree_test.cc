#include "daemon/restore/export_tree.h"

#include <gtest/gtest.h>

#include "daemon/restore/restore.h"
#include "tests/unit/restore/restore_fixture.h"

namespace backup {
namespace {

class ExportTree : public testing::Test {
  protected:
    // The archive of it, unpacked by the machine's tar into a directory of its own.
    Result<std::string> exported(std::vector<Node> root, const std::vector<std::string>& paths = {},
                                 const AccessRule& rule = {}) {
        RestoreRequest request;
        request.revision = maker_.commit(std::move(root));
        request.paths = paths;
        request.full_paths = true;
        const RestoreSource source = TRY(open_source(request, maker_.repository(), rule, {}));
        std::string archive;
        TRY(export_tree(maker_.repository(), source,
                        [&](std::string_view bytes) -> Result<> {
                            archive += bytes;
                            return {};
                        },
                        progress_, exceptions_, {}));
        return archive;
    }
    fs::path unpacked(const std::string& archive) {
        const fs::path file = fs::path(directory_.path()) / "a.tar";
        const fs::path to = fs::path(directory_.path()) / "out";
        write_file(file, archive);
        fs::create_directory(to);
        const std::string command =
            "tar --xattrs --xattrs-include='*' -xpf " + file.string() + " -C " + to.string();
        EXPECT_EQ(std::system(command.c_str()), 0);
        return to;
    }

    TempDirectory directory_;
    RevisionMaker maker_;
    Progress progress_;
    ExceptionLog exceptions_{progress_};
};

TEST_F(ExportTree, TarGivesBackWhatWasPutIn) {
    const std::string deep(90, 'd'), odd = "odd\xff\n";
    Node linked = maker_.file("one", "linked");
    linked.links = 2;
    Node other = linked;
    other.name = "two";
    Node noted = maker_.file(odd, noise(3000, 1));
    noted.extended_attributes.push_back({"user.note", to_bytes(as_bytes(std::string("a\0b", 3)))});
    std::vector<Node> below;
    below.push_back(maker_.dir(deep, {noted, maker_.file("empty", "")}));
    below.push_back(linked);
    below.push_back(maker_.symlink("points", deep + "/" + std::string(120, 'x')));
    below.push_back(maker_.special("pipe", NodeType::fifo, S_IFIFO));
    below.push_back(other);
    const auto archive = exported({maker_.dir(deep, std::move(below))});
    ASSERT_TRUE(archive.ok()) << archive.error().message();
    EXPECT_EQ(archive->size() % 512, 0u);
    const fs::path out = unpacked(*archive) / deep;
    const fs::path file = out / deep / odd;
    EXPECT_EQ(read_file(file), noise(3000, 1));
    EXPECT_EQ(status_of(file).st_mtim.tv_sec, kThen.seconds);
    EXPECT_EQ(status_of(file).st_mtim.tv_nsec, kThen.nanoseconds);
    EXPECT_EQ(fs::file_size(out / deep / "empty"), 0u);
    EXPECT_EQ(status_of(out / "one").st_ino, status_of(out / "two").st_ino);
    EXPECT_EQ(fs::read_symlink(out / "points").string(), deep + "/" + std::string(120, 'x'));
    EXPECT_TRUE(fs::is_fifo(out / "pipe"));
    EXPECT_EQ(exceptions_.count(), 0u);
}

TEST_F(ExportTree, OnlyWhatWasAskedForAndCouldBeRead) {
    const auto owned = [](Node node, std::uint32_t mode, std::uint32_t uid, const char* name) {
        node.mode = go_mode((node.unix_mode() & S_IFMT) | mode);
        node.uid = node.gid = uid;
        node.user = node.group = name;
        return node;
    };
    const AccessRule alice(NamedCaller{1001, "alice", {{1001, "alice"}}});
    std::vector<Node> home;
    home.push_back(owned(maker_.dir("closed", {maker_.file("hidden", "x")}), 0700, 1002, "bob"));
    home.push_back(owned(maker_.file("hers", "h"), 0600, 1001, "alice"));
    home.push_back(owned(maker_.file("his", "b"), 0600, 1002, "bob"));
    std::vector<Node> root;
    root.push_back(owned(maker_.dir("home", std::move(home)), 0755, 0, "root"));
    root.push_back(owned(maker_.dir("other", {maker_.file("o", "x")}), 0755, 0, "root"));
    const auto archive = exported(std::move(root), {"/home"}, alice);
    ASSERT_TRUE(archive.ok()) << archive.error().message();
    EXPECT_NE(archive->find("home/hers"), archive->npos);
    for (const char* absent : {"hidden", "home/his", "other"})
        EXPECT_EQ(archive->find(absent), archive->npos) << absent;
    EXPECT_EQ(exceptions_.count(), 2u);
}

TEST_F(ExportTree, ADamagedFileIsLeftOutAndTheRestIsThere) {
    Node bad = maker_.file("bad", noise(4000, 2));
    const auto good = maker_.file("good", noise(4000, 3));
    maker_.commit({bad, good});
    maker_.damage({BlobType::data, bad.content.at(0)});
    const auto archive = exported({bad, good});
    ASSERT_TRUE(archive.ok()) << archive.error().message();
    const fs::path out = unpacked(*archive);
    EXPECT_FALSE(fs::exists(out / "bad"));
    EXPECT_EQ(read_file(out / "good"), noise(4000, 3));
    ASSERT_EQ(exceptions_.count(), 1u);
    EXPECT_EQ(exceptions_.list()[0].path, "/bad");
}

TEST(TarHeader, TimesBeforeTheEpochAndLargeNumbersAreSaid) {
    Node node;
    node.name = "n";
    node.type = NodeType::file;
    node.mode = go_mode(S_IFREG | 04755);
    node.uid = 4'000'000'000u;
    node.size = std::uint64_t{1} << 40;
    node.mtime = {-2, 500'000'000};
    const std::string header = tar_header(node, "n");
    EXPECT_NE(header.find("mtime=-1.500000000\n"), header.npos);
    EXPECT_NE(header.find("uid=4000000000\n"), header.npos);
    EXPECT_NE(header.find("size=1099511627776\n"), header.npos);
    node.mtime = {-1, 500'000'000};
    EXPECT_NE(tar_header(node, "n").find("mtime=-0.500000000\n"), std::string::npos);
}

}  // namespace
}  // namespace backup
