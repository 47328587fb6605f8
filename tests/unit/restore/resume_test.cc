// Restores that go on where one that was cut off had come to.
#include <algorithm>

#include "daemon/restore/restore_plan.h"
#include "tests/unit/restore/restore_fixture.h"

namespace backup {
namespace {

// A temporary name that a process of an earlier boot made for this content.
std::string left_over(std::uint64_t content) {
    std::string name = next_temp_name(content);
    char& boot_digit = name[std::string(".backupd-").size() + 6];
    boot_digit = boot_digit == '0' ? '1' : '0';
    return name;
}

class ResumeTest : public RestoreTest {
  protected:
    static constexpr std::size_t kBlob = 10'000;
    static constexpr std::size_t kBlobs = 20;

    void SetUp() override {
        content_ = noise(kBlob * kBlobs, 7);
        large_ = maker_.file("large", content_, kBlob);
        RestoreBatch batch;
        mark_ = content_mark(batch, batch.add_object(0, large_));
    }
    // What a run left that had written all but some blobs.
    std::string partial(std::initializer_list<std::size_t> missing) const {
        std::string text = content_;
        for (std::size_t blob : missing) std::fill_n(text.begin() + blob * kBlob, kBlob, '\0');
        return text;
    }
    void expect_whole(const std::string& path = "large") {
        expect_no_exceptions();
        EXPECT_EQ(read_file(target_ / path), content_);
        expect_no_temp_files();
    }

