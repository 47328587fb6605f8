#include "daemon/restore/temp_file.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/direct_io.h"

namespace backup {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

Bytes noise(std::size_t size, unsigned seed) {
    std::mt19937_64 random(seed);
    Bytes bytes(size);
    std::ranges::generate(bytes, [&] { return static_cast<std::uint8_t>(random() | 1); });
    return bytes;
}

TEST(Zeros, AreToldFromWhatIsNotWhereverTheOtherByteIs) {
    for (std::size_t size : {0u, 1u, 7u, 8u, 9u, 4096u, 100'000u}) {
        Bytes bytes(size, 0);
        EXPECT_TRUE(is_zero(bytes)) << size;
        for (std::size_t at : {std::size_t{0}, size / 2, size - 1}) {
            if (size == 0) break;
            bytes[at] = 1;
            EXPECT_FALSE(is_zero(bytes)) << size << " " << at;
            bytes[at] = 0;
        }
    }
}

class TempFile : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name =
            (std::filesystem::temp_directory_path() / "backupd-temp-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        where_ = name;
        directory_.reset(::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        Result<UniqueFd> made = create_temp(directory_.get(), "file");
        ASSERT_TRUE(made.ok());
        fd_ = std::move(*made);
        direct_ = open_direct(fd_.get());
    }
    void TearDown() override { std::filesystem::remove_all(where_); }

    void write(std::uint64_t offset, ByteView content, bool direct = true) {
        const Result<bool> wrote =
            write_sparse(fd_.get(), direct ? direct_.get() : -1, offset, content);
        ASSERT_TRUE(wrote.ok()) << wrote.error().message();
    }
    Bytes content() const {
        struct stat status {};
        EXPECT_EQ(::stat((where_ / "file").c_str(), &status), 0);
        Bytes all(static_cast<std::size_t>(status.st_size));
        const UniqueFd fd(::open((where_ / "file").c_str(), O_RDONLY | O_CLOEXEC));
        EXPECT_EQ(::pread(fd.get(), all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
        return all;
    }
    void needs_direct() const {
        if (!direct_) GTEST_SKIP() << "the temporary folder is on a file system without O_DIRECT";
    }

    std::filesystem::path where_;
    UniqueFd directory_, fd_, direct_;
};

// Blobs end anywhere: neighbours share blocks, and one side of a block may come long before the
// other.
TEST_F(TempFile, PiecesOfAnyLengthInAnyOrderGiveTheFile) {
    for (const bool direct : {false, true}) {
        ASSERT_EQ(::ftruncate(fd_.get(), 0), 0);
        const Bytes all = noise(9 * kMiB + 1234, 1);
        std::vector<std::pair<std::size_t, std::size_t>> pieces;
        std::mt19937 random(2);
        for (std::size_t at = 0; at < all.size();) {
            const std::size_t length =
                std::min<std::size_t>(random() % (2 * kMiB) + 1, all.size() - at);
            pieces.emplace_back(at, length);
            at += length;
        }
        std::ranges::shuffle(pieces, random);
        for (const auto& [at, length] : pieces)
            write(at, ByteView(all).subspan(at, length), direct);
        EXPECT_TRUE(content() == all) << "direct " << direct;
    }
}

// Memory that is aligned like the file is written from where it is, other memory by way of a copy.
TEST_F(TempFile, WhereTheMemoryLiesMakesNoDifference) {
    const Bytes all = noise(2 * kMiB, 3);
    for (const std::size_t lead :
         {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{4095}}) {
        Bytes moved(lead);
        moved.insert(moved.end(), all.begin(), all.end());
        ASSERT_EQ(::ftruncate(fd_.get(), 0), 0);
        write(100, ByteView(moved).subspan(lead));
        const Bytes found = content();
        ASSERT_EQ(found.size(), all.size() + 100);
        EXPECT_TRUE(std::ranges::equal(ByteView(found).subspan(100), all)) << lead;
    }
}

TEST_F(TempFile, LongPiecesGoPastThePageCache) {
    needs_direct();
    const Bytes all = noise(4 * kMiB, 4);
    write(0, all);
    void* mapped = ::mmap(nullptr, all.size(), PROT_READ, MAP_SHARED,
                          UniqueFd(::open((where_ / "file").c_str(), O_RDONLY)).get(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    std::vector<unsigned char> pages(all.size() / 4096);
    EXPECT_EQ(::mincore(mapped, all.size(), pages.data()), 0);
    EXPECT_EQ(std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; }), 0);
    ::munmap(mapped, all.size());
}

TEST_F(TempFile, RunsOfZerosStayHoles) {
    Bytes all = noise(8 * kMiB, 5);
    std::fill(all.begin() + kMiB, all.begin() + 7 * kMiB, 0);
    write(77, all);
    struct stat status {};
    ASSERT_EQ(::fstat(fd_.get(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, static_cast<off_t>(3 * kMiB));
    EXPECT_TRUE(std::ranges::equal(ByteView(content()).subspan(77), all));
}

TEST_F(TempFile, ADescriptorThatTakesNoDirectWritesAfterAllCostsNothing) {
    // One that was opened for reading only fails; one without alignment rules takes everything.
    const Bytes all = noise(kMiB, 6);
    const UniqueFd plain(::open((where_ / "file").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(write_sparse(fd_.get(), plain.get(), 3, all).ok());
    EXPECT_TRUE(std::ranges::equal(ByteView(content()).subspan(3), all));
    const UniqueFd unwritable(::open((where_ / "file").c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_FALSE(write_sparse(fd_.get(), unwritable.get(), 0, all).ok());
}

TEST_F(TempFile, SeveralThreadsWriteOneFileBesideEachOther) {
    const Bytes all = noise(16 * kMiB, 7);
    const std::size_t share = all.size() / 4 + 1000;
    std::vector<std::jthread> threads;
    for (std::size_t at = 0; at < all.size(); at += share)
        threads.emplace_back(
            [&, at] { write(at, ByteView(all).subspan(at, std::min(share, all.size() - at))); });
    threads.clear();
    EXPECT_TRUE(content() == all);
}

}  // namespace
}  // namespace backup
