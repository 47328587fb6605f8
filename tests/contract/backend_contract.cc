#include "tests/contract/backend_contract.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace backup {

namespace {

constexpr FileType kNamedTypes[] = {FileType::key, FileType::lock, FileType::snapshot,
                                    FileType::index, FileType::pack};

FileId id_of(unsigned number) {
    FileId id;
    for (std::size_t i = 0; i < id.bytes.size(); ++i)
        id.bytes[i] = static_cast<std::uint8_t>(number * 37 + i * 11);
    store_le32(id.bytes.data() + 4, number);
    return id;
}
Handle pack(unsigned number) {
    return {FileType::pack, id_of(number)};
}

Bytes pattern(std::size_t size, std::uint8_t seed = 1) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 251 + seed);
    return bytes;
}

std::vector<FileInfo> listed(Backend& backend, FileType type) {
    std::vector<FileInfo> found;
    auto result = backend.list(type, [&](const FileInfo& info) { found.push_back(info); });
    EXPECT_TRUE(result.ok());
    std::sort(found.begin(), found.end(),
              [](const FileInfo& a, const FileInfo& b) { return a.id < b.id; });
    return found;
}

TEST_P(BackendContract, WhatWasPutIsRead) {
    // Around the borders of blocks and of direct writing.
    std::vector<std::size_t> sizes{0,      1,      73,     4095,    4096,   4097,
                                   262143, 262144, 262145, 1048576, 5000001};
    for (unsigned i = 0; i < sizes.size(); ++i) {
        Bytes content = pattern(sizes[i]);
        ASSERT_TRUE(backend().put(pack(i), content).ok()) << sizes[i];
        auto read = backend().get(pack(i));
        ASSERT_TRUE(read.ok()) << sizes[i];
        EXPECT_TRUE(read.value() == content) << sizes[i];
        auto info = backend().stat(pack(i));
        ASSERT_TRUE(info.ok());
        EXPECT_EQ(info->size, sizes[i]);
        EXPECT_EQ(info->id, id_of(i));
    }
}

TEST_P(BackendContract, EveryTypeHasItsOwnNames) {
    for (FileType type : kNamedTypes)
        ASSERT_TRUE(backend().put({type, id_of(1)}, as_bytes(to_string(type))).ok());
    ASSERT_TRUE(backend().put({FileType::config, {}}, as_bytes("config")).ok());
    for (FileType type : kNamedTypes) {
        auto read = backend().get({type, id_of(1)});
        ASSERT_TRUE(read.ok());
        EXPECT_EQ(as_text(read.value()), to_string(type));
        EXPECT_EQ(listed(backend(), type).size(), 1u);
    }
    EXPECT_EQ(as_text(backend().get({FileType::config, id_of(9)}).value()), "config")
        << "the id of a config does not matter";
}

TEST_P(BackendContract, ContentFromOddAddressesIsStoredWhole) {
    Bytes memory = pattern(3'000'000);
    for (std::size_t shift : {1u, 512u, 4095u}) {
        ByteView content = ByteView(memory).subspan(shift, 2'000'003);
        Handle handle = pack(static_cast<unsigned>(shift));
        ASSERT_TRUE(backend().put(handle, content).ok());
        Bytes read = backend().get(handle).value();
        EXPECT_TRUE(std::equal(read.begin(), read.end(), content.begin(), content.end())) << shift;
    }
}

