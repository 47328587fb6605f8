// A collector, writers of other hosts and readers take turns at every call that the collector makes
// of the storage: whatever the order, what is committed can be read, also by a program that knows
// nothing of marks. And the same for a collector that dies at any call.
#include <functional>
#include <mutex>
#include <optional>

#include <gtest/gtest.h>

#include "daemon/collection/collector.h"
#include "daemon/repository/checker.h"
#include "daemon/repository/tree.h"
#include "daemon/revisions/revise.h"
#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

using namespace std::chrono_literals;

// Tells before each call; a storage that died answers every call with an error.
class SteppedBackend final : public Backend, public DeletingBackend {
  public:
    SteppedBackend(MemoryBackend& inner) : inner_(inner) {}
    std::function<void(std::size_t call)> before;
    std::size_t calls = 0;
    std::size_t dies_at = SIZE_MAX;

    BackendProperties properties() const override { return inner_.properties(); }
    Result<> put(const Handle& handle, ByteView content) override {
        TRY(step());
        return inner_.put(handle, content);
    }
    Result<Bytes> get(const Handle& handle, ByteRange range) override {
        TRY(step());
        return inner_.get(handle, range);
    }
    Result<FileInfo> stat(const Handle& handle) override {
        TRY(step());
        return inner_.stat(handle);
    }
    Result<> list(FileType type, const std::function<void(const FileInfo&)>& each) override {
        TRY(step());
        return inner_.list(type, each);
    }
    Result<> remove_lock(const LockId& id) override {
        TRY(step());
        return inner_.remove_lock(id);
    }
    Result<> create() override { return inner_.create(); }
    Result<> remove(const Handle& handle) override {
        TRY(step());
        return inner_.remove(handle);
    }

  private:
    Result<> step() {
        std::lock_guard lock(mutex_);  // the collector's threads take turns, too
        const std::size_t call = calls++;
        if (call >= dies_at) return Error(ErrorKind::io, "the machine is off");
        if (before) before(call);
        return {};
    }
    MemoryBackend& inner_;
    std::mutex mutex_;
};

Bytes shared_blob() {
    return noise_blob(1, 3000);
}

// What every trial begins with: revision 1 is forgotten and gone from the trash, and its data
// shared with nobody, but for what a writer is about to store again. `aged`: it is marked, and due.
struct World {
    StillClock clock;
    MemoryBackend storage;
    std::size_t whole_packs = 0;

    explicit World(bool aged) {
        auto repository = make_repository(storage, clock);
        const RevisionId old = commit(*repository, 1, {shared_blob(), noise_blob(2, 3000)});
        commit(*repository, 2, {noise_blob(3, 3000)});
        RevisionChange change;
        change.trash = std::optional(clock.now());
        must(revise(*repository, &storage, {old}, change, {}));
        clock.advance(1s);
        if (!aged) return;
        Progress progress;
        must(collect(*repository, storage, request(), progress, [](const std::string&) {}, {}));
        clock.advance(26h);
    }

    static CollectRequest request() {
        CollectRequest wanted;
        wanted.trash = 0s;
        wanted.own_sets = {{"home", "test"}};
        wanted.limits.most_small_packs = 2;  // copying is part of it
        return wanted;
    }
    static RevisionId commit(Repository& repository, std::uint64_t number,
                             const std::vector<Bytes>& blobs) {
        auto session = must(repository.start_write({}, {}));
        return finish(*session, number, blobs);
    }
    static RevisionId finish(WriteSession& session, std::uint64_t number,
                             const std::vector<Bytes>& blobs) {
        std::vector<BlobId> content;
        std::uint64_t size = 0;
        for (const Bytes& blob : blobs) {
            content.push_back(must(session.save(BlobType::data, blob)).id);
            size += blob.size();
        }
        const BlobId tree = must(session.save(BlobType::tree, file_tree(content, size))).id;
        Snapshot snapshot = snapshot_of(tree);
        snapshot.tags = make_tags({.set = "home", .number = number});
        return must(session.commit(snapshot));
    }

