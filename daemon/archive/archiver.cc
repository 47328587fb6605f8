#include "daemon/archive/archiver.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include <sys/resource.h>

#include "daemon/archive/checkpoints.h"
#include "daemon/archive/walk.h"
#include "daemon/runtime/thread_priority.h"
#include "daemon/runtime/worker_pool.h"

namespace backup {

namespace {

constexpr std::chrono::milliseconds kMostAlone{3};
constexpr std::chrono::hours kAllTheTime{24 * 365};

unsigned cores() {
    return std::max(1u, std::thread::hardware_concurrency());
}

// More threads than cores: with a cold cache most of them wait for the disk.
unsigned chosen_threads(unsigned asked) {
    return asked != 0 ? std::min(asked, 64u) : std::clamp(2 * cores(), 8u, 32u);
}

// Large files keep the processors busy with few threads, and each thread that compresses long
// chunks holds some 12 MiB for it.
unsigned chosen_large_workers() {
    return std::min(cores() + 1, 16u);
}

// Two are being filled, one per core is being stored, one waits.
std::size_t chosen_buffers() {
    return std::min(3 + cores(), 16u);
}

// A share of what the process may open: the repository, the bus and the watchers need theirs.
std::size_t chosen_open_directories() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 64;
    return std::clamp<std::size_t>(limit.rlim_cur / 8, 2, 512);
}

void add_counts(BackupCounts& to, const BackupCounts& from) {
    to.files_new += from.files_new;
    to.files_changed += from.files_changed;
    to.files_unmodified += from.files_unmodified;
    to.dirs_new += from.dirs_new;
    to.dirs_changed += from.dirs_changed;
    to.dirs_unmodified += from.dirs_unmodified;
    to.dirs_read += from.dirs_read;
    to.files_read += from.files_read;
    to.bytes_read += from.bytes_read;
    to.files_resumed += from.files_resumed;
    to.bytes_resumed += from.bytes_resumed;
    to.total_bytes += from.total_bytes;
}

}  // namespace

Result<ArchiveOutcome> archive_tree(const ArchiveInput& input, std::stop_token stop) {
    const bool is_slow = input.survey != nullptr && input.survey->pace;
    Walk walk(input, stop, chosen_buffers(), is_slow ? 0 : chosen_open_directories());
    for (const std::string& path : input.absent)
        if (auto kept = walk.parent_trees.find(path); kept && kept->device != 0)
            walk.absent_devices.push_back(kept->device);
    auto cancelled = [] {
        return Error(ErrorKind::cancelled, ErrorCode::cancelled, "the backup was cancelled");
    };
    std::stop_callback on_stop(stop, [&] { walk.queue.fail(cancelled()); });

    // Threads only for those walks that last: a run with ten changes is over before eight have come
    // up.
    std::vector<std::unique_ptr<WalkWorker>> workers;
    auto add_worker = [&] {
        bool large_too = workers.size() < chosen_large_workers();
        workers.push_back(std::make_unique<WalkWorker>(walk, large_too));
    };
    add_worker();
    Checkpoints checkpoints(walk, [&] {
        Checkpoints::Covered covered;
        for (const auto& worker : workers) {
            const BackupCounts& counts = worker->counts();
            covered.files += counts.files_new + counts.files_changed + counts.files_unmodified;
            covered.bytes += counts.total_bytes;
        }
        return covered;
    });
    workers[0]->enter_root();
    // A measuring has an order.
    workers[0]->run_alone(input.measure != nullptr ? kAllTheTime : kMostAlone);
    if (!walk.queue.ended()) {
        while (workers.size() < chosen_threads(input.threads)) add_worker();
        auto work = [&](std::stop_token, unsigned worker) {
            // Behind the uploaders: while a full pack waits for a processor, its memory is not
            // free and soon every worker waits for it.
            give_way_to_other_threads();
            workers[worker]->run();
        };
        if (input.checkpoints != nullptr) checkpoints.start();
        WorkerPool pool("archive-", static_cast<unsigned>(workers.size()), work);
        if (pool.size() == 0) return Error(ErrorKind::io, "no thread could be started");
        pool.join();
        checkpoints.stop();
    }
    if (stop.stop_requested()) {
        if (input.checkpoints != nullptr) checkpoints.make_last();
        return cancelled();
    }
    if (auto error = walk.queue.error()) return std::move(*error);

    ArchiveOutcome outcome;
    outcome.tree = *walk.queue.root();
    ParentCounts before;
    ChangeWitness witness;
    for (const auto& worker : workers) {
        add_counts(outcome.counts, worker->counts());
        before.merge(worker->parent_counts());
        witness.merge(worker->witness());
        outcome.compared += worker->compared();
        if (input.measure != nullptr) outcome.measured = worker->measured();
        outcome.read_back.insert(outcome.read_back.end(), worker->read_back().begin(),
                                 worker->read_back().end());
    }
    if (input.survey == nullptr) {
        ParentCounts::Sum sum = before.sum(input.source, input.look_at == nullptr, stop);
        outcome.files_before = sum.files;
        outcome.bytes_before = sum.bytes;
        outcome.directories_before =
            sum.directories_gone + outcome.counts.dirs_changed + outcome.counts.dirs_unmodified;
        outcome.counts.files_removed = sum.files_removed;
        outcome.signs = witness.signs();
        const MatchedMarks matched = match_marks(std::move(sum.removed_marks), witness.take_came());
        outcome.signs.moved = matched.moved;
        outcome.signs.renamed = matched.renamed;
        outcome.signs.removed =
            sum.files_removed - std::min(sum.files_removed, matched.moved + matched.renamed);
        if (stop.stop_requested()) return cancelled();
    }
    outcome.counts.total_files =
        outcome.counts.files_new + outcome.counts.files_changed + outcome.counts.files_unmodified;
    return outcome;
}

}  // namespace backup
