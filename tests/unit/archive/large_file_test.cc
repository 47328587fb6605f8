// Large files and holes: the same chunks as a plain read, whatever is skipped.
#include "daemon/archive/large_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "tests/unit/archive/archive_fixture.h"

namespace backup {

namespace {

class LargeFileTest : public ArchiveTest {
  protected:
    std::vector<BlobId> plain_chunks(const std::string& text) {
        Chunker chunker(repository_->config().chunker_polynomial);
        std::vector<BlobId> ids;
        ByteView rest = as_bytes(text);
        while (!rest.empty()) {
            std::size_t cut = chunker.next_cut(rest.first(std::min(rest.size(), kMaxChunk)),
                                               rest.size() <= kMaxChunk);
            ids.push_back(blob_id(rest.first(cut)));
            rest = rest.subspan(cut);
        }
        return ids;
    }
    struct Part {
        std::size_t offset, size;
    };
    // A file of zeros with random data in places; returns what a plain read gives.
    std::string make_sparse(const std::string& name, std::size_t size,
                            const std::vector<Part>& parts) {
        UniqueFd fd(::open(at(name).c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
        EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
        std::string text(size, '\0');
        for (const Part& part : parts) {
            std::string data = random_text(part.size, unsigned(part.offset + 1));
            EXPECT_EQ(::pwrite(fd.get(), data.data(), data.size(), off_t(part.offset)),
                      ssize_t(data.size()));
            text.replace(part.offset, part.size, data);
        }
        return text;
    }
};

}  // namespace

TEST_F(LargeFileTest, IsCutLikeAPlainRead) {
    std::map<std::string, std::string> files;
    for (std::size_t size : {kMinChunk - 1, kMinChunk, kMinChunk + 1, kMaxChunk, kMaxChunk + 1,
                             2 * kMaxChunk + 12345, std::size_t{30'000'000}})
        files["random-" + std::to_string(size)] = random_text(size, unsigned(size));
    files["zeros"] = std::string(3'000'000, '\0');
    files["repeating"] = [] {
        std::string text;
        while (text.size() < 20'000'000) text += "the same words again and again; ";
        return text;
    }();
    for (const auto& [name, text] : files) put(name, text);
    BackupResult result = run();
    for (const auto& [name, text] : files) {
        Node stored = *node(result, at(name));
        EXPECT_EQ(stored.size, text.size()) << name;
        EXPECT_EQ(stored.content, plain_chunks(text)) << name;
        EXPECT_TRUE(content(stored) == text) << name;
    }
    EXPECT_EQ(exceptions_->count(), 0u);
    EXPECT_EQ(progress_->bytes_done.load(), result.counts.total_bytes);
}

TEST_F(LargeFileTest, HolesGiveTheChunksOfZerosWithoutBeingRead) {
    struct Case {
        const char* name;
        std::size_t size;
        std::vector<Part> parts;
    };
    const std::size_t mib = 1 << 20;
    const std::vector<Case> cases{
        {"only-hole", 10 * mib, {}},
        {"odd-hole", 10 * mib + 123, {}},
        {"short-hole", kMinChunk + 4096, {}},
        {"hole-first", 8 * mib, {{7 * mib, mib}}},
        {"hole-last", 9 * mib, {{0, 3 * mib}}},
        {"hole-middle", 12 * mib, {{0, 700'000}, {9 * mib + 4096, 100'000}}},
        {"many",
         16 * mib + 777,
         {{0, 4096},
          {256 * 1024, 4096},
          {mib, 8192},
          {3 * mib, 2 * mib},
          {10 * mib, 4096},
          {16 * mib, 777}}},
        {"tiny-islands",
         6 * mib,
         {{kMinChunk - 4096, 4096}, {2 * kMinChunk, 4096}, {5 * mib, 4096}}},
    };
    std::map<std::string, std::string> texts;
    for (const Case& one : cases) texts[one.name] = make_sparse(one.name, one.size, one.parts);
    struct stat status;
    ASSERT_EQ(::stat(at("only-hole").c_str(), &status), 0);
    if (status.st_blocks != 0) GTEST_SKIP() << "no sparse files here";
    BackupResult result = run();
    for (const Case& one : cases) {
        Node stored = *node(result, at(one.name));
        EXPECT_EQ(stored.size, one.size) << one.name;
        EXPECT_EQ(stored.content, plain_chunks(texts[one.name])) << one.name;
    }
    EXPECT_LT(result.counts.bytes_read, 12 * mib) << "of about 73 MiB";
    EXPECT_EQ(progress_->bytes_done.load(), result.counts.total_bytes);
}

TEST_F(LargeFileTest, ManyLargeFilesAtOnceAreAllWhole) {
    std::map<std::string, std::string> files;
    for (int i = 0; i < 40; ++i) {
        std::string name = "d" + std::to_string(i % 5) + "/f" + std::to_string(i);
        files[name] = random_text(600'000 + 50'000u * unsigned(i), unsigned(i));
        put(name, files[name]);
    }
    request_.threads = 8;
    BackupResult result = run();
    for (const auto& [name, text] : files)
        EXPECT_TRUE(content(*node(result, at(name))) == text) << name;
    EXPECT_EQ(run().counts.files_read, 0u);
}

TEST_F(LargeFileTest, OneThreadIsEnough) {
    put("large", random_text(40'000'000, 7));
    request_.threads = 1;
    BackupResult result = run();
    EXPECT_EQ(node(result, at("large"))->content, plain_chunks(random_text(40'000'000, 7)));
}

TEST_F(LargeFileTest, WhenTimeIsShortSmallFilesComeFirstAndOfLargeOnesTheSmallest) {
    put("a/huge", random_text(6 << 20, 1));
    put("a/large", random_text(3 << 20, 2));
    for (const char* name : {"b/1", "b/c/2", "b/c/d/3", "e/4"}) put(name, name);
    std::mutex mutex;
    std::vector<std::string> opened;
    fs_.on_open = [&](std::string_view name) {
        std::lock_guard lock(mutex);
        if (name == "huge" || name == "large" || (name.size() == 1 && std::isdigit(name[0]) != 0))
            opened.emplace_back(name);
        return 0;
    };
    request_.threads = 1;
    request_.small_first = true;
    run();
    // What is found to be large was opened once when it was found.
    const auto at = [&](const char* name) {
        return std::find(opened.rbegin(), opened.rend(), name) - opened.rbegin();
    };
    for (const char* small : {"1", "2", "3", "4"}) EXPECT_GT(at(small), at("large")) << small;
    EXPECT_GT(at("large"), at("huge"));
}

}  // namespace backup
