// What a run stored is read back before its revision is made.
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

}  // namespace
}  // namespace backup
