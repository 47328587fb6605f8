// What hard limits let into a revision, and what they never touch.
#include <algorithm>

#include <unistd.h>

#include "daemon/archive/admission.h"
#include "tests/unit/archive/archive_fixture.h"
#include "tests/unit/archive/marks.h"

namespace backup {

namespace {

using Names = std::vector<std::string>;

class LimitsTest : public ArchiveTest {
  protected:
    // Without the directories above: those of the set's path are counted, too.
    std::uint64_t above() const {
        return static_cast<std::uint64_t>(std::count(source_.begin(), source_.end(), '/'));
    }
    // The files below the source, sorted.
    Names files(const BackupResult& result, const std::string& below = "") {
        Names found;
        for (const Node& one : nodes(result, below.empty() ? source_ : at(below))) {
            const std::string name = below.empty() ? one.name : below + "/" + one.name;
            if (one.type != NodeType::dir) {
                found.push_back(name);
                continue;
            }
            Names inner = files(result, name);
            found.insert(found.end(), inner.begin(), inner.end());
        }
        return found;
    }
    std::string text_of(const BackupResult& result, const std::string& name) {
        auto found = node(result, at(name));
        return found ? content(*found) : "(none)";
    }
    Names listed() {
        Names names;
        for (const Exception& one : exceptions_->list()) {
            EXPECT_EQ(one.error.code(), ErrorCode::quota_exceeded) << one.error.message();
            names.push_back(one.path.substr(source_.size() + 1));
        }
        std::ranges::sort(names);
        return names;
    }
};

}  // namespace

TEST(AdmissionOrder, NamesOfADirectoryComeBeforeWhatIsInItsSubdirectories) {
    const char* const kOrder[] = {"/a",     "/b",   "/b.c", "/c",     "/a/a",  "/a/b",
                                  "/a/b/x", "/b/a", "/b/z", "/b/a/c", "/b.c/a"};
    for (const char* a : kOrder)
        for (const char* b : kOrder)
            EXPECT_EQ(
                comes_before(a, b),
                std::less<>()(std::find(std::begin(kOrder), std::end(kOrder), std::string_view(a)),
                              std::find(std::begin(kOrder), std::end(kOrder), std::string_view(b))))
                << a << " " << b;
}

TEST_F(LimitsTest, WithoutLimitsNothingIsMeasured) {
    put("a", "1");
    set_.limits.soft.items = 1;
    BackupResult result = run();
    EXPECT_EQ(result.limits.hit, Names{});
    EXPECT_EQ(progress_->exceptions, 0u);
}

TEST_F(LimitsTest, BeyondTheItemsTheFirstInOrderComeIn) {
    for (const char* name : {"b/1", "b/2", "a/1", "a/2", "top", "zz"}) put(name, name);
    // Of a, b, top, zz, a/1, a/2, b/1, b/2.
    set_.limits.hard.items = above() + 5;
    BackupResult result = run();
    EXPECT_EQ(files(result), (Names{"a/1", "top", "zz"}));
    EXPECT_EQ(result.limits.hit, Names{"items"});
    EXPECT_EQ(result.limits.left_out_items, 3u);
    EXPECT_EQ(listed(), (Names{"a/2", "b/1", "b/2"}));
    // The same again: what is in stays, nothing else comes.
    BackupResult again = run();
    EXPECT_EQ(again.tree, result.tree);
    EXPECT_EQ(again.limits.left_out_items, 3u);
    // Room for one more.
    ++set_.limits.hard.items;
    EXPECT_EQ(files(run()), (Names{"a/1", "a/2", "top", "zz"}));
    // All of it.
    set_.limits.hard.items += 2;
    BackupResult all = run();
    EXPECT_EQ(files(all).size(), 6u);
    EXPECT_EQ(all.limits.hit, Names{});
    EXPECT_EQ(progress_->exceptions, 0u);
}

TEST_F(LimitsTest, NothingOfWhatIsLeftOutIsRead) {
    for (int i = 0; i < 50; ++i) put("bomb/" + std::to_string(i), random_text(1000, 7));
    put("first", "1");
    set_.limits.hard.items = above() + 2;
    fs_.forget_touched();
    fs_.on_open = [](std::string_view name) {
        EXPECT_TRUE(name.empty() || !std::isdigit(static_cast<unsigned char>(name[0]))) << name;
        return 0;
    };
    BackupResult result = run();
    EXPECT_EQ(files(result), Names{"first"});
    EXPECT_EQ(result.limits.left_out_items, 50u);
    EXPECT_EQ(result.limits.left_out_bytes, 50'000u);
    EXPECT_EQ(result.counts.files_read, 1u);
}

TEST_F(LimitsTest, ADirectoryBeyondTheLimitIsListedOnceForAllThatIsInIt) {
    put("a", "1");
    for (int i = 0; i < 20; ++i) put("bomb/" + std::to_string(i), "x");
    set_.limits.hard.items = above() + 1;
    BackupResult result = run();
    EXPECT_EQ(listed(), Names{"bomb"});
    EXPECT_EQ(result.limits.left_out_items, 21u);
    EXPECT_EQ(result.limits.directories, Names{});
}

TEST_F(LimitsTest, OfManyThatAreLeftOutTheDirectoriesAreNamed) {
    for (int i = 0; i < 1200; ++i) put("bomb/" + std::to_string(i), "x");
    set_.limits.hard.items = above() + 1;
    BackupResult result = run();
    EXPECT_EQ(progress_->exceptions, Admission::kMostListed);
    EXPECT_EQ(result.limits.left_out_items, 1200u);
    EXPECT_EQ(result.limits.directories, Names{at("bomb")});
}

TEST_F(LimitsTest, AFileThatDoesNotFitIsLeftOutAndSmallerOnesBehindItComeIn) {
    put("a", std::string(100, 'a'));
    put("b", std::string(1000, 'b'));
    put("c", std::string(200, 'c'));
    put("d", std::string(200, 'd'));
    set_.limits.hard.bytes = 400;
    BackupResult result = run();
    EXPECT_EQ(files(result), (Names{"a", "c"}));
    EXPECT_EQ(listed(), (Names{"b", "d"}));
    EXPECT_EQ(result.limits.hit, Names{"bytes"});
    EXPECT_EQ(result.limits.left_out_bytes, 1200u);
}

TEST_F(LimitsTest, WhatIsSafeStaysWhateverTheLimitIsNow) {
    for (const char* name : {"a", "b", "dir/c"}) put(name, std::string(100, 'x'));
    run();
    set_.limits.hard.items = 1;
    set_.limits.hard.bytes = 1;
    set_.limits.hard.file_size = 1;
    put("new", "y");
    BackupResult result = run();
    EXPECT_EQ(files(result), (Names{"a", "b", "dir/c"}));
    EXPECT_EQ(listed(), Names{"new"});
    // Changed without growing, it is taken as it is now.
    put("b", std::string(90, 'B'));
    result = run();
    EXPECT_EQ(text_of(result, "b"), std::string(90, 'B'));
    EXPECT_EQ(files(result), (Names{"a", "b", "dir/c"}));
}

TEST_F(LimitsTest, WhatGrewBeyondTheLimitKeepsItsOldContentAndIsListed) {
    put("a", std::string(100, 'a'));
    put("b", std::string(100, 'b'));
    run();
    set_.limits.hard.bytes = 250;
    put("a", std::string(140, 'A'));
    put("b", std::string(140, 'B'));
    BackupResult result = run();
    EXPECT_EQ(text_of(result, "a"), std::string(140, 'A'));
    EXPECT_EQ(text_of(result, "b"), std::string(100, 'b'));
    EXPECT_EQ(listed(), Names{"b"});
    EXPECT_EQ(result.limits.kept_old, 1u);
    EXPECT_EQ(result.counts.total_bytes, 240u);
    // And comes as soon as it fits.
    ASSERT_EQ(::unlink(at("a").c_str()), 0);
    result = run();
    EXPECT_EQ(text_of(result, "b"), std::string(140, 'B'));
    EXPECT_EQ(progress_->exceptions, 0u);
}

TEST_F(LimitsTest, AFullRunKeepsToTheSame) {
    put("a", std::string(100, 'a'));
    put("b", std::string(100, 'b'));
    run();
    set_.limits.hard.bytes = 200;
    put("b", std::string(140, 'B'));
    request_.full = true;
    BackupResult result = run();
    EXPECT_EQ(text_of(result, "a"), std::string(100, 'a'));
    EXPECT_EQ(text_of(result, "b"), std::string(100, 'b'));
    EXPECT_EQ(listed(), Names{"b"});
}

TEST_F(LimitsTest, OverTheLimitAsMuchAsGoesMayCome) {
    for (const char* name : {"a/1", "a/2", "a/3"}) put(name, std::string(100, name[2]));
    run();
    set_.limits.hard.items = 1;
    set_.limits.hard.bytes = 1;
    ASSERT_EQ(::rename(at("a").c_str(), at("z").c_str()), 0);
    BackupResult result = run();
    EXPECT_EQ(files(result), (Names{"z/1", "z/2", "z/3"}));
    EXPECT_EQ(progress_->exceptions, 0u);
    put("z/4", "4");
    EXPECT_EQ(files(run()), (Names{"z/1", "z/2", "z/3"}));
}

TEST_F(LimitsTest, OneFilesSizeIsLimitedByItself) {
    put("small", std::string(100, 's'));
    put("large", std::string(1001, 'l'));
    put("grows", std::string(100, 'g'));
    set_.limits.hard.file_size = 1000;
    set_.limits.soft.file_size = 99;
    BackupResult result = run();
    EXPECT_EQ(files(result), (Names{"grows", "small"}));
    EXPECT_EQ(listed(), Names{"large"});
    EXPECT_EQ(result.limits.hit, Names{"file-size"});
    EXPECT_EQ(result.limits.left_out_bytes, 1001u);
    EXPECT_EQ(result.limits.large_files, 3u);
    put("grows", std::string(1001, 'G'));
    result = run();
    EXPECT_EQ(text_of(result, "grows"), std::string(100, 'g'));
    EXPECT_EQ(listed(), (Names{"grows", "large"}));
}

TEST_F(LimitsTest, ADaysChurnIsLimitedButNotTheFirstRevision) {
    put("a", std::string(1000, 'a'));
    put("b", std::string(1000, 'b'));
    set_.limits.hard.churn = 500;
    BackupResult result = run();
    EXPECT_EQ(files(result), (Names{"a", "b"}));
    EXPECT_EQ(result.limits.churn_bytes, 2000u);
    put("a", std::string(300, 'A'));
    put("c", std::string(150, 'c'));
    put("d", std::string(150, 'd'));
    result = run();
    // What is safe first.
    EXPECT_EQ(text_of(result, "a"), std::string(300, 'A'));
    EXPECT_EQ(files(result), (Names{"a", "b", "c"}));
    EXPECT_EQ(listed(), Names{"d"});
    EXPECT_EQ(result.limits.hit, Names{"churn"});
    EXPECT_EQ(result.limits.churn_bytes, 450u);
    request_.churn_before = 450;
    put("b", std::string(60, 'B'));
    result = run();
    EXPECT_EQ(text_of(result, "b"), std::string(1000, 'b'));
    EXPECT_EQ(listed(), (Names{"b", "d"}));
    request_.churn_before = 0;
    result = run();
    EXPECT_EQ(text_of(result, "b"), std::string(60, 'B'));
    EXPECT_EQ(files(result), (Names{"a", "b", "c", "d"}));
}

TEST_F(LimitsTest, ARunThatOnlyLooksAtChangesKnowsWhatElseThereIs) {
    for (int i = 0; i < 10; ++i) put("old/" + std::to_string(i), std::string(100, 'x'));
    run();
    // 10 files, the directory, and those above; one more may come.
    set_.limits.hard.items = above() + 12;
    set_.limits.hard.bytes = 1100;
    put("new/1", std::string(100, '1'));
    put("new/2", std::string(100, '2'));
    Marks marks(source_);
    marks.list("new");
    request_.look_at = &marks;
    BackupResult result = run();
    EXPECT_EQ(result.limits.left_out_items, 2u);
    EXPECT_EQ(files(result).size(), 10u);
    set_.limits.hard.items += 1;
    Marks more(source_);
    more.list("new");
    request_.look_at = &more;
    result = run();
    EXPECT_EQ(files(result).size(), 11u);
    set_.limits.hard.items += 10;
    Marks rest(source_);
    rest.list("new");
    request_.look_at = &rest;
    result = run();
    EXPECT_EQ(files(result).size(), 11u);
    EXPECT_EQ(result.limits.hit, Names{"bytes"});
}

TEST_F(LimitsTest, WhatComesAfterTheMeasuringDoesNotBreakTheLimit) {
    for (int i = 0; i < 3; ++i) put("d/" + std::to_string(i), "x");
    set_.limits.hard.items = above() + 5;
    int listings = 0;
    fs_.on_list = [&](std::string_view name) {
        // Before the second look, that of the run itself.
        if (name == "d" && ++listings == 3)
            for (int i = 10; i < 60; ++i) put("d/" + std::to_string(i), "y");
        return 0;
    };
    BackupResult result = run();
    EXPECT_LE(files(result).size(), 4u);
    EXPECT_EQ(result.limits.hit, Names{"items"});
    EXPECT_GE(result.limits.left_out_items, 49u);
}

}  // namespace backup
