#include "daemon/jobs/job_runner.h"

#include <algorithm>
#include <condition_variable>
#include <latch>

#include <gtest/gtest.h>

#include "tests/support/memory_state.h"

namespace backup {
namespace {

using namespace std::chrono_literals;
using Told = std::vector<std::string>;

class Ear final : public JobListener {
  public:
    Told told;
    std::function<void(const Job&)> on_finished = [](const Job&) {};
    std::function<void(const Job&)> on_changed = [](const Job&) {};

    void job_added(const Job& job) override { tell("added", job); }
    void job_changed(const Job& job) override { on_changed(job); }
    void job_finished(const Job& job) override {
        tell("finished", job);
        on_finished(job);
    }
    void job_removed(const Job& job) override { tell("removed", job); }

  private:
    void tell(const char* what, const Job& job) {
        told.push_back(std::string(what) + " " + std::to_string(job.id()));
    }
};

class JobRunnerTest : public ::testing::Test {
  protected:
    explicit JobRunnerTest(JobRunnerOptions options = {})
        : runner(loop, state, journal, events, clock, options) {
        set_log_level(LogLevel::error);
        runner.set_listener(&ear);
        guard = loop.once(30s, [this] {
            ADD_FAILURE() << "waited in vain";
            loop.stop();
        });
    }

    JobRequest request(std::string set, JobBody body) {
        JobRequest made;
        made.kind = "backup";
        made.set = set;
        made.repository = "main";
        made.unique = "backup:" + set;
        made.writes = true;
        made.body = std::move(body);
        return made;
    }
    // Runs the loop until so many jobs have ended.
    void run_until_finished(int count) {
        ear.on_finished = [this, count, seen = 0](const Job&) mutable {
            if (++seen == count) loop.stop();
        };
        loop.run();
    }
    static JobBody nothing() {
        return [](JobContext&) { return JobOutcome{}; };
    }
    static JobBody until_stopped() {
        return [](JobContext& job) {
            std::mutex mutex;
            std::condition_variable_any stopped;
            std::unique_lock lock(mutex);
            stopped.wait(lock, job.stop, [] { return false; });
            JobOutcome outcome;
            outcome.error = Error(ErrorKind::cancelled, "stopped");
            return outcome;
        };
    }
    void must_cancel(std::uint64_t id) { EXPECT_TRUE(runner.cancel(id).ok()); }
    void ignore(Result<const Job*> job) { EXPECT_TRUE(job.ok()); }

