#include "daemon/repository/lock.h"

#include <sys/wait.h>
#include <unistd.h>

#include "daemon/repository/unpacked.h"
#include "tests/support/flaky_backend.h"
#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

struct Locks : testing::Test {
    LockPlace place() { return {backend, key, clock, &journal, 2, "id"}; }

    // A lock file of somebody else.
    LockId foreign(bool exclusive, Duration age = {}, std::string host = "elsewhere",
                   std::int64_t pid = 1) {
        LockFile lock;
        lock.time = clock.now() - age;
        lock.exclusive = exclusive;
        lock.hostname = std::move(host);
        lock.username = "carol";
        lock.pid = pid;
        UnpackedFile file = must(make_unpacked(key, 2, as_bytes(encode_lock(lock))));
        must(backend.put({FileType::lock, file.id}, file.sealed));
        return id_cast<LockId>(file.id);
    }
    // A process that is gone for sure.
    static std::int64_t dead_pid() {
        pid_t pid = fork();
        if (pid == 0) _exit(0);
        waitpid(pid, nullptr, 0);
        return pid;
    }

    MasterKey key = MasterKey::generate();
    MemoryBackend backend;
    StillClock clock;
    MemoryLockJournal journal;
};

TEST_F(Locks, SharedOnesStandSideBySideAndLeaveNothing) {
    {
        auto one = must(RepositoryLock::acquire(place(), false, {}));
        auto two = must(RepositoryLock::acquire(place(), false, {}));
        EXPECT_EQ(count(backend, FileType::lock), 2u);
        EXPECT_EQ(journal.locks.size(), 2u);
    }
    EXPECT_EQ(count(backend, FileType::lock), 0u);
    EXPECT_TRUE(journal.locks.empty());
}

TEST_F(Locks, ForeignExclusiveOneIsRespectedAndNamed) {
    foreign(true, std::chrono::hours(48));  // staleness is not looked at here
    auto lock = RepositoryLock::acquire(place(), false, {});
    ASSERT_FALSE(lock.ok());
    EXPECT_EQ(lock.error().kind(), ErrorKind::conflict);
    EXPECT_EQ(lock.error().code(), ErrorCode::repository_locked);
    for (const char* part : {"carol", "elsewhere", "process 1", "since"})
        EXPECT_NE(lock.error().message().find(part), std::string::npos) << lock.error().message();
    EXPECT_EQ(count(backend, FileType::lock), 1u);
    EXPECT_TRUE(journal.locks.empty());
}

TEST_F(Locks, ExclusiveOneWaitsForNobody) {
    foreign(false);
    EXPECT_FALSE(RepositoryLock::acquire(place(), true, {}).ok());
    EXPECT_TRUE(RepositoryLock::acquire(place(), false, {}).ok());
}

TEST_F(Locks, UnreadableOneBlocksButAnEmptyOneDoesNot) {
    FileId id{};
    id.bytes[5] = 1;
    must(backend.put({FileType::lock, id}, {}));
    EXPECT_TRUE(RepositoryLock::acquire(place(), false, {}).ok());
    backend.overwrite({FileType::lock, id}, Bytes(100));
    auto lock = RepositoryLock::acquire(place(), false, {});
    ASSERT_FALSE(lock.ok());
    EXPECT_EQ(lock.error().code(), ErrorCode::repository_locked);
}

TEST_F(Locks, RefreshReplacesTheFileAfterFiveMinutes) {
    auto lock = must(RepositoryLock::acquire(place(), false, {}));
    const LockId first = lock->id();
    clock.advance(std::chrono::minutes(4));
    EXPECT_EQ(must(lock->refresh_if_due({})), RepositoryLock::State::held);
    EXPECT_EQ(lock->id(), first);
    clock.advance(std::chrono::minutes(2));
    EXPECT_EQ(must(lock->refresh_if_due({})), RepositoryLock::State::held);
    EXPECT_NE(lock->id(), first);
    EXPECT_EQ(count(backend, FileType::lock), 1u);
    EXPECT_EQ(journal.locks, std::set<LockId>{lock->id()});
}

TEST_F(Locks, RemovedOneIsNoticedAndTakenAgain) {
    auto lock = must(RepositoryLock::acquire(place(), false, {}));
    must(backend.remove_lock(lock->id()));
    EXPECT_EQ(must(lock->verify({})), RepositoryLock::State::lost);
    must(lock->renew({}));
    EXPECT_EQ(must(lock->verify({})), RepositoryLock::State::held);
    EXPECT_EQ(count(backend, FileType::lock), 1u);

    must(backend.remove_lock(lock->id()));
    foreign(true);
    EXPECT_FALSE(lock->renew({}).ok());
    EXPECT_EQ(must(lock->verify({})), RepositoryLock::State::lost);
}