    // Every revision, as a program sees it that knows `packs` of index files and nothing else, and
    // that believes in no file but those that are there.
    void expect_whole(const std::string& when) {
        auto fresh = open_repository(storage, clock);
        class Listed final : public IndexVisitor {
          public:
            void pack(const PackId& id, std::span<const PackedBlob> list) override {
                packs.insert(id);
                for (const PackedBlob& blob : list) blobs.insert({blob.type, blob.id});
            }
            std::set<PackId> packs;
            std::set<std::pair<BlobType, BlobId>> blobs;
        } listed;
        for (const auto& [key, content] : storage.files()) {
            if (key.first != FileType::index) continue;
            must(decode_index(must(fresh->load_unpacked(FileType::index, key.second)), 2, listed));
        }
        const auto files = storage.files();
        for (const PackId& pack : listed.packs)
            EXPECT_TRUE(files.contains({FileType::pack, id_cast<FileId>(pack)}))
                << "an index lists a pack that is not there " << when;
        must(fresh->refresh_index({}));
        for (const RevisionEntry& entry : must(fresh->list_revisions())) {
            ASSERT_TRUE(listed.blobs.contains({BlobType::tree, entry.snapshot.tree})) << when;
            const Bytes tree = must(fresh->blobs().load({BlobType::tree, entry.snapshot.tree}));
            must(visit_tree(tree, [&](Node& node) -> Result<> {
                for (const BlobId& id : node.content) {
                    EXPECT_TRUE(listed.blobs.contains({BlobType::data, id})) << when;
                    EXPECT_TRUE(fresh->blobs().load({BlobType::data, id}).ok()) << when;
                }
                return {};
            }));
        }
    }
    // What a collection without anybody beside it makes of it in the end.
    void expect_exact_end(const std::string& when) {
        for (int i = 0; i < 3; ++i) {
            auto repository = open_repository(storage, clock);
            Progress progress;
            must(collect(*repository, storage, request(), progress, [](const std::string&) {}, {}));
            clock.advance(26h);
        }
        auto repository = open_repository(storage, clock);
        Progress progress;
        const StorageAudit audit = must(backup::audit(*repository, progress, {}));
        EXPECT_EQ(audit.grace_bytes + audit.orphan_bytes, 0u) << when;
        EXPECT_EQ(audit.live_bytes, audit.listed_bytes) << when;
        expect_whole(when);
    }
};

std::string at(const char* what, std::size_t first, std::size_t second = SIZE_MAX) {
    return std::string(what) + " " + std::to_string(first) +
           (second == SIZE_MAX ? "" : " and " + std::to_string(second));
}

// One collection through a stepped storage. The number of calls it made.
std::size_t collect_stepped(World& world, const std::function<void(std::size_t)>& before,
                            std::size_t dies_at = SIZE_MAX) {
    SteppedBackend stepped(world.storage);
    auto repository = open_repository(stepped, world.clock);
    stepped.calls = 0;
    stepped.before = before;
    stepped.dies_at = dies_at;
    Progress progress;
    Result<CollectResult> result =
        collect(*repository, stepped, World::request(), progress, [](const std::string&) {}, {});
    stepped.before = nullptr;
    if (dies_at == SIZE_MAX && !result.ok()) ADD_FAILURE() << result.error().message();
    return stepped.calls;
}

class Interleaving : public testing::TestWithParam<bool> {};

// Another host's session is opened before one call of the collector and committed before a later
// one: all pairs.
TEST_P(Interleaving, AWriterBeginsAndCommitsAtAnyTwoCalls) {
    std::size_t calls = 0;
    {
        World world(GetParam());
        calls = collect_stepped(world, nullptr);
    }
    ASSERT_GT(calls, 20u);
    for (std::size_t begin = 0; begin < calls; ++begin) {
        for (std::size_t end = begin; end < calls; end += 1 + (end - begin) / 2) {
            World world(GetParam());
            auto other = open_repository(world.storage, world.clock);
            std::unique_ptr<WriteSession> session;
            collect_stepped(world, [&](std::size_t call) {
                if (call == begin) session = must(other->start_write({}, {}));
                if (call == end && session) {
                    World::finish(*session, 10, {shared_blob(), noise_blob(3, 3000)});
                    session.reset();
                    world.expect_whole(at("in the middle of", begin, end));
                }
            });
            if (session) World::finish(*session, 10, {shared_blob()});
            session.reset();
            world.expect_whole(at("after", begin, end));
            if (end == begin) world.expect_exact_end(at("in the end of", begin, end));
            if (testing::Test::HasFailure()) return;
        }
    }
}

// The writer was there before, relies on what is marked or about to be, and commits at any call or
// after the collection.
TEST_P(Interleaving, AWriterFromBeforeCommitsAtAnyCall) {
    std::size_t calls = 100;
    for (std::size_t end = 0; end <= calls; ++end) {
        World world(GetParam());
        auto other = open_repository(world.storage, world.clock);
        auto session = must(other->start_write({}, {}));
        must(session->save(BlobType::data, shared_blob()));
        auto finish = [&] {
            World::finish(*session, 10, {shared_blob(), noise_blob(9, 2000)});
            session.reset();
        };
        const std::size_t made = collect_stepped(world, [&](std::size_t call) {
            if (call == end) finish();
        });
        calls = made;
        if (session) finish();
        world.expect_whole(at("after", end));
        if (testing::Test::HasFailure()) return;
    }
}

