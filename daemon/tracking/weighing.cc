// How much waits, told while it waits: weighed on a thread of its own, a moment after something
// changed, at a pace that costs next to nothing however much changes.
#include <algorithm>
#include <set>

#include "common/failpoint.h"
#include "daemon/restore/restore.h"
#include "daemon/tracking/inode_names.h"
#include "daemon/tracking/tracker_impl.h"

namespace backup {

namespace {

constexpr Duration kSoon = std::chrono::milliseconds(200);
constexpr Duration kPause = std::chrono::seconds(2);
constexpr int kMostShare = 50;  // pauses are this much longer than the work
// The names of a revision come from a repository that may be far away.
constexpr Duration kLookBackPause = std::chrono::seconds(10);
constexpr Duration kLongPause = std::chrono::minutes(10);
// Beyond, names that came and went wait like others.
constexpr std::size_t kMostPassed = 100'000;

class Revision {
  public:
    Revision(TrackerHost& host, std::string set, std::string expected)
        : host_(host), set_(std::move(set)), expected_(std::move(expected)) {}

    std::optional<std::unordered_set<std::string>> names(const std::string& directory) {
        if (!is_there()) return std::nullopt;
        Repository& repository = *base_->repository;
        auto node = find_node(repository, base_->revision.snapshot.tree, directory);
        std::unordered_set<std::string> names;
        if (!node.ok()) {
            if (node.error().kind() == ErrorKind::not_found) return names;
            return std::nullopt;
        }
        if (node->node.type != NodeType::dir) return names;
        auto done = visit_nodes(repository, *node, false,
                                [&](const std::string&, const Node& child) -> Result<> {
                                    names.insert(child.name);
                                    return {};
                                },
                                {});
        if (!done.ok()) return std::nullopt;
        return names;
    }

    std::optional<std::unordered_set<std::uint64_t>> known_inodes(
        const std::vector<std::uint64_t>& inodes, std::stop_token stop) {
        if (!is_there()) return std::nullopt;
        auto found = names_of_inodes(base_->repository->blobs(), base_->revision.snapshot.tree,
                                     inodes, std::move(stop));
        if (!found.ok()) return std::nullopt;
        std::unordered_set<std::uint64_t> known;
        for (const auto& [inode, path] : *found) known.insert(inode);
        return known;
    }

  private:
    bool is_there() {
        if (!std::exchange(is_asked_, true)) {
            auto base = host_.base_of(set_);
            if (base.ok() && *base && (**base).revision.id.hex() == expected_)
                base_ = std::move(*base);
        }
        return base_.has_value();
    }