    std::string content_;
    Node large_;
    std::uint64_t mark_ = 0;
};

TEST_F(ResumeTest, OnlyWhatIsMissingOfALargeFileIsFetched) {
    write_file(target_ / left_over(mark_), partial({3, 11}));
    const RestoreCounts counts = restore({large_});
    EXPECT_EQ(counts.bytes_resumed, (kBlobs - 2) * kBlob);
    EXPECT_LT(counts.bytes_fetched, 3 * kBlob);
    expect_whole();
}

TEST_F(ResumeTest, WhatIsCompleteIsNotFetchedAtAll) {
    write_file(target_ / left_over(mark_), content_);
    const RestoreCounts counts = restore({large_});
    EXPECT_EQ(counts.bytes_fetched, 0u);
    EXPECT_EQ(counts.created, 1u);
    expect_whole();
    EXPECT_EQ(status_of(target_ / "large").st_mtim.tv_sec, kThen.seconds);
}

TEST_F(ResumeTest, OtherBytesAreNeitherTakenForRightNorShineThrough) {
    Node holes = maker_.file("holes", std::string(8 * kBlob, '\0'), kBlob);
    RestoreBatch batch;
    write_file(target_ / left_over(content_mark(batch, batch.add_object(0, holes))),
               noise(9 * kBlob, 3));
    std::string damaged = content_;
    damaged[5 * kBlob + 17] ^= 1;
    write_file(target_ / left_over(mark_), damaged + "longer than the file");
    restore({large_, holes});
    expect_whole();
    EXPECT_EQ(read_file(target_ / "holes"), std::string(8 * kBlob, '\0'));
}

TEST_F(ResumeTest, WhatSomebodyElseCanReachIsNotTakenUp) {
    const std::string name = left_over(mark_);
    write_file(target_ / "mine", content_);
    fs::create_hard_link(target_ / "mine", target_ / name);
    const RestoreCounts counts = restore({large_});
    EXPECT_EQ(counts.bytes_resumed, 0u);
    expect_whole();
    EXPECT_EQ(status_of(target_ / "mine").st_nlink, 1u);
    fs::create_directory(target_ / "sub");
    fs::create_symlink(target_ / "mine", target_ / "sub" / name);
    restore({maker_.dir("sub", {large_})});
    expect_whole("sub/large");
    EXPECT_EQ(read_file(target_ / "mine"), content_);
}

TEST_F(ResumeTest, ADirectoryThatWasBegunIsGoneOnWith) {
    Node directory = maker_.dir("d", {maker_.dir("inner", {maker_.file("deep", "deep")}), large_,
                                      maker_.symlink("link", "large"), maker_.file("nothing", ""),
                                      maker_.symlink("same", "large"), maker_.file("small", "s")});
    const std::string name = left_over(content_mark("d", *directory.subtree));
    fs::create_directory(target_ / name);
    fs::permissions(target_ / name, fs::perms::owner_all);
    fs::create_directory(target_ / name / "inner");
    fs::permissions(target_ / name / "inner", fs::perms::owner_all);
    write_file(target_ / name / "inner/deep", "de");
    write_file(target_ / name / "large", partial({0}));
    fs::create_symlink("elsewhere", target_ / name / "link");
    fs::create_symlink("large", target_ / name / "same");
    write_file(target_ / name / "nothing", "");
    write_file(target_ / name / "stranger", "not in the revision");
    const RestoreCounts counts = restore({directory});
    EXPECT_EQ(counts.bytes_resumed, (kBlobs - 1) * kBlob);
    expect_whole("d/large");
    EXPECT_EQ(read_file(target_ / "d/inner/deep"), "deep");
    EXPECT_EQ(read_file(target_ / "d/small"), "s");
    EXPECT_EQ(fs::read_symlink(target_ / "d/link"), "large");
    EXPECT_EQ(fs::read_symlink(target_ / "d/same"), "large");
    EXPECT_EQ(read_file(target_ / "d/nothing"), "");
    EXPECT_FALSE(fs::exists(target_ / "d/stranger"));
}

TEST_F(ResumeTest, ADirectoryThatOthersMayWriteIntoIsMadeAnew) {
    Node directory = maker_.dir("d", {large_});
    const std::string name = left_over(content_mark("d", *directory.subtree));
    fs::create_directory(target_ / name);
    fs::permissions(target_ / name, fs::perms::all);
    write_file(target_ / name / "large", content_);
    EXPECT_EQ(restore({directory}).bytes_resumed, 0u);
    expect_whole("d/large");
}

TEST_F(ResumeTest, WhatIsLeftOfOtherThingsGoesWhenTheRestoreIsOver) {
    fs::create_directory(target_ / "d");
    write_file(target_ / "d" / left_over(mark_ + 1), "of something else");
    restore({maker_.dir("d", {maker_.file("a", "1")})});
    expect_no_temp_files();
}

TEST_F(ResumeTest, NoPartOfAFileAppearsWithADirectoryThatWasBegun) {
    Node lost = maker_.file("lost", noise(2 * kBlob, 9), kBlob);
    lost.content.back() = blob_id(as_bytes("no such blob"));
    Node directory = maker_.dir("d", {lost, maker_.file("whole", "w")});
    const std::string name = left_over(content_mark("d", *directory.subtree));
    fs::create_directory(target_ / name);
    fs::permissions(target_ / name, fs::perms::owner_all);
    write_file(target_ / name / "lost", noise(2 * kBlob, 9).substr(0, kBlob));
    restore({directory});
    EXPECT_TRUE(has_exception("/d/lost", ErrorKind::corrupt));
    EXPECT_FALSE(fs::exists(target_ / "d/lost"));
    EXPECT_EQ(read_file(target_ / "d/whole"), "w");
}

TEST_F(ResumeTest, EmptyFilesOfADirectoryThatWasBegunAreMadeAnew) {
    Node directory = maker_.dir("d", {maker_.file("empty", ""), maker_.file("full", "f")});
    const std::string name = left_over(content_mark("d", *directory.subtree));
    fs::create_directory(target_ / name);
    fs::permissions(target_ / name, fs::perms::owner_all);
    write_file(target_ / name / "empty", "");
    restore({directory});
    expect_no_exceptions();
    EXPECT_EQ(status_of(target_ / "d/empty").st_mtim.tv_sec, kThen.seconds);
    EXPECT_EQ(read_file(target_ / "d/full"), "f");
}

TEST_F(ResumeTest, WhatIsGoneOnWithNeedsNoRoomTwice) {
    const Mount mount("none", target_, "tmpfs", 0, "size=300k");
    if (!mount.is_there()) GTEST_SKIP() << "no right to mount";
    RestoreRequest wanted = request(maker_.commit({large_}));
    write_file(target_ / left_over(mark_), content_);
    Result<RestoreResult> refused = run(wanted);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::no_space);
    wanted.goes_on = true;
    EXPECT_EQ(restore(wanted).bytes_resumed, kBlobs * kBlob);
    expect_whole();
}

}  // namespace
}  // namespace backup
