#include "daemon/tracking/content_check.h"

#include <fstream>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/support/temp_directory.h"

namespace backup {

namespace {

// Knows how long blobs are, and nothing else.
class Lengths final : public BlobSource {
  public:
    BlobId add(std::string_view content) {
        BlobId id = blob_id(as_bytes(content));
        lengths_[id.hex()] = static_cast<std::uint32_t>(content.size());
        return id;
    }
    Result<Bytes> load(const BlobHandle&) override { return Error(ErrorKind::not_found, "none"); }
    Result<> check(const BlobHandle&) override { return Error(ErrorKind::not_found, "none"); }
    bool contains(const BlobHandle& handle) const override {
        return lengths_.contains(handle.id.hex());
    }
    std::optional<BlobLocation> locate(const BlobHandle& handle) const override {
        auto found = lengths_.find(handle.id.hex());
        if (found == lengths_.end()) return std::nullopt;
        BlobLocation location;
        location.length = found->second + 32;
        return location;
    }
    Result<> load_from_pack(const PackId&, std::span<const Wanted>, const EachBlob&) override {
        return Error(ErrorKind::not_found, "none");
    }

  private:
    std::map<std::string, std::uint32_t> lengths_;
};

class ContentCheckTest : public testing::Test {
  protected:
    ContentCheckTest() {
        write("first half, second half");
        node_.type = NodeType::file;
        node_.content = {lengths_.add("first half, "), lengths_.add("second half")};
        node_.has_content = true;
        see();
    }
    void write(std::string_view content) { std::ofstream(path_) << content; }
    void see() {
        seen_ = *held_state(path_);
        node_.inode = seen_.inode;
        node_.size = seen_.size;
    }
    ContentAnswer check(const std::function<void(Duration)>& rest = [](Duration) {}) {
        return check_content(path_, seen_, node_, lengths_, rest, {});
    }

    TempDirectory folder_;
    const std::string path_ = folder_.path() + "/file";
    Lengths lengths_;
    Node node_;
    HeldState seen_;
};

}  // namespace

TEST_F(ContentCheckTest, WhatTheRevisionHasIsTheSame) {
    EXPECT_EQ(check(), ContentAnswer::same);
}

TEST_F(ContentCheckTest, OneOtherByteDiffers) {
    write("first half, second hAlf");
    see();
    EXPECT_EQ(check(), ContentAnswer::differs);
}

TEST_F(ContentCheckTest, AFileThatChangesWhileItIsReadIsNoAnswer) {
    EXPECT_EQ(check([&](Duration) { write("other"); }), ContentAnswer::unknown);
}

TEST_F(ContentCheckTest, WithoutTheLengthOfABlobThereIsNoAnswer) {
    node_.content[1] = blob_id(as_bytes(std::string_view("never stored")));
    EXPECT_EQ(check(), ContentAnswer::unknown);
}

TEST_F(ContentCheckTest, RestsAfterEachBlob) {
    int rests = 0;
    EXPECT_EQ(check([&](Duration) { ++rests; }), ContentAnswer::same);
    EXPECT_EQ(rests, 2);
}

TEST(ShareOfContents, InAHundredPassesOfOnePercentEveryFileComesOnce) {
    for (std::uint64_t inode = 1; inode < 2000; ++inode) {
        int times = 0;
        for (std::uint64_t pass = 7; pass < 107; ++pass)
            times += is_in_share(inode, pass, 1) ? 1 : 0;
        ASSERT_EQ(times, 1) << inode;
    }
}

TEST(ShareOfContents, IsAboutWhatWasAskedForAlsoOfInodesThatFollowEachOther) {
    for (unsigned percent : {1u, 10u, 50u}) {
        unsigned chosen = 0;
        for (std::uint64_t inode = 100'000; inode < 110'000; ++inode)
            chosen += is_in_share(inode, 3, percent) ? 1 : 0;
        EXPECT_NEAR(chosen, percent * 100, percent * 20 + 20) << percent;
    }
    EXPECT_TRUE(is_in_share(5, 0, 100));
    EXPECT_FALSE(is_in_share(5, 0, 0));
}

}  // namespace backup
