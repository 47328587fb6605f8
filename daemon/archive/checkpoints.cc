#include "daemon/archive/checkpoints.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "common/failpoint.h"
#include "common/log.h"

namespace backup {

namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(200);
constexpr int kMostShare = 20;  // of the time: a twentieth
constexpr std::uint64_t kHundred = 100;
// A list that is longer would be kept and carried for a source that nothing can be said of.
constexpr std::size_t kMostUnsettled = 100'000;
// 1 TiB of a file; more would be much to write each time.
constexpr std::size_t kMostChunks = std::size_t{1} << 20;

}  // namespace

void Checkpoints::start() {
    last_ = walk_.input.clock.monotonic();
    thread_ = std::jthread([this](std::stop_token stop) { run(std::move(stop)); });
}

void Checkpoints::stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
}

void Checkpoints::run(std::stop_token stop) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
        never.wait_for(lock, stop, kLookEvery, [] { return false; });
        if (stop.stop_requested() || walk_.queue.ended()) return;
        if (is_due(walk_.input.clock.monotonic())) make();
    }
}

bool Checkpoints::is_due(MonotonicTime now) const {
    const CheckpointPace& pace = walk_.input.checkpoints->pace;
    const std::uint64_t read = walk_.bytes_read.load(std::memory_order_relaxed);
    const std::uint64_t fresh = read - bytes_at_last_;
    const Duration passed = now - last_;
    if (fresh == 0 || passed < kMostShare * cost_) return false;
    return fresh >= std::max(pace.bytes, read / kHundred) || passed >= pace.period;
}

void Checkpoints::make() {
    const std::uint64_t read = walk_.bytes_read.load(std::memory_order_relaxed);
    Result<> kept;
    const MonotonicTime begun = walk_.input.clock.monotonic();
    Result<Checkpoint> checkpoint = collect();
    cost_ = walk_.input.clock.monotonic() - begun;
    if (!checkpoint.ok())
        kept = std::move(checkpoint).error();
    else
        kept = walk_.input.checkpoints->keep(*checkpoint);
    last_ = walk_.input.clock.monotonic();
    bytes_at_last_ = read;
    if (kept.ok()) {
        has_failed_ = false;
        (void)failpoint("backup.checkpoint");
    } else if (!has_failed_ && kept.error().kind() != ErrorKind::cancelled) {
        has_failed_ = true;
        log_warning("what the backup has done so far could not be kept: " + kept.error().message());
    }
}

void Checkpoints::make_last() {
    stop();
    if (walk_.bytes_read.load(std::memory_order_relaxed) == bytes_at_last_) return;
    walk_.input.checkpoints->wind_up();
    make();
}

Result<Checkpoint> Checkpoints::collect() {
    Checkpoint checkpoint;
    WalkGate::Closed closed(walk_.gate);
    {
        std::lock_guard lock(walk_.mutex);
        if (walk_.unsettled.size() > kMostUnsettled)
            return Error(ErrorKind::io, "too many files change while they are read");
        checkpoint.unsettled = walk_.unsettled;
    }
    // Before the trees: a file that is completed meanwhile is then in one of both.
    for (const std::shared_ptr<ReadPass>& pass : walk_.passes_under_way()) {
        HalfFile half;
        half.inode = pass->status.stx_ino;
        half.size = pass->status.stx_size;
        half.mtime = file_time(pass->status.stx_mtime);
        half.ctime = file_time(pass->status.stx_ctime);
        std::lock_guard lock(pass->mutex);
        for (std::size_t i = 0; i < pass->content.size() && pass->is_stored[i]; ++i) {
            half.content.push_back(pass->content[i]);
            half.bytes = pass->ends[i];
        }
        if (half.content.empty() || half.content.size() > kMostChunks) continue;
        half.path = pass->path;
        checkpoint.bytes += half.bytes;
        checkpoint.half.push_back(std::move(half));
    }
    const Covered covered = covered_();
    checkpoint.files = covered.files;
    checkpoint.bytes += covered.bytes;

    partial_.clear();
    BlobId root;
    // Newest first, so children before their parents; the root is the oldest.
    for (const Directory* directory : walk_.queue.directories()) {
        root = TRY(save_partial(*directory));
        if (directory->slot != nullptr) partial_.emplace(directory->slot, root);
    }
    checkpoint.tree = root;
    return checkpoint;
}

Result<BlobId> Checkpoints::save_partial(const Directory& directory) {
    Bytes json;
    if (!directory.joined.empty()) {
        json = directory.joined;
    } else {
        append(json, as_bytes(kTreeBegin));
        for (const Fragment& fragment : directory.fragments) {
            const bool is_first = &fragment == &directory.fragments.front();
            std::size_t at = is_first ? std::min(kTreeBegin.size(), fragment.out.size()) : 0;
            auto copy_until = [&](std::size_t end) {
                append(json, ByteView(fragment.out).subspan(at, end - at));
                at = end;
            };
            auto child = fragment.children.begin();
            auto children_until = [&](std::size_t end) {
                for (; child != fragment.children.end() && child->begin < end; ++child) {
                    if (child->has_tree) continue;
                    copy_until(child->begin);
                    if (auto found = partial_.find(&*child); found != partial_.end()) {
                        copy_until(child->id_at);
                        append(json, as_bytes(found->second.hex()));
                        at += 2 * BlobId::kSize;
                        copy_until(child->end);
                    }
                    at = child->end;
                }
            };
            for (const LargeFile& file : fragment.large) {
                children_until(file.at);
                copy_until(file.at);
                append(json, file.node);
            }
            children_until(fragment.out.size());
            copy_until(fragment.out.size());
        }
        if (json.back() == ',') json.pop_back();
        append(json, as_bytes("]}\n"));
    }
    SavedBlob saved = TRY(walk_.input.sink.save(BlobType::tree, json));
    return saved.id;
}

}  // namespace backup
