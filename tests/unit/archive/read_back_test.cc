// What a run stored is read back before its revision is made.
#include "daemon/archive/read_back.h"

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "tests/unit/archive/archive_fixture.h"

namespace backup {
namespace {

using ReadBackTest = ArchiveTest;

TEST_F(ReadBackTest, WhatWasStoredIsReadAndCounted) {
    put("a", random_text(100'000, 1));
    put("b", random_text(3'000'000, 2));
    request_.read_back_percent = 100;
    BackupResult result = run();
    EXPECT_EQ(result.counts.blobs_read_back, result.counts.blobs_new);
    EXPECT_GE(result.counts.bytes_read_back, 3'100'000u);
    // Nothing new: nothing to read, but for the directories above, which others write to.
    BackupResult again = run();
    EXPECT_EQ(again.counts.blobs_read_back, again.counts.blobs_new);
    EXPECT_LT(again.counts.bytes_read_back, 100'000u);
}

TEST_F(ReadBackTest, NothingIsReadUnlessAskedFor) {
    put("a", random_text(100'000, 1));
    EXPECT_EQ(run().counts.blobs_read_back, 0u);
}

TEST_F(ReadBackTest, AShareIsAShare) {
    for (unsigned i = 0; i < 2000; ++i) put("f" + std::to_string(i), random_text(600, i));
    request_.read_back_percent = 10;
    BackupResult result = run();
    EXPECT_GT(result.counts.blobs_read_back, 100u);
    EXPECT_LT(result.counts.blobs_read_back, 320u);
}

TEST_F(ReadBackTest, WhatComesBackWrongFailsTheRunAndMakesNoRevision) {
    put("a", "first");
    run();
    put("a", random_text(100'000, 1));
    request_.read_back_percent = 100;
    // After the packs were stored, before they are read.
    request_.review = [&](const ChangeSigns&) -> Result<> {
        for (const auto& [key, content] : backend_.files()) {
            if (key.first != FileType::pack) continue;
            Bytes damaged = *content;
            for (std::size_t i = 0; i < damaged.size(); i += 16) damaged[i] ^= 1;
            backend_.overwrite({FileType::pack, key.second}, std::move(damaged));
        }
        return {};
    };
    auto result = try_run();
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::repository_damaged);
    EXPECT_NE(result.error().message().find("read back"), std::string::npos);
    auto revisions = repository_->list_revisions();
    ASSERT_TRUE(revisions.ok());
    EXPECT_EQ(revisions->size(), 1u);
}

// Says of every blob but some that it is there; as slow as a disk.
class PatchyStore final : public BlobSource {
  public:
    explicit PatchyStore(std::set<std::size_t> bad) : bad_(std::move(bad)) {}
    // The position of a blob is in its id; ten to a pack.
    static BlobHandle blob(std::size_t i) {
        BlobId id{};
        id.bytes[0] = static_cast<std::uint8_t>(i >> 8);
        id.bytes[1] = static_cast<std::uint8_t>(i);
        return {BlobType::data, id};
    }
    Result<Bytes> load(const BlobHandle&) override { return Bytes{}; }
    Result<> check(const BlobHandle& handle) override {
        const std::size_t i = position(handle);
        most_at_once_ = std::max(most_at_once_.load(), ++at_once_);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        --at_once_;
        if (bad_.contains(i)) return Error(ErrorKind::corrupt, "damaged");
        return {};
    }
    bool contains(const BlobHandle&) const override { return true; }
    std::optional<BlobLocation> locate(const BlobHandle& handle) const override {
        BlobLocation place{};
        place.pack.bytes[0] = static_cast<std::uint8_t>(position(handle) / 10);
        place.offset = static_cast<std::uint32_t>(position(handle) * 100);
        place.length = 100;
        return place;
    }
    Result<> load_from_pack(const PackId&, std::span<const Wanted>, const EachBlob&) override {
        return {};
    }
    int most_at_once() const { return most_at_once_; }

  private:
    static std::size_t position(const BlobHandle& handle) {
        return std::size_t{handle.id.bytes[0]} << 8 | handle.id.bytes[1];
    }
    const std::set<std::size_t> bad_;
    std::atomic<int> at_once_{0}, most_at_once_{0};
};

std::vector<BlobHandle> blobs_backwards(std::size_t count) {
    std::vector<BlobHandle> blobs;
    for (std::size_t i = count; i-- > 0;) blobs.push_back(PatchyStore::blob(i));
    return blobs;
}

TEST(ReadBackOfMany, AllAreReadOnAsManyThreadsAsTheStorageHasConnections) {
    PatchyStore store({});
    Progress progress;
    auto read = read_back(store, blobs_backwards(500), 4, progress, {});
    ASSERT_TRUE(read.ok()) << read.error().message();
    EXPECT_EQ(read->blobs, 500u);
    EXPECT_EQ(read->bytes, 50'000u);
    EXPECT_EQ(progress.items_done.load(), 500u);
    EXPECT_LE(store.most_at_once(), 4);
    EXPECT_GE(store.most_at_once(), 2);
}

TEST(ReadBackOfMany, OneThatIsDamagedAmongManyIsFoundAndItsPackNamed) {
    PatchyStore store({437});
    Progress progress;
    auto read = read_back(store, blobs_backwards(500), 4, progress, {});
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code(), ErrorCode::repository_damaged);
    EXPECT_NE(read.error().message().find("2b000000"), std::string::npos) << read.error().message();
}

TEST(ReadBackOfMany, AStopEndsIt) {
    PatchyStore store({});
    Progress progress;
    std::stop_source stop;
    stop.request_stop();
    auto read = read_back(store, blobs_backwards(500), 4, progress, stop.get_token());
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().kind(), ErrorKind::cancelled);
}

}  // namespace
}  // namespace backup