TEST_P(BackendContract, RangesAreExact) {
    Bytes content = pattern(100'000);
    ASSERT_TRUE(backend().put(pack(1), content).ok());
    struct Case {
        std::uint64_t offset, length;
    };
    for (Case c : {Case{0, 1}, Case{50'000, 10'000}, Case{99'999, 1}, Case{0, 100'000}, Case{7, 0},
                   Case{100'000, 0}}) {
        auto read = backend().get(pack(1), {c.offset, c.length});
        ASSERT_TRUE(read.ok()) << c.offset << "+" << c.length;
        ASSERT_EQ(read->size(), c.length);
        EXPECT_TRUE(
            std::equal(read->begin(), read->end(), content.begin() + static_cast<long>(c.offset)));
    }
    auto rest = backend().get(pack(1), {99'990, UINT64_MAX});
    ASSERT_TRUE(rest.ok());
    EXPECT_EQ(rest->size(), 10u);
}

TEST_P(BackendContract, ReadingByWayOfABufferGivesTheSameRanges) {
    const Bytes content = pattern(5000001);
    ASSERT_TRUE(backend().put(pack(1), content).ok());
    Bytes buffer;  // one for all: what it held before must not show
    for (ByteRange range : {ByteRange{}, ByteRange{0, 1}, ByteRange{4096, 2 << 20},
                            ByteRange{4095, 2 << 20}, ByteRange{1, 5000000}, ByteRange{777, 4097},
                            ByteRange{3000001, 2000000}, ByteRange{5000001, 0}}) {
        const auto read = backend().read(pack(1), range, buffer);
        ASSERT_TRUE(read.ok()) << range.offset << "+" << range.length;
        const std::size_t length = std::min<std::uint64_t>(range.length, 5000001 - range.offset);
        EXPECT_TRUE(std::ranges::equal(*read, ByteView(content).subspan(range.offset, length)))
            << range.offset << "+" << range.length;
    }
    for (ByteRange range : {ByteRange{3000001, 2000001}, ByteRange{5000002, 2 << 20}}) {
        const auto read = backend().read(pack(1), range, buffer);
        ASSERT_FALSE(read.ok()) << range.offset << "+" << range.length;
        EXPECT_EQ(read.error().kind(), ErrorKind::corrupt);
    }
    EXPECT_EQ(backend().read(pack(2), {}, buffer).error().kind(), ErrorKind::not_found);
}

TEST_P(BackendContract, RangeBeyondTheEndIsCorrupt) {
    ASSERT_TRUE(backend().put(pack(1), pattern(1000)).ok());
    for (ByteRange range :
         {ByteRange{999, 2}, ByteRange{1000, 1}, ByteRange{5000, 1}, ByteRange{0, 1001},
          ByteRange{1001, UINT64_MAX}, ByteRange{UINT64_MAX - 1, 4}}) {
        auto read = backend().get(pack(1), range);
        ASSERT_FALSE(read.ok()) << range.offset << "+" << range.length;
        EXPECT_EQ(read.error().kind(), ErrorKind::corrupt);
    }
}

TEST_P(BackendContract, AFileThatWasCutShortIsCorruptWhenReadByLength) {
    ASSERT_TRUE(backend().put(pack(1), pattern(1000)).ok());
    subject_->truncate(pack(1), 400);
    auto read = backend().get(pack(1), {0, 1000});
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().kind(), ErrorKind::corrupt);
    EXPECT_EQ(backend().stat(pack(1))->size, 400u);
}

TEST_P(BackendContract, MissingFilesAreNotFound) {
    for (FileType type : kNamedTypes) {
        EXPECT_EQ(backend().get({type, id_of(1)}).error().kind(), ErrorKind::not_found);
        EXPECT_EQ(backend().stat({type, id_of(1)}).error().kind(), ErrorKind::not_found);
    }
    EXPECT_EQ(backend().get({FileType::config, {}}).error().kind(), ErrorKind::not_found);
    EXPECT_EQ(backend().stat({FileType::config, {}}).error().kind(), ErrorKind::not_found);
}

TEST_P(BackendContract, PuttingTheSameTwiceSucceeds) {
    ASSERT_TRUE(backend().put(pack(1), pattern(1000)).ok());
    EXPECT_TRUE(backend().put(pack(1), pattern(1000)).ok());
    EXPECT_EQ(listed(backend(), FileType::pack).size(), 1u);
    ASSERT_TRUE(backend().put({FileType::config, {}}, as_bytes("abc")).ok());
    EXPECT_TRUE(backend().put({FileType::config, {}}, as_bytes("abc")).ok());
}

TEST_P(BackendContract, NothingIsOverwritten) {
    ASSERT_TRUE(backend().put(pack(1), pattern(1000)).ok());
    auto put = backend().put(pack(1), pattern(999, 5));
    ASSERT_FALSE(put.ok());
    EXPECT_EQ(put.error().kind(), ErrorKind::conflict);
    EXPECT_TRUE(backend().get(pack(1)).value() == pattern(1000));
}

TEST_P(BackendContract, AConfigOfTheSameSizeIsNotTakenForTheSame) {
    ASSERT_TRUE(backend().put({FileType::config, {}}, as_bytes("abc")).ok());
    auto put = backend().put({FileType::config, {}}, as_bytes("xyz"));
    ASSERT_FALSE(put.ok());
    EXPECT_EQ(put.error().kind(), ErrorKind::conflict);
    EXPECT_EQ(as_text(backend().get({FileType::config, {}}).value()), "abc");
}

TEST_P(BackendContract, ListTellsEveryFileOnceWithItsSize) {
    EXPECT_TRUE(listed(backend(), FileType::pack).empty());
    for (unsigned i = 0; i < 300; ++i) ASSERT_TRUE(backend().put(pack(i), pattern(i)).ok());
    auto found = listed(backend(), FileType::pack);
    ASSERT_EQ(found.size(), 300u);
    std::set<FileId> ids;
    for (const FileInfo& info : found) {
        ids.insert(info.id);
        EXPECT_EQ(info.size, backend().stat({FileType::pack, info.id})->size);
    }
    EXPECT_EQ(ids.size(), 300u);
}

TEST_P(BackendContract, ForeignNamesAreNotListed) {
    for (FileType type : kNamedTypes) {
        std::string hex = id_of(1).hex();
        std::string upper = hex;
        for (char& c : upper) c = static_cast<char>(c >= 'a' && c <= 'f' ? c - 32 : c);
        for (const std::string& name :
             {std::string("README"), hex.substr(1), hex + "0", upper, hex + "-tmp-123456",
              hex + "-restic-temp-0123456789abcdef0123456789abcdef", std::string(64, 'g')}) {
            if (!subject_->plant(type, name, "x"))
                GTEST_SKIP() << "this storage has no foreign names";
        }
        ASSERT_TRUE(backend().put({type, id_of(2)}, as_bytes("real")).ok());
        auto found = listed(backend(), type);
        ASSERT_EQ(found.size(), 1u) << to_string(type);
        EXPECT_EQ(found[0].id, id_of(2));
    }
}

TEST_P(BackendContract, ParallelPutsOfOneFileLeaveOneWholeFile) {
    Bytes content = pattern(700'000);
    std::atomic<int> failures{0};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 8; ++i)
            threads.emplace_back([&] {
                if (!backend().put(pack(1), content).ok()) ++failures;
            });
    }
    EXPECT_EQ(failures, 0);
    EXPECT_TRUE(backend().get(pack(1)).value() == content);
    EXPECT_EQ(listed(backend(), FileType::pack).size(), 1u);
}

TEST_P(BackendContract, OneOfSeveralCompetingConfigsWins) {
    std::atomic<int> won{0}, lost{0};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 8; ++i)
            threads.emplace_back([&, i] {
                auto put = backend().put({FileType::config, {}},
                                         pattern(50, static_cast<std::uint8_t>(i)));
                if (put.ok())
                    ++won;
                else if (put.error().kind() == ErrorKind::conflict)
                    ++lost;
            });
    }
    EXPECT_EQ(won, 1);
    EXPECT_EQ(lost, 7);
}

TEST_P(BackendContract, ParallelReadersAndWritersSeeWholeFiles) {
    std::atomic<int> wrong{0};
    {
        std::vector<std::jthread> threads;
        for (unsigned worker = 0; worker < 4; ++worker)
            threads.emplace_back([&, worker] {
                for (unsigned i = 0; i < 20; ++i) {
                    Handle handle = pack(worker * 100 + i);
                    Bytes content = pattern(10'000 + i, static_cast<std::uint8_t>(worker));
                    if (!backend().put(handle, content).ok()) ++wrong;
                    auto read = backend().get(handle);
                    if (!read.ok() || read.value() != content) ++wrong;
                }
            });
        threads.emplace_back([&] {
            for (int i = 0; i < 20; ++i) {
                auto result = backend().list(FileType::pack, [&](const FileInfo& info) {
                    if (info.size < 10'000) ++wrong;
                });
                if (!result.ok()) ++wrong;
            }
        });
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(listed(backend(), FileType::pack).size(), 80u);
}

TEST_P(BackendContract, LocksCanBeRemovedByEveryWriter) {
    ASSERT_TRUE(backend().put({FileType::lock, id_of(1)}, as_bytes("lock")).ok());
    EXPECT_TRUE(backend().remove_lock(id_cast<LockId>(id_of(1))).ok());
    EXPECT_TRUE(listed(backend(), FileType::lock).empty());
    EXPECT_TRUE(backend().remove_lock(id_cast<LockId>(id_of(1))).ok())
        << "a missing lock is success";
}

TEST_P(BackendContract, RemoveLockTouchesNothingElse) {
    for (FileType type : kNamedTypes)
        ASSERT_TRUE(backend().put({type, id_of(1)}, as_bytes("x")).ok());
    ASSERT_TRUE(backend().remove_lock(id_cast<LockId>(id_of(1))).ok());
    for (FileType type : kNamedTypes)
        EXPECT_EQ(backend().stat({type, id_of(1)}).ok(), type != FileType::lock) << to_string(type);
}

TEST_P(BackendContract, DeletingIsACapabilityOfItsOwn) {
    ASSERT_TRUE(backend().put(pack(1), as_bytes("x")).ok());
    ASSERT_TRUE(backend().put(pack(2), as_bytes("y")).ok());
    EXPECT_TRUE(subject_->deleting().remove(pack(1)).ok());
    EXPECT_EQ(backend().get(pack(1)).error().kind(), ErrorKind::not_found);
    EXPECT_TRUE(backend().get(pack(2)).ok());
    EXPECT_TRUE(subject_->deleting().remove(pack(1)).ok()) << "a missing file is success";
    EXPECT_TRUE(backend().put(pack(1), as_bytes("x")).ok()) << "and can be put again";
}

TEST_P(BackendContract, OthersSeeAPutAtOnceIfListingIsConsistent) {
    if (!backend().properties().consistent_listing) GTEST_SKIP() << "not promised here";
    auto other = subject_->open_again();
    if (!other) GTEST_SKIP() << "there are no others";
    ASSERT_TRUE(backend().put({FileType::lock, id_of(1)}, as_bytes("lock")).ok());
    EXPECT_EQ(listed(*other, FileType::lock).size(), 1u);
}

TEST_P(BackendContract, CreatingTwiceKeepsWhatIsThere) {
    ASSERT_TRUE(backend().put(pack(1), as_bytes("x")).ok());
    EXPECT_TRUE(backend().create().ok());
    EXPECT_TRUE(backend().get(pack(1)).ok());
}

TEST_P(BackendContract, PropertiesAreUsable) {
    EXPECT_GE(backend().properties().connections, 1u);
    EXPECT_FALSE(backend().properties().url.empty());
}

}  // namespace

}  // namespace backup
