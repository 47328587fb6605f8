// What tests of the engine share: a clock that stands still, quick keys, repositories in memory and
// from fixtures, blobs.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "daemon/backend/memory_backend.h"
#include "daemon/repository/repository.h"
#include "tests/unit/repository/vectors.h"

namespace backup {

class StillClock final : public Clock {
  public:
    Timestamp now() const override {
        std::lock_guard lock(mutex_);
        return now_;
    }
    MonotonicTime monotonic() const override {
        std::lock_guard lock(mutex_);
        return MonotonicTime(now_.time_since_epoch());
    }
    void advance(Duration by) {
        std::lock_guard lock(mutex_);
        now_ += by;
    }

  private:
    mutable std::mutex mutex_;
    Timestamp now_{std::chrono::seconds(1'800'000'000)};
};

class MemoryLockJournal final : public LockJournal {
  public:
    void remember(const std::string&, const LockId& lock) override { locks.insert(lock); }
    void forget(const std::string&, const LockId& lock) override { locks.erase(lock); }
    std::vector<LockId> remembered(const std::string&) override {
        return {locks.begin(), locks.end()};
    }
    std::set<LockId> locks;
};

class MemoryPackJournal final : public PackJournal {
  public:
    void remember(const std::string&, const std::string& owner,
                  const JournalledPack& pack) override {
        std::lock_guard lock(mutex_);
        packs_[pack.id] = {owner, pack};
    }
    void forget(const std::string&, const std::vector<PackId>& packs) override {
        std::lock_guard lock(mutex_);
        for (const PackId& pack : packs) packs_.erase(pack);
    }
    std::vector<JournalledPack> remembered(const std::string&, const std::string& owner) override {
        std::lock_guard lock(mutex_);
        std::vector<JournalledPack> list;
        for (const auto& [id, entry] : packs_)
            if (entry.first == owner) list.push_back(entry.second);
        return list;
    }
    std::size_t size() const {
        std::lock_guard lock(mutex_);
        return packs_.size();
    }

  private:
    mutable std::mutex mutex_;  // guards packs_
    std::map<PackId, std::pair<std::string, JournalledPack>> packs_;
};

class MemoryDamageJournal final : public DamageJournal {
  public:
    void remember(const std::string&, const std::vector<DamagedCopy>& copies) override {
        copies_.insert(copies_.end(), copies.begin(), copies.end());
    }
    void forget(const std::string&, const std::vector<PackId>& packs) override {
        std::erase_if(copies_, [&](const DamagedCopy& copy) {
            return std::ranges::find(packs, copy.pack) != packs.end();
        });
    }
    std::vector<DamagedCopy> remembered(const std::string&) override { return copies_; }

  private:
    std::vector<DamagedCopy> copies_;
};

constexpr KeyCost kQuickKey{1024, 8, 1};
inline ByteView quick_password() {
    return as_bytes("quick");
}

template <typename T>
T must(Result<T> result) {
    if (!result.ok()) {
        ADD_FAILURE() << result.error().message();
        std::abort();
    }
    return std::move(result).value();
}
inline void must(Result<> result) {
    ASSERT_TRUE(result.ok()) << result.error().message();
}

// The tests of the engine run twice: with the index in memory, and with a local copy of every
// index.
class IndexFolder {
  public:
    IndexFolder() {
        if (!std::getenv("BACKUPD_TEST_INDEX_COPY")) return;
        std::string name = std::filesystem::temp_directory_path() / "backupd-index-XXXXXX";
        if (mkdtemp(name.data()) != nullptr) path_ = name;
    }
    ~IndexFolder() {
        if (!path_.empty()) std::filesystem::remove_all(path_);
    }
    IndexFolder(const IndexFolder&) = delete;
    IndexFolder& operator=(const IndexFolder&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};
inline RepositoryOptions options_for_test(const Clock& clock, LockJournal* journal) {
    static const IndexFolder folder;
    RepositoryOptions options{.clock = &clock, .lock_journal = journal};
    options.index_folder = folder.path();
    options.always_copy_index = !folder.path().empty();
    return options;
}

inline std::unique_ptr<Repository> make_repository(Backend& backend, const Clock& clock,
                                                   LockJournal* journal = nullptr) {
    return must(
        Repository::init(backend, quick_password(), options_for_test(clock, journal), kQuickKey));
}
inline std::unique_ptr<Repository> open_repository(Backend& backend, const Clock& clock,
                                                   LockJournal* journal = nullptr) {
    return must(Repository::open(backend, quick_password(), options_for_test(clock, journal)));
}

// A repository of the fixtures, held in memory.
inline MemoryBackend::Files fixture_files(const std::string& name) {
    MemoryBackend::Files files;
    const std::filesystem::path root = fixture("restic/" + name + "/repo");
    auto add = [&](FileType type, const std::filesystem::path& path) {
        FileId id{};
        if (type != FileType::config) {
            auto parsed = FileId::from_hex(path.filename().string());
            if (!parsed) return;
            id = *parsed;
        }
        files[{type, id}] = std::make_shared<const Bytes>(read_fixture(path));
    };
    add(FileType::config, root / "config");
    for (auto [type, folder] : {std::pair{FileType::key, "keys"},
                                {FileType::snapshot, "snapshots"},
                                {FileType::index, "index"},
                                {FileType::pack, "data"}}) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder))
            if (entry.is_regular_file()) add(type, entry.path());
    }
    return files;
}

inline Bytes text_blob(int number, std::size_t size = 200) {
    std::string text;
    while (text.size() < size) text += "line of blob " + std::to_string(number) + "\n";
    text.resize(size);
    return to_bytes(text);
}
inline Bytes noise_blob(std::uint64_t seed, std::size_t size) {
    return vectors::lcg(seed, size);
}

// A root tree with nothing in it, but for a name that makes it one of its own.
inline Bytes empty_tree() {
    return to_bytes("{\"nodes\":[]}\n");
}
// A tree with one file of these blobs, which are `size` bytes.
inline Bytes file_tree(const std::vector<BlobId>& content, std::uint64_t size) {
    std::string json =
        R"({"nodes":[{"name":"f","type":"file","mode":420,"mtime":"2024-01-01T00:00:00Z",)"
        R"("atime":"2024-01-01T00:00:00Z","ctime":"2024-01-01T00:00:00Z","uid":0,"gid":0,)" +
        (size == 0 ? std::string() : "\"size\":" + std::to_string(size) + ",") + R"("content":[)";
    for (std::size_t i = 0; i < content.size(); ++i)
        json += (i == 0 ? "\"" : ",\"") + content[i].hex() + "\"";
    return to_bytes(json + "]}]}\n");
}
inline Snapshot snapshot_of(const BlobId& tree) {
    Snapshot snapshot;
    snapshot.time = Timestamp(std::chrono::seconds(1'800'000'000));
    snapshot.tree = tree;
    snapshot.paths = {"/x"};
    snapshot.hostname = "test";
    return snapshot;
}

inline std::size_t count(const MemoryBackend& backend, FileType type) {
    std::size_t all = 0;
    for (const auto& [key, content] : backend.files()) all += key.first == type ? 1 : 0;
    return all;
}

}  // namespace backup