    TrackerHost& host_;
    const std::string set_, expected_;
    bool is_asked_ = false;
    std::optional<TrackerHost::Base> base_;
};

}  // namespace

void TrackerImpl::mark_passed(SetState& state) {
    const Timestamp now = clock_.now();
    for (const auto& [place, name] : std::exchange(state.passed, {}))
        state.tracked.queue().mark_name(place.first, place.second, name, false, false, now);
}

void TrackerImpl::start_weighing() {
    if (is_weighing_) return;
    MonotonicTime now = clock_.monotonic();
    for (auto& [id, state] : sets_) {
        if (state->tracked.queue().empty()) state->weighed = {.next = state->weighed.next};
        if (state->is_weighed()) continue;
        if (state->weighed.next == MonotonicTime{}) state->weighed.next = now + kSoon;
        if (state->weighed.next > now) continue;
        is_weighing_ = true;
        WaitingSample sample = sample_of(state->tracked.queue());
        bool may_look_back = !state->tracked.needs_scan() && state->running.expired() &&
                             state->weighed.next_look_back <= now;
        state->weighed.is_looking_back = may_look_back;
        if (weigher_.joinable()) weigher_.join();
        weigher_ = std::jthread(
            [this, began = now, set = id, may_look_back, sample = std::move(sample),
             resolver = resolver_of(watchers_of(*state)), base = state->tracked.base().revision,
             commits = state->commits, runs = state->runs,
             generation = state->tracked.queue().generation()](std::stop_token stop) {
                Revision revision(host_, set, base);
                Weight weight = weigh(sample, resolver,
                                      [&](const std::string& directory)
                                          -> std::optional<std::unordered_set<std::string>> {
                                          if (!may_look_back) return std::nullopt;
                                          return revision.names(directory);
                                      });
                auto strangers =
                    strangers_among(sample.objects, resolver,
                                    [&](const std::vector<std::uint64_t>& inodes)
                                        -> std::optional<std::unordered_set<std::uint64_t>> {
                                        if (!may_look_back) return std::nullopt;
                                        return revision.known_inodes(inodes, stop);
                                    });
                if (!strangers) weight.unknown += sample.objects.size();
                (void)failpoint("weighed");
                Weighing done{
                    set, commits, generation, runs, std::move(weight), sample.is_partial(), {}, {}};
                if (strangers) done.strangers = std::move(*strangers);
                done.took = clock_.monotonic() - began;
                post([this, done = std::move(done)] { weighed(done); });
            });
        return;
    }
}

void TrackerImpl::weighed(const Weighing& done) {
    const Weight& weight = done.weight;
    is_weighing_ = false;
    SetState* state = find(done.set);
    // Compared with what is not the last revision any more, or not of this set as it is now.
    if (state == nullptr || state->commits != done.commits) return;
    state->weighed.generation = done.generation;
    state->weighed.bytes = weight.bytes;
    state->weighed.nothing = weight.nothing_count;
    state->weighed.is_partial = done.is_partial;
    MonotonicTime now = clock_.monotonic();
    const Duration rest = done.took * kMostShare;
    state->weighed.next = now + std::max<Duration>(kPause, rest);
    if (state->weighed.is_looking_back)
        state->weighed.next_look_back =
            now + std::max<Duration>(weight.unknown != 0 ? kLongPause : kLookBackPause, rest);
    if (state->tracked.needs_scan()) return;
    if (weight.unknown != 0) {  // asked again then, also if nothing else changes
        state->weighed.generation = 0;
        state->weighed.next = std::max(state->weighed.next, state->weighed.next_look_back);
    }
    // A run may have seen a name that is gone now: what it makes of it is not known here.
    if (state->runs != done.runs || !state->running.expired()) return;
    for (const WaitingSample::Object& stranger : done.strangers)
        state->tracked.queue().drop_object(stranger.volume, stranger.handle, stranger.generation);
    if (state->tracked.queue().empty()) state->last_change.reset();
    // A directory that was renamed meanwhile was looked for in the revision where it is now, and
    // not where it was: no name is known to be of nothing then.
    std::set<VolumeId> volumes;
    for (const WaitingSample::Name& name : weight.nothing) volumes.insert(name.volume);
    for (const VolumeId& id : volumes) {
        auto volume = volumes_.find(id);
        if (volume == volumes_.end()) return;
        drain(volume->second, true);
    }
    if (state->tracked.needs_scan()) return;
    ChangeQueue& queue = state->tracked.queue();
    for (const VolumeId& id : volumes) {
        auto marks = queue.volumes().find(id);
        if (marks != queue.volumes().end() && has_renames(marks->second)) return;
    }
    const std::uint64_t before = queue.size();
    for (const WaitingSample::Name& name : weight.nothing) {
        if (state->passed.size() >= kMostPassed) break;
        state->passed.try_emplace({name.volume, name.directory}, name.name);
        queue.drop_name(name.volume, name.directory, name.name, name.generation);
    }
    state->weighed.nothing -= std::min<std::uint64_t>(weight.nothing.size(), weight.nothing_count);
    if (queue.empty()) state->last_change.reset();
    // Another part of them, now that there are fewer.
    if (state->weighed.is_partial && queue.size() < before) state->weighed.generation = 0;
}

}  // namespace backup
