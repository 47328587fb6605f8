#include "daemon/tracking/scrub_pass.h"

#include <algorithm>

#include "common/log.h"
#include "common/pause.h"
#include "daemon/restore/restore.h"
#include "daemon/tracking/content_check.h"

namespace backup {

namespace {

// A call that writes moves ctime when it begins and raises its event when it ends: what looks
// missed is looked at again after this time.
constexpr Duration kPatience = std::chrono::seconds(5);
// The disk is ours for a fifth of the time at most.
constexpr int kRestShare = 4;
constexpr Duration kBusyPause = std::chrono::seconds(1);
// Beyond this the pass waits for its suspects: a tracker that misses that much is broken anyway.
constexpr std::size_t kMostSuspects = 10'000;

bool same_time(const FileTime& time, std::int64_t nanoseconds) {
    std::int64_t rest = nanoseconds % 1'000'000'000;
    std::int64_t seconds = nanoseconds / 1'000'000'000;
    if (rest < 0) {
        rest += 1'000'000'000;
        --seconds;
    }
    return time.seconds == seconds && static_cast<std::int64_t>(time.nanoseconds) == rest;
}

bool is_as_stored(const Node& node, const HeldState& now) {
    return node.inode == now.inode && node.size == now.size && same_time(node.mtime, now.mtime_ns);
}

}  // namespace

ScrubPass::ScrubPass(TrackerHost& host, const Clock& clock, Input input, Judge judge)
    : host_(host), clock_(clock), input_(std::move(input)), judge_(std::move(judge)) {}

void ScrubPass::run(std::stop_token stop) {
    stop_ = stop;
    auto base = host_.base_of(input_.set);
    if (!base.ok() || !*base) return;
    SurveyRequest request;
    request.set = &input_.definition;
    request.revision = (**base).revision;
    for (const std::string& place : input_.never_enter)
        if (auto path = Path::parse(place); path.ok())
            request.never_enter.push_back(std::move(*path));
    request.absent = input_.absent;
    request.threads = 1;
    request.clock = &clock_;
    std::uint64_t objects = 1;
    if (const auto& summary = (**base).revision.snapshot.summary)
        objects = std::max<std::uint64_t>(summary->total_files_processed, 1);
    // The whole pass takes the whole period.
    const Duration each = input_.period / static_cast<std::int64_t>(objects + 1);
    request.pace = [&](std::uint64_t entries) {
        const MonotonicTime end =
            clock_.monotonic() + each * static_cast<std::int64_t>(entries + 1);
        check_samples();
        pause_until(end);
    };
    request.found = [&](const SurveyFinding& finding) {
        suspect(join_path(finding.directory, finding.name), false);
    };
    const auto pass = static_cast<std::uint64_t>(
        std::max<std::int64_t>(clock_.now().time_since_epoch() / input_.period, 0));
    request.is_sample = [this, pass](std::uint64_t inode) {
        return is_in_share(inode, pass, input_.content_percent);
    };
    request.sample = [this](const std::string& path) { samples_.push_back(path); };
    Progress progress;
    auto surveyed = run_survey(request, *(**base).repository, progress, stop);
    if (!surveyed.ok() && surveyed.error().kind() != ErrorKind::cancelled)
        log_warning("the scrub of set '" + input_.set + "' ended: " + surveyed.error().message());
    base = std::optional<TrackerHost::Base>();
    check_samples();
    while (!suspects_.empty() && !stop_.stop_requested()) pause_until(suspects_.front().check_at);
}

void ScrubPass::suspect(const std::string& path, bool is_content) {
    if (suspects_.size() >= kMostSuspects) return;  // found again in the next pass
    suspects_.push_back({path, held_state(path), is_content, clock_.monotonic() + kPatience});
}

void ScrubPass::pause_until(MonotonicTime end) {
    for (;;) {
        judge_due();
        MonotonicTime next = end;
        if (!suspects_.empty()) next = std::min(next, suspects_.front().check_at);
        const Duration left = next - clock_.monotonic();
        if (left.count() > 0) pause_for(stop_, left);
        if (stop_.stop_requested() || clock_.monotonic() >= end) return judge_due();
    }
}

void ScrubPass::judge_due() {
    while (!suspects_.empty() && suspects_.front().check_at <= clock_.monotonic() &&
           !stop_.stop_requested()) {
        const Suspect suspect = std::move(suspects_.front());
        suspects_.pop_front();
        judge(suspect);
    }
}

void ScrubPass::judge(const Suspect& suspect) {
    auto commits = judge_.unmarked(suspect.path);
    if (!commits || held_state(suspect.path) != suspect.seen) return;
    auto kind = difference(suspect);
    if (kind) judge_.missed({*kind, suspect.path, suspect.seen, *commits});
}

// From the newest revision.
std::optional<Missed::Kind> ScrubPass::difference(const Suspect& suspect) {
    auto base = host_.base_of(input_.set);
    if (!base.ok() || !*base) return std::nullopt;
    Repository& repository = *(**base).repository;
    auto node = find_node(repository, (**base).revision.snapshot.tree, suspect.path);
    if (!node.ok() && node.error().kind() != ErrorKind::not_found) return std::nullopt;
    const bool was_there = node.ok(), is_there = suspect.seen.has_value();
    if (!was_there && !is_there) return std::nullopt;
    if (was_there != is_there) return Missed::Kind::change;
    const bool is_file = node->node.type == NodeType::file;
    const bool same_content = is_as_stored(node->node, *suspect.seen);
    if (!same_content) return is_file ? Missed::Kind::change : Missed::Kind::metadata;
    if (!same_time(node->node.ctime, suspect.seen->ctime_ns)) return Missed::Kind::metadata;
    if (!suspect.is_content) return std::nullopt;
    auto answer = check_content(
        suspect.path, *suspect.seen, node->node, repository.blobs(),
        [this](Duration took) { rest(took); }, stop_);
    if (answer == ContentAnswer::differs) return Missed::Kind::content;
    return std::nullopt;
}

// Between two directories, when none is open.
void ScrubPass::check_samples() {
    if (samples_.empty()) return;
    std::vector<std::string> samples = std::move(samples_);
    samples_.clear();
    auto base = host_.base_of(input_.set);
    if (!base.ok() || !*base) return;
    Repository& repository = *(**base).repository;
    for (const std::string& path : samples) {
        if (stop_.stop_requested()) return;
        auto seen = held_state(path);
        auto node = find_node(repository, (**base).revision.snapshot.tree, path);
        // What stamps tell is found by the comparison.
        if (!seen || !node.ok() || !is_as_stored(node->node, *seen) ||
            !same_time(node->node.ctime, seen->ctime_ns))
            continue;
        auto answer = check_content(
            path, *seen, node->node, repository.blobs(), [this](Duration took) { rest(took); },
            stop_);
        if (answer == ContentAnswer::differs) suspect(path, true);
    }
}

// Slow on purpose, and not at all while a run wants the disk.
void ScrubPass::rest(Duration took) {
    MonotonicTime end = clock_.monotonic() + took * kRestShare;
    while (!stop_.stop_requested()) {
        if (judge_.is_busy()) end = clock_.monotonic() + kBusyPause;
        const Duration left = end - clock_.monotonic();
        if (left.count() <= 0) return;
        pause_for(stop_, left);
    }
}

}  // namespace backup
