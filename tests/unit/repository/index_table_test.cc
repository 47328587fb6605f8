#include "daemon/repository/index_table.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "daemon/repository/crypto.h"
#include "daemon/repository/index.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

const std::string kRepository(64, 'a');

BlobHandle blob(std::uint64_t number, BlobType type = BlobType::data) {
    return {type, BlobId{sha256({reinterpret_cast<const std::uint8_t*>(&number), sizeof number})}};
}
PackId pack(std::uint64_t number) {
    return retag<struct PackTag>(blob(number + 1'000'000'000).id);
}
IndexId index_file(std::uint64_t number) {
    return retag<struct IndexTag>(blob(number + 2'000'000'000).id);
}

std::string read_all(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}
void write_all(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

// An index with blobs 0 to count - 1, 100 in each pack, all packs named by one index file.
struct Filled {
    explicit Filled(std::uint32_t count) {
        for (std::uint32_t i = 0; i < count; ++i) {
            if (i % 100 == 0) {
                packs.push_back(index.acquire_pack(pack(i / 100)));
            }
            index.add(blob(i), packs.back(), i % 100 * 10, 10, i);
        }
    }
    IndexTable::Directory directory() const {
        IndexTable::Directory all{index.packs(), {{index_file(1), packs}}};
        for (PackNumber number : packs) all.packs[number].listed = 101;
        return all;
    }
    std::vector<bool> listed() const {
        std::vector<bool> all(index.packs().size());
        for (PackNumber number : packs) all[number] = true;
        return all;
    }
    std::shared_ptr<const IndexTable> write(const std::string& path) const {
        auto writer = IndexTableWriter::create(path, kRepository, index.size());
        EXPECT_TRUE(writer.ok() && index.write_to(**writer, listed()).ok());
        auto table = (*writer)->finish(directory());
        EXPECT_TRUE(table.ok());
        return *table;
    }
    BlobIndex index;
    std::vector<PackNumber> packs;
};

class IndexTables : public testing::Test {
  protected:
    TempDirectory directory_{TempDirectory::Where::memory};
    const std::string path_ = directory_.path() + "/index/copy.idx";
    ErrorKind kind_of_opening(const std::string& repository = kRepository) {
        auto opened = IndexTable::open(path_, repository);
        EXPECT_FALSE(opened.ok());
        return opened.ok() ? ErrorKind::invalid : opened.error().kind();
    }
};

TEST_F(IndexTables, GiveBackWhatWasWritten) {
    Filled from(30'000);
    from.index.add(blob(77, BlobType::tree), from.packs[3], 5000, 33, 0);
    from.index.add(blob(77), from.packs[200], 6000, 10, 77);  // a second copy
    from.write(path_);

    auto opened = IndexTable::open(path_, kRepository);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    EXPECT_EQ(opened->directory.sources.size(), 1u);
    EXPECT_EQ(opened->directory.sources[0].id, index_file(1));
    EXPECT_EQ(opened->directory.sources[0].packs, from.packs);
    BlobIndex index;
    ASSERT_TRUE(index.begin_with(*opened));
    EXPECT_EQ(index.size(), 30'002u);
    for (std::uint32_t i = 0; i < 30'000; ++i) {
        auto place = index.find(blob(i));
        ASSERT_TRUE(place);
        ASSERT_EQ(place->pack, pack(i / 100));
        ASSERT_EQ(place->offset, i % 100 * 10);
        ASSERT_EQ(place->uncompressed_length, i);
        ASSERT_FALSE(index.contains(blob(i + 30'000)));
    }
    EXPECT_EQ(index.find(blob(77, BlobType::tree))->length, 33u);
    EXPECT_EQ(index.find_all(blob(77)).size(), 2u);
    EXPECT_FALSE(index.contains(blob(78, BlobType::tree)));
    std::size_t visited = 0;
    index.each([&](const BlobHandle&, const BlobLocation&) { ++visited; });
    EXPECT_EQ(visited, 30'002u);
    EXPECT_EQ(index.pack_users(pack(5)), 1u);
    EXPECT_LT(index.memory_bytes(), 300'000u);
}

TEST_F(IndexTables, AnEmptyOneIsATableToo) {
    Filled(0).write(path_);
    auto opened = IndexTable::open(path_, kRepository);
    ASSERT_TRUE(opened.ok());
    BlobIndex index;
    ASSERT_TRUE(index.begin_with(*opened));
    EXPECT_EQ(index.size(), 0u);
    EXPECT_FALSE(index.contains(blob(1)));
}

TEST_F(IndexTables, AreForNobodyElse) {
    Filled(10).write(path_);
    struct stat info {};
    ASSERT_EQ(stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    ASSERT_EQ(stat((directory_.path() + "/index").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(IndexTables, AnyFlippedByteIsFound) {
    Filled(300).write(path_);
    const std::string good = read_all(path_);
    ASSERT_GT(good.size(), 4096u);
    for (std::size_t at = 0; at < good.size(); ++at) {
        if (at >= 104 && at < 4096) continue;  // nothing is kept there
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
        write_all(path_, bad);
        auto opened = IndexTable::open(path_, kRepository);
        ASSERT_FALSE(opened.ok()) << "byte " << at;
        ASSERT_EQ(opened.error().kind(), ErrorKind::corrupt) << "byte " << at;
    }
}

TEST_F(IndexTables, AnotherLengthIsFound) {
    Filled(300).write(path_);
    const std::string good = read_all(path_);
    for (std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{103}, std::size_t{4096},
                               good.size() / 2, good.size() - 1}) {
        write_all(path_, good.substr(0, length));
        EXPECT_EQ(kind_of_opening(), ErrorKind::corrupt) << length;
    }
    write_all(path_, good + std::string(1, '\0'));
    EXPECT_EQ(kind_of_opening(), ErrorKind::corrupt);
    write_all(path_, std::string(good.size(), '\0'));
    EXPECT_EQ(kind_of_opening(), ErrorKind::corrupt);
}

TEST_F(IndexTables, OtherVersionsAndRepositoriesAreRefused) {
    EXPECT_EQ(kind_of_opening(), ErrorKind::not_found);
    Filled(10).write(path_);
    EXPECT_EQ(kind_of_opening(std::string(64, 'b')), ErrorKind::corrupt);
    std::string newer = read_all(path_);
    newer[16] = 2;
    write_all(path_, newer);
    EXPECT_EQ(kind_of_opening(), ErrorKind::corrupt);
    std::filesystem::remove(path_);
    std::filesystem::create_directory(path_);
    EXPECT_EQ(kind_of_opening(), ErrorKind::corrupt);
}

TEST_F(IndexTables, LeaveNothingBehindWhenTheyAreNotFinished) {
    Filled from(10);
    {
        auto writer = IndexTableWriter::create(path_, kRepository, 10);
        ASSERT_TRUE(writer.ok());
        ASSERT_TRUE(from.index.write_to(**writer, from.listed()).ok());
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path() + "/index"));
}

TEST_F(IndexTables, TakeOnlyWhatIsListed) {
    Filled from(300);
    const SessionNumber session = from.index.begin_session();
    EXPECT_EQ(from.index.claim(blob(1000), session), BlobIndex::Claim::granted);
    const PackNumber own = from.index.acquire_pack(pack(99));
    EXPECT_EQ(from.index.claim(blob(1001), session), BlobIndex::Claim::granted);
    from.index.settle(blob(1001), session, own, 0, 10, 0);
    from.write(path_);
    auto opened = IndexTable::open(path_, kRepository);
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(opened->table->size(), 300u);
    BlobIndex index;
    ASSERT_TRUE(index.begin_with(*opened));
    EXPECT_FALSE(index.contains(blob(1001)));
    // The number of the pack that nobody listed is free.
    EXPECT_EQ(index.acquire_pack(pack(5000)), own);
}

TEST_F(IndexTables, WhatIsAddedAgainIsKnownAndWhatIsForgottenIsGone) {
    Filled(1000).write(path_);
    auto opened = IndexTable::open(path_, kRepository);
    ASSERT_TRUE(opened.ok());
    BlobIndex index;
    ASSERT_TRUE(index.begin_with(*opened));
    EXPECT_FALSE(index.begin_with(*opened));

    const PackNumber third = index.acquire_pack(pack(3));
    EXPECT_FALSE(index.add(blob(310), third, 100, 10, 310));
    EXPECT_TRUE(index.add(blob(310), third, 999, 10, 310));
    index.release_packs({third});
    EXPECT_TRUE(index.contains(blob(310)));
    EXPECT_EQ(index.release_packs({third}), std::vector<PackNumber>{third});
    for (std::uint32_t i = 0; i < 1000; ++i) ASSERT_EQ(index.contains(blob(i)), i / 100 != 3) << i;
    EXPECT_EQ(index.size(), 900u);
    EXPECT_TRUE(index.find_all(blob(310)).empty());
    // Its number goes to another pack, and nothing of the old one comes back with it.
    ASSERT_EQ(index.acquire_pack(pack(77)), third);
    EXPECT_FALSE(index.contains(blob(310)));
    index.add(blob(310), third, 1, 2, 3);
    EXPECT_EQ(index.find(blob(310))->pack, pack(77));
    EXPECT_EQ(index.find(blob(310))->offset, 1u);
}

TEST_F(IndexTables, KeepOnlyTheGivenBlobsOfAPack) {
    Filled(200).write(path_);
    auto opened = IndexTable::open(path_, kRepository);
    ASSERT_TRUE(opened.ok());
    BlobIndex index;
    ASSERT_TRUE(index.begin_with(*opened));
    index.keep_only({{0, {blob(7)}}});
    for (std::uint32_t i = 0; i < 200; ++i)
        ASSERT_EQ(index.contains(blob(i)), i == 7 || i >= 100) << i;
}

TEST_F(IndexTables, RememberWhatASessionReliesOnAcrossASwap) {
    Filled from(1000);
    const SessionNumber session = from.index.begin_session();
    EXPECT_TRUE(from.index.rely_on(blob(310), session));
    EXPECT_EQ(from.index.claim(blob(420), session), BlobIndex::Claim::known);
    from.index.use_table(from.write(path_), from.listed());
    EXPECT_EQ(from.index.weight().in_memory, 0u);
    EXPECT_TRUE(from.index.rely_on(blob(510), session));
    from.index.use_table(from.write(path_), from.listed());
    EXPECT_EQ(from.index.weight().in_table, 1000u);

    from.index.release_packs({from.packs[2]});
    EXPECT_EQ(from.index.lost_count(), 0u);
    from.index.release_packs({from.packs[3], from.packs[4]});
    EXPECT_EQ(from.index.lost_count(), 2u);
    // With a second copy the promise moves there.
    const PackNumber other = from.index.acquire_pack(pack(50));
    from.index.add(blob(510), other, 0, 10, 0);
    from.index.release_packs({from.packs[5]});
    EXPECT_EQ(from.index.lost_count(), 2u);
    from.index.release_packs({other});
    EXPECT_EQ(from.index.lost_count(), 3u);

    from.index.end_session(session);
    const SessionNumber next = from.index.begin_session();
    EXPECT_TRUE(from.index.rely_on(blob(610), next));
    from.index.end_session(next);
    from.index.begin_session();
    from.index.release_packs({from.packs[6]});
    EXPECT_EQ(from.index.lost_count(), 3u);
}

TEST_F(IndexTables, CopiesThatAreNotInTheNextTableStayInMemory) {
    Filled from(1000);
    const SessionNumber session = from.index.begin_session();
    from.index.use_table(from.write(path_), from.listed());
    EXPECT_TRUE(from.index.rely_on(blob(150), session));
    const PackNumber second = from.packs[1];
    from.packs.erase(from.packs.begin() + 1);
    from.index.use_table(from.write(path_), from.listed());
    EXPECT_EQ(from.index.weight().in_table, 900u);
    EXPECT_EQ(from.index.weight().in_memory, 100u);
    for (std::uint32_t i = 0; i < 1000; ++i) ASSERT_TRUE(from.index.contains(blob(i)));
    from.index.release_packs({second});
    EXPECT_EQ(from.index.lost_count(), 1u);
}

TEST_F(IndexTables, EveryBlobIsFoundWhileTablesAreSwapped) {
    Filled from(4000);
    const std::uint32_t known = 4000;
    std::atomic<bool> over{false};
    std::atomic<std::uint32_t> missing{0}, granted{0};
    const SessionNumber reader = from.index.begin_session(), writer = from.index.begin_session();
    {
        std::vector<std::jthread> threads;
        for (std::uint32_t t = 0; t < 3; ++t) {
            threads.emplace_back([&, t] {
                for (std::uint32_t i = t; !over; i += 7) {
                    const BlobHandle handle = blob(i % known);
                    const bool found = t == 0   ? from.index.contains(handle)
                                       : t == 1 ? from.index.rely_on(handle, reader)
                                                : from.index.find_all(handle).size() == 1;
                    if (!found) ++missing;
                }
            });
        }
        // Meanwhile a session stores blobs, which no table may swallow.
        threads.emplace_back([&] {
            for (std::uint32_t i = known; !over; ++i) {
                if (from.index.claim(blob(i), writer) != BlobIndex::Claim::granted) continue;
                const PackNumber own = from.index.acquire_pack(pack(i));
                from.index.settle(blob(i), writer, own, 0, 10, 0);
                ++granted;
            }
        });
        for (int i = 0; i < 8; ++i) from.index.use_table(from.write(path_), from.listed());
        while (granted < 100) std::this_thread::yield();
        over = true;
    }
    EXPECT_EQ(missing, 0u);
    EXPECT_EQ(from.index.size(), known + granted);
    for (std::uint32_t i = known; i < known + granted; ++i)
        ASSERT_TRUE(from.index.contains(blob(i)));
}

}  // namespace
}  // namespace backup