    Loop loop;
    MemoryState state;
    TestClock clock;
    EventLog events{clock};
    Executor journal{loop, "journal", 1};
    Ear ear;
    Timer guard;
    JobRunner runner;
};

TEST_F(JobRunnerTest, BeginsDurablyBeforeTheBodyAndEndsOnce) {
    Told at_body;
    runner.start(request("home",
                         [&](JobContext&) {
                             at_body = state.said();
                             return JobOutcome{};
                         }),
                 [&](Result<const Job*> job) {
                     ASSERT_TRUE(job.ok());
                     EXPECT_EQ((*job)->id(), 1u);
                 });
    run_until_finished(1);
    EXPECT_EQ(at_body, (Told{"begin 1"}));
    EXPECT_EQ(state.said(), (Told{"begin 1", "end 1 complete"}));
    EXPECT_EQ(ear.told, (Told{"added 1", "finished 1"}));
}

TEST_F(JobRunnerTest, EndRecordIsWrittenBeforeTheEndIsTold) {
    Told at_end;
    runner.start(request("home", nothing()), [](Result<const Job*>) {});
    ear.on_finished = [&](const Job& job) {
        at_end = state.said();
        EXPECT_EQ(job.record().outcome, "complete");
        EXPECT_EQ(job.state(), JobState::done);
        loop.stop();
    };
    loop.run();
    EXPECT_EQ(at_end, (Told{"begin 1", "end 1 complete"}));
}

TEST_F(JobRunnerTest, CallersForTheSameSetGetTheSameJob) {
    std::vector<std::uint64_t> got;
    auto note = [&](Result<const Job*> job) { got.push_back((*job)->id()); };
    std::latch entered(1);
    runner.start(request("home",
                         [&](JobContext& job) {
                             entered.count_down();
                             return until_stopped()(job);
                         }),
                 [&](Result<const Job*> job) {
                     note(job);
                     // A third caller, while it runs.
                     runner.start(request("home", nothing()), note);
                     ASSERT_TRUE(runner.cancel((*job)->id()).ok());
                 });
    runner.start(request("home", nothing()), note);  // while its begin is being recorded
    run_until_finished(1);
    EXPECT_EQ(got, (std::vector<std::uint64_t>{1, 1, 1}));
    EXPECT_EQ(state.said().size(), 2u);
}

TEST_F(JobRunnerTest, OneWriterPerRepositoryTheOthersQueueInOrder) {
    std::mutex mutex;
    Told order;
    int inside = 0, most = 0;
    auto body = [&](const char* name) {
        return [&, name](JobContext&) {
            std::lock_guard lock(mutex);
            most = std::max(most, ++inside);
            order.push_back(name);
            --inside;
            return JobOutcome{};
        };
    };
    for (const char* name : {"a", "b", "c"})
        runner.start(request(name, body(name)), [this](Result<const Job*> job) { ignore(job); });
    run_until_finished(3);
    EXPECT_EQ(order, (Told{"a", "b", "c"}));
    EXPECT_EQ(ear.told,
              (Told{"added 1", "added 2", "added 3", "finished 1", "finished 2", "finished 3"}));
}

TEST_F(JobRunnerTest, ReadersRunBesideAWriter) {
    std::latch reader_ran(1);
    runner.start(request("home",
                         [&](JobContext&) {
                             reader_ran.wait();  // for ever, would the reader queue behind it
                             return JobOutcome{};
                         }),
                 [](Result<const Job*>) {});
    JobRequest reader;
    reader.kind = "restore";
    reader.repository = "main";
    reader.body = [&](JobContext&) {
        reader_ran.count_down();
        return JobOutcome{};
    };
    runner.start(std::move(reader), [](Result<const Job*>) {});
    run_until_finished(2);
    EXPECT_EQ(ear.told.size(), 4u);
}

TEST_F(JobRunnerTest, CancelledRunsAndQueuedOnesEndAsCancelled) {
    runner.start(request("a", until_stopped()), [](Result<const Job*>) {});
    bool ran = false;
    runner.start(request("b",
                         [&](JobContext&) {
                             ran = true;
                             return JobOutcome{};
                         }),
                 [&](Result<const Job*> job) {
                     EXPECT_EQ((*job)->state(), JobState::queued);
                     EXPECT_TRUE(runner.cancel((*job)->id()).ok());
                     EXPECT_TRUE(runner.cancel(1).ok());
                     EXPECT_TRUE(runner.cancel(1).ok());  // again is no error
                 });
    run_until_finished(2);
    EXPECT_FALSE(ran);
    EXPECT_EQ(state.job(1)->value().outcome, "cancelled");
    EXPECT_EQ(state.job(2)->value().outcome, "cancelled");
    EXPECT_EQ(runner.cancel(77).error().code(), ErrorCode::no_such_job);
}

TEST_F(JobRunnerTest, ShutDownEndsEverythingAsInterrupted) {
    runner.start(request("a", until_stopped()), [](Result<const Job*>) {});
    runner.start(request("b", nothing()), [&](Result<const Job*>) {
        runner.start(request("c", nothing()), [](Result<const Job*>) {});  // begin is in flight
        runner.shut_down([&] { loop.stop(); });
        runner.start(request("d", nothing()), [](Result<const Job*> job) {
            EXPECT_EQ(job.error().code(), ErrorCode::shutting_down);
        });
    });
    loop.run();
    EXPECT_EQ(runner.active(), 0u);
    for (std::uint64_t id : {1, 2, 3}) EXPECT_EQ(state.job(id)->value().outcome, "interrupted");
    EXPECT_FALSE(state.job(4)->has_value());
}

TEST_F(JobRunnerTest, WithoutABeginRecordNothingRuns) {
    state.refuse_begin = true;
    bool ran = false;
    runner.start(request("home",
                         [&](JobContext&) {
                             ran = true;
                             return JobOutcome{};
                         }),
                 [&](Result<const Job*> job) {
                     EXPECT_EQ(job.error().code(), ErrorCode::no_space);
                     loop.stop();
                 });
    loop.run();
    EXPECT_FALSE(ran);
    EXPECT_TRUE(ear.told.empty());
}

TEST_F(JobRunnerTest, ExceptionsAreCountedAndReported) {
    runner.start(request("home",
                         [](JobContext& job) {
                             job.exceptions.add("/home/x", Error(ErrorKind::denied, "open: no"));
                             job.message(LogLevel::debug, "half way");
                             JobOutcome outcome;
                             outcome.revision = "ab";
                             outcome.counts = {{"files-new", 3}};
                             return outcome;
                         }),
                 [](Result<const Job*>) {});
    run_until_finished(1);
    JobRecord record = state.job(1)->value();
    EXPECT_EQ(record.outcome, "exceptions");
    EXPECT_EQ(record.exceptions, 1u);
    EXPECT_EQ(record.revision, "ab");
    std::vector<JobLine> lines;
    ASSERT_TRUE(state
                    .each_line(1,
                               [&](const JobLine& line) {
                                   lines.push_back(line);
                                   return true;
                               })
                    .ok());
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_EQ(lines[0].message, "half way");
    EXPECT_EQ(lines[1].type, "exception");
    EXPECT_EQ(lines[1].object, "/home/x");
    EXPECT_EQ(lines[1].kind, "denied");
}

TEST_F(JobRunnerTest, FailureKeepsItsNameAndSentence) {
    runner.start(request("home",
                         [](JobContext&) {
                             JobOutcome outcome;
                             outcome.error = Error(ErrorKind::corrupt, "index 12: bad");
                             return outcome;
                         }),
                 [](Result<const Job*>) {});
    run_until_finished(1);
    JobRecord record = state.job(1)->value();
    EXPECT_EQ(record.outcome, "failed");
    EXPECT_EQ(record.error_name, "RepositoryDamaged");
    EXPECT_EQ(record.message, "index 12: bad");
}

TEST_F(JobRunnerTest, UnfinishedJobsOfADeadDaemonAreShownAsInterrupted) {
    JobRecord record;
    record.kind = "backup";
    record.set = "home";
    record.begin = clock.now();
    record.id = *state.begin_job(record);
    runner.adopt_interrupted(record);
    runner.start(request("other", nothing()), [](Result<const Job*>) {});
    run_until_finished(1);
    EXPECT_EQ(state.job(1)->value().outcome, "interrupted");
    EXPECT_EQ(state.set_record("home")->last_result, "interrupted");
    ASSERT_NE(runner.find(1), nullptr);
    EXPECT_TRUE(runner.find(1)->is_done());
}

class ShortMemory : public JobRunnerTest {
  protected:
    ShortMemory() : JobRunnerTest({.keep_ended = 1h, .most_ended = 2}) {}
};

TEST_F(ShortMemory, OnlyTheLatestEndedJobsStayEachRemovedOnce) {
    for (const char* name : {"a", "b", "c", "d"})
        runner.start(request(name,
                             [this](JobContext&) {
                                 clock.advance(1s);
                                 return JobOutcome{};
                             }),
                     [](Result<const Job*>) {});
    run_until_finished(4);
    loop.post([this] { loop.stop(); });
    loop.run();
    EXPECT_EQ(runner.find(1), nullptr);
    EXPECT_EQ(runner.find(2), nullptr);
    ASSERT_NE(runner.find(3), nullptr);
    EXPECT_EQ(std::ranges::count(ear.told, "removed 1"), 1);
    EXPECT_EQ(std::ranges::count(ear.told, "removed 2"), 1);
    EXPECT_EQ(std::ranges::count(ear.told, "removed 3"), 0);
}

class Stalling : public JobRunnerTest {
  protected:
    Stalling() : JobRunnerTest({.sample_period = 1ms}) {}
    std::size_t warnings(std::uint64_t job) {
        std::size_t count = 0;
        EXPECT_TRUE(state
                        .each_line(job,
                                   [&](const JobLine& line) {
                                       count +=
                                           line.message.find("no progress") != std::string::npos;
                                       return true;
                                   })
                        .ok());
        return count;
    }
};

TEST_F(Stalling, AJobThatStandsStillForTenMinutesIsToldOnceUntilItMoves) {
    runner.start(request("home", until_stopped()), [](Result<const Job*>) {});
    // Waits for its turn: that is no standing still.
    runner.start(request("other", until_stopped()), [](Result<const Job*>) {});
    Timestamp stood{};
    int step = 0;
    ear.on_changed = [&](const Job& job) {
        if (job.id() == 2) {
            EXPECT_FALSE(job.stalled_since());
            return;
        }
        switch (step++) {
            case 0:
                stood = clock.now();
                clock.advance(10min - 1s);
                break;
            case 1:
                EXPECT_FALSE(job.stalled_since());
                clock.advance(1s);
                break;
            case 2:
                ASSERT_TRUE(job.stalled_since());
                EXPECT_EQ(*job.stalled_since(), stood);
                clock.advance(10min);
                break;
            case 3:
                EXPECT_TRUE(job.stalled_since()) << "still";
                const_cast<Progress&>(job.progress()).items_done += 1;
                break;
            case 4:
                EXPECT_FALSE(job.stalled_since());
                must_cancel(2);
                must_cancel(1);
                break;
            default:
                break;
        }
    };
    run_until_finished(2);
    EXPECT_GE(step, 5);
    EXPECT_EQ(warnings(1), 1u);
    EXPECT_EQ(warnings(2), 0u);
}

// A body that uploads through its gate, like a backup that keeps what it has when it is stopped.
class HeldJob : public JobRunnerTest {
  protected:
    std::shared_ptr<Rates::Gate> gate =
        std::make_shared<Rates>(clock)->gate(Rates::Way::up, "home");
    JobRequest uploading() {
        JobRequest made = request("home", [gate = gate](JobContext&) {
            JobOutcome outcome;
            if (!gate->pass(100)) outcome.error = Error(ErrorKind::cancelled, "cut off");
            return outcome;
        });
        made.gate = gate;
        return made;
    }
};

TEST_F(HeldJob, UploadsNothingUntilItIsResumed) {
    gate->close();
    runner.start(uploading(), [this](Result<const Job*> job) {
        const std::uint64_t id = (*job)->id();
        runner.hold(id, "it is not the time");
        EXPECT_EQ(runner.find(id)->state(), JobState::paused);
        EXPECT_EQ(runner.find(id)->held_for(), "it is not the time");
        EXPECT_EQ(gate->passed(), 0u);
        runner.resume(id);
        EXPECT_EQ(runner.find(id)->state(), JobState::running);
    });
    run_until_finished(1);
    EXPECT_EQ(state.job(1)->value().outcome, "complete");
    EXPECT_EQ(gate->passed(), 100u);
}

TEST_F(HeldJob, ParkedEndsAsInterruptedWithTheReason) {
    gate->close();
    runner.start(uploading(), [this](Result<const Job*> job) {
        runner.park((*job)->id());  // not held: nothing happens
        runner.hold((*job)->id(), "it is not the time");
        runner.park((*job)->id());
    });
    run_until_finished(1);
    const JobRecord record = state.job(1)->value();
    EXPECT_EQ(record.outcome, "interrupted");
    EXPECT_EQ(record.error_name, "Paused");
    EXPECT_NE(record.message.find("it is not the time"), std::string::npos);
    EXPECT_TRUE(runner.find(1)->was_parked());
    EXPECT_EQ(gate->passed(), 0u);
}

TEST_F(HeldJob, CancelledOrShutDownWhileItIsHeldComesToItsEnd) {
    gate->close();
    runner.start(uploading(), [this](Result<const Job*> job) {
        runner.hold((*job)->id(), "it is not the time");
        EXPECT_TRUE(runner.cancel((*job)->id()).ok());
    });
    run_until_finished(1);
    EXPECT_EQ(state.job(1)->value().outcome, "cancelled");
    EXPECT_EQ(gate->passed(), 0u);
}

TEST(JobTest, GuessesItsEndFromTheRate) {
    TestClock clock;
    Job job({}, {});
    auto& progress = const_cast<Progress&>(job.progress());
    progress.bytes_total = 1000;
    job.sample(clock.now(), clock.monotonic());
    for (int i = 1; i <= 5; ++i) {
        clock.advance(1s);
        progress.bytes_done = static_cast<std::uint64_t>(i) * 100;
        job.sample(clock.now(), clock.monotonic());
    }
    EXPECT_EQ(job.rate(), 100u);
    ASSERT_TRUE(job.expected_end().has_value());
    EXPECT_EQ(*job.expected_end(), clock.now() + 5s);
}

}  // namespace
}  // namespace backup