// Two writers, one of which begins before and one during the collection.
TEST_P(Interleaving, TwoWritersAndAReaderAtEveryCall) {
    std::size_t calls = 100;
    for (std::size_t turn = 0; turn < calls; ++turn) {
        World world(GetParam());
        auto first = open_repository(world.storage, world.clock);
        auto second = open_repository(world.storage, world.clock);
        auto one = must(first->start_write({}, {}));
        must(one->save(BlobType::data, shared_blob()));
        calls = collect_stepped(world, [&](std::size_t call) {
            if (call % 3 == 0) world.expect_whole(at("seen by a reader at", turn, call));
            if (call != turn) return;
            auto two = must(second->start_write({}, {}));
            must(two->save(BlobType::data, shared_blob()));
            World::finish(*one, 10, {shared_blob()});
            World::finish(*two, 11, {shared_blob(), noise_blob(4, 1000)});
        });
        one.reset();
        world.expect_whole(at("after", turn));
        if (testing::Test::HasFailure()) return;
    }
}

// The machine dies at any call of the collection: what is left is whole, and the next one brings it
// to its exact end.
TEST_P(Interleaving, ACollectorThatDiesLeavesNothingBroken) {
    std::size_t calls = 0;
    {
        World world(GetParam());
        calls = collect_stepped(world, nullptr);
    }
    for (std::size_t death = 0; death < calls; ++death) {
        World world(GetParam());
        collect_stepped(world, nullptr, death);
        world.expect_whole(at("after its death at", death));
        // Its locks are those of a dead machine.
        for (const auto& [key, content] : world.storage.files())
            if (key.first == FileType::lock)
                must(world.storage.remove_lock(id_cast<LockId>(key.second)));
        world.expect_exact_end(at("after its death at", death));
        if (testing::Test::HasFailure()) return;
    }
}

// A program that knows nothing of marks locks as restic does, lists snapshots and index files, and
// reads them one by one: each must be there until it is done.
TEST_P(Interleaving, NothingGoesUnderTheHandsOfAForeignWriter) {
    std::size_t calls = 100, began = 0;
    for (std::size_t turn = 0; turn < calls; ++turn) {
        World world(GetParam());
        auto other = open_repository(world.storage, world.clock);
        std::set<std::pair<FileType, FileId>> listed;
        calls = collect_stepped(world, [&](std::size_t call) {
            if (call != turn) return;
            for (const FoundLock& lock : must(other->locks()))
                if (!lock.file || lock.file->exclusive) return;  // it gives up
            LockFile foreign;
            foreign.time = world.clock.now();
            foreign.hostname = "elsewhere";
            foreign.pid = 7;
            must(other->store_unpacked(FileType::lock, as_bytes(encode_lock(foreign))));
            for (const auto& [key, content] : world.storage.files())
                if (key.first == FileType::index || key.first == FileType::snapshot)
                    listed.insert(key);
            ++began;
        });
        const auto files = world.storage.files();
        for (const auto& key : listed) EXPECT_TRUE(files.contains(key)) << at("began at", turn);
        world.expect_whole(at("after", turn));
        if (testing::Test::HasFailure()) return;
    }
    EXPECT_GT(began, 20u);
}

// Whoever checks holds no lock. Snapshots, index files and packs go under his hands, without any
// grace, as another program's prune has none: that is no damage.
TEST_P(Interleaving, ACheckFindsNoDamageWhereAnotherCollects) {
    std::size_t calls = 100;
    for (std::size_t turn = 0; turn < calls; ++turn) {
        World world(GetParam());
        SteppedBackend stepped(world.storage);
        auto repository = open_repository(stepped, world.clock);
        auto other = open_repository(world.storage, world.clock);
        stepped.calls = 0;
        stepped.before = [&](std::size_t call) {
            if (call != turn) return;
            CollectRequest request = World::request();
            request.limits.grace = 0s;
            for (int i = 0; i < 2; ++i) {
                Progress progress;
                must(collect(*other, world.storage, request, progress, [](const std::string&) {},
                             {}));
                world.clock.advance(1s);
            }
        };
        Progress progress;
        const CheckResult result =
            must(check_repository(*repository, {.data_percent = 100}, progress, {}));
        calls = stepped.calls;
        std::string told;
        for (const CheckFinding& finding : result.findings)
            told += finding.object + ": " + finding.message + "\n";
        ASSERT_EQ(result.errors, 0u) << at("collected at", turn) << "\n" << told;
    }
    EXPECT_GT(calls, 10u);
}

INSTANTIATE_TEST_SUITE_P(Phases, Interleaving, testing::Bool(), [](const auto& phase) {
    return std::string(phase.param ? "Sweep" : "Mark");
});

}  // namespace
}  // namespace backup