TEST_F(Locks, SurvivesSuspendWhileNobodyTookItAway) {
    auto lock = must(RepositoryLock::acquire(place(), false, {}));
    clock.advance(std::chrono::hours(9));
    EXPECT_EQ(must(lock->verify({})), RepositoryLock::State::held);
    clock.advance(std::chrono::hours(9));
    must(backend.remove_lock(lock->id()));
    EXPECT_EQ(must(lock->verify({})), RepositoryLock::State::lost);
}

TEST_F(Locks, FailedRefreshKeepsTheOldOne) {
    FlakyBackend flaky(backend);
    LockPlace at{flaky, key, clock, &journal, 2, "id"};
    auto lock = must(RepositoryLock::acquire(at, false, {}));
    const LockId first = lock->id();
    clock.advance(std::chrono::minutes(6));
    flaky.fail_at(0, FlakyBackend::Fault::error);
    EXPECT_FALSE(lock->refresh_if_due({}).ok());
    flaky.heal();
    EXPECT_EQ(lock->id(), first);
    EXPECT_EQ(must(lock->verify({})), RepositoryLock::State::held);
    EXPECT_EQ(count(backend, FileType::lock), 1u);
}

TEST_F(Locks, OwnStaleOnesGoAtOpenAndForeignOnesStay) {
    const LockId killed = foreign(false, {}, "elsewhere-by-journal");
    journal.locks.insert(killed);
    foreign(false, {}, own_identity().hostname, dead_pid());
    const LockId old = foreign(false, std::chrono::hours(2));
    const LockId young = foreign(false, std::chrono::minutes(2));
    auto live = must(RepositoryLock::acquire(place(), false, {}));
    remove_own_stale_locks(place());
    std::set<LockId> left;
    must(backend.list(FileType::lock,
                      [&](const FileInfo& info) { left.insert(id_cast<LockId>(info.id)); }));
    EXPECT_EQ(left, (std::set<LockId>{old, young, live->id()}));
    EXPECT_EQ(journal.locks, std::set<LockId>{live->id()});
}

TEST_F(Locks, StaleOnesGoOnRequestAndLiveOnesOnlyByForce) {
    const LockId young = foreign(true, std::chrono::minutes(2));
    foreign(true, std::chrono::minutes(31));
    FileId id{};
    id.bytes[5] = 1;
    backend.overwrite({FileType::lock, id}, Bytes(100));
    EXPECT_EQ(must(remove_stale_locks(place(), false)), 1u);
    EXPECT_EQ(count(backend, FileType::lock), 2u);
    EXPECT_TRUE(backend.stat({FileType::lock, id_cast<FileId>(young)}).ok());
    EXPECT_EQ(must(remove_stale_locks(place(), true)), 2u);
    auto live = must(RepositoryLock::acquire(place(), false, {}));
    EXPECT_EQ(must(remove_stale_locks(place(), true)), 0u);
    EXPECT_EQ(must(live->verify({})), RepositoryLock::State::held);
}

TEST_F(Locks, JournalKnowsALockBeforeItIsWritten) {
    FlakyBackend flaky(backend);
    LockPlace at{flaky, key, clock, &journal, 2, "id"};
    // The put is lost together with everything after it: what was written stays remembered.
    flaky.fail_at(0, FlakyBackend::Fault::power_loss);
    EXPECT_FALSE(RepositoryLock::acquire(at, false, {}).ok());
    EXPECT_EQ(journal.locks.size(), 1u);
}

TEST_F(Locks, OneThatCouldNotBeRemovedStandsInNobodysWayForLong) {
    FlakyBackend flaky(backend);
    LockPlace at{flaky, key, clock, &journal, 2, "a disk with a bad day"};
    auto leave_one = [&] {
        auto lock = must(RepositoryLock::acquire(at, false, {}));
        flaky.fail_at(0, FlakyBackend::Fault::error);
        lock.reset();
        ASSERT_EQ(count(backend, FileType::lock), 1u);
        ASSERT_EQ(journal.locks.size(), 1u);
    };
    leave_one();
    EXPECT_TRUE(RepositoryLock::acquire(at, true, {}).ok()) << "it was ours";
    EXPECT_EQ(count(backend, FileType::lock), 0u);
    EXPECT_TRUE(journal.locks.empty());
    leave_one();
    flaky.fail_at(0, FlakyBackend::Fault::error);
    EXPECT_FALSE(remove_left_locks(at));
    EXPECT_EQ(count(backend, FileType::lock), 1u);
    EXPECT_TRUE(remove_left_locks(at));
    EXPECT_EQ(count(backend, FileType::lock), 0u);
    EXPECT_TRUE(journal.locks.empty());
}

}  // namespace
}  // namespace backup
