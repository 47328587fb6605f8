// The scrubber's part on the tracker's thread: when a pass begins, and whether what it found was
// missed.
#include <algorithm>

#include "common/log.h"
#include "common/path.h"
#include "daemon/tracking/look_plan.h"
#include "daemon/tracking/tracker_impl.h"

namespace backup {

namespace {

using tracking::name_of;
using tracking::parent_of;

constexpr Duration kScrubPause = std::chrono::seconds(60);

}  // namespace

void TrackerImpl::start_scrub() {
    if (options_.scrub_period.count() == 0 || !scrubbing_set_.empty()) return;
    const MonotonicTime now = clock_.monotonic();
    for (auto& [id, state] : sets_) {
        if (state->tracked.needs_scan() || !state->has_base) continue;
        if (state->next_scrub == MonotonicTime{})
            state->next_scrub = now + options_.scrub_period / 24;
        if (state->next_scrub > now) continue;
        scrubbing_set_ = id;
        ScrubPass::Input input{id,           state->tracked.set(),  state->absent,
                               never_enter_, options_.scrub_period, options_.scrub_content_percent};
        scrubber_ = std::jthread([this, set = id, input = std::move(input)](std::stop_token stop) {
            ScrubPass pass(host_, clock_, input,
                           {[this, set](const std::string& path) { return unmarked(set, path); },
                            [this, set](const Missed& missed) { note_missed(set, missed); },
                            [this] { return runs_.load() != 0; }});
            pass.run(std::move(stop));
            post([this, set] { scrub_ended(set); });
        });
        return;
    }
}

void TrackerImpl::scrub_ended(const std::string& set) {
    scrubbing_set_.clear();
    if (scrubber_.joinable()) scrubber_.join();
    if (SetState* state = find(set))
        state->next_scrub =
            clock_.monotonic() + std::min<Duration>(kScrubPause, options_.scrub_period);
}

// All marks that make a run look at what is at this path, or at something above it.
void TrackerImpl::each_mark_over(const SetState& state, const std::string& path,
                                 const std::function<void(const MarkOver&)>& visit) {
    using Kind = MarkOver::Kind;
    const auto& volumes = state.tracked.queue().volumes();
    VolumeId last;
    auto marks_of = [&](const std::string& directory) -> const DirectoryMarks* {
        auto place = place_of(directory);
        if (!place) return nullptr;
        auto volume = volumes.find(place->first);
        if (volume == volumes.end()) return nullptr;
        if (std::exchange(last, place->first) != place->first && volume->second.has_everything())
            visit({&volume->second.everything, Kind::everything, false});
        if (volume->second.origins.contains(place->second)) visit({nullptr, Kind::renamed, false});
        auto marks = volume->second.directories.find(place->second);
        return marks == volume->second.directories.end() ? nullptr : &marks->second;
    };
    auto tell = [&](const Mark* mark, Kind kind, bool is_direct) {
        if (mark != nullptr) visit({mark, kind, is_direct});
    };
    if (const DirectoryMarks* own = marks_of(path)) {
        tell(own->itself(), Kind::itself, true);
        tell(own->listing(), Kind::listing, true);
        tell(own->subtree(), Kind::subtree, true);
    }
    std::string below = path;
    bool is_parent = true;
    while (below != "/" && !below.empty()) {
        std::string directory(parent_of(below));
        if (const DirectoryMarks* marks = marks_of(directory)) {
            tell(marks->names.find(name_of(below)), Kind::name, is_parent);
            if (is_parent) tell(marks->listing(), Kind::listing, false);
            tell(marks->subtree(), Kind::subtree, false);
        }
        is_parent = false;
        below = std::move(directory);
    }
}

// True: the next run looks at it, and knows that it must.
bool TrackerImpl::is_asked_for(const SetState& state, const std::string& path) {
    bool is_asked_for = false;
    each_mark_over(state, path, [&](const MarkOver& over) {
        // A name above leads below it only if all of that was asked for.
        const bool is_above = over.kind == MarkOver::Kind::name && !over.is_direct;
        is_asked_for = is_asked_for || !is_above || over.mark->deep;
    });
    return is_asked_for;
}

// From the scrubber's thread.
std::optional<std::uint64_t> TrackerImpl::unmarked(const std::string& set,
                                                   const std::string& path) {
    std::optional<std::uint64_t> commits;
    ask([&] {
        SetState* state = find(set);
        if (state == nullptr || state->tracked.needs_scan()) return;
        // The paths of the set themselves are looked at by every run.
        const std::string directory(parent_of(path));
        if (state->tracked.scope().of_directory(directory) != Scope::Place::inside) return;
        for (auto& [id, volume] : volumes_)
            if (volume.sets.contains(set)) drain(volume, true);
        if (state->tracked.needs_scan() || is_asked_for(*state, path)) return;
        commits = state->commits;
    });
    return commits;
}

// From the scrubber's thread.
void TrackerImpl::note_missed(const std::string& set, const Missed& missed) {
    ask([&] {
        SetState* state = find(set);
        if (state == nullptr || state->commits != missed.commits) return;
        TrackedSet& tracked = state->tracked;
        for (auto& [id, volume] : volumes_)
            if (volume.sets.contains(set)) drain(volume, true);
        // A run that is at it may have taken it already.
        if (tracked.needs_scan() || !state->running.expired() ||
            is_asked_for(*state, missed.path) || held_state(missed.path) != missed.seen)
            return;
        auto place = place_of(std::string(parent_of(missed.path)));
        if (!place) return;
        switch (missed.kind) {
            case Missed::Kind::metadata:
                ++tracked.silent_metadata;
                break;
            case Missed::Kind::change:
                ++tracked.missed_changes;
                break;
            case Missed::Kind::content:
                ++tracked.missed_changes;
                ++tracked.missed_content;
                break;
        }
        if (missed.kind != Missed::Kind::metadata) {
            host_.tracking_message(LogLevel::error,
                                   "a change in set '" + set +
                                       "' was missed and is found only now: the next run has it; "
                                       "please report it");
            log_debug("missed in set '" + set + "': " + printable(missed.path));
        }
        const Timestamp now = clock_.now();
        tracked.queue().mark_name(place->first, place->second, name_of(missed.path),
                                  missed.kind != Missed::Kind::metadata,
                                  missed.kind == Missed::Kind::content, now);
        state->last_change = now;
    });
}

}  // namespace backup
