#include "daemon/tracking/past_paths.h"

#include <algorithm>

#include "daemon/tracking/look_plan.h"

namespace backup::tracking {

namespace {

// For a pattern that speaks of a path: the part of it before the first wildcard, whole components.
// Nothing: it speaks of names at any depth, which a rename above does not change.
std::optional<std::string> anchor_of(std::string_view pattern) {
    if (pattern.starts_with('!')) pattern.remove_prefix(1);
    std::size_t slash = pattern.find('/');
    if (slash == std::string_view::npos || slash + 1 == pattern.size()) return std::nullopt;
    if (pattern.starts_with('/')) pattern.remove_prefix(1);
    std::string anchor = "/";
    while (!pattern.empty()) {
        std::size_t end = std::min(pattern.find('/'), pattern.size());
        std::string_view component = pattern.substr(0, end);
        if (component.find_first_of("*?[\\") != std::string_view::npos) break;
        if (!component.empty()) anchor = child_of(anchor, component);
        pattern.remove_prefix(std::min(end + 1, pattern.size()));
    }
    return anchor;
}

}  // namespace

PastPaths::PastPaths(const LookAtInput& input) : input_(input) {
    for (const auto& [id, marks] : input.marks->volumes) volumes_[id].marks = &marks;
    for (auto& [id, volume] : volumes_) {
        volume.moved.reserve(volume.marks->origins.size());
        for (const auto& [handle, origin] : volume.marks->origins) {
            Moved& moved = volume.moved[handle];
            moved.origin = &origin;
            moved.present = path_of(id, handle);
            if (moved.present) by_present_[*moved.present] = {&volume, &id, &moved};
        }
    }
    if (input.exclude != nullptr)
        for (const std::string& pattern : input.exclude->patterns)
            if (auto anchor = anchor_of(pattern)) anchors_.push_back(std::move(*anchor));
}

const std::optional<std::string>& PastPaths::path_of(const VolumeId& id,
                                                     const ObjectHandle& handle) {
    auto known = volumes_.find(id);
    if (known == volumes_.end()) return none_;
    auto [at, is_new] = known->second.paths.try_emplace(handle);
    if (is_new && input_.resolver.path_of) at->second = input_.resolver.path_of(id, handle);
    return at->second;
}

bool PastPaths::is_in_set(const std::string& path) const {
    return std::any_of(input_.paths.begin(), input_.paths.end(),
                       [&](const Path& of_set) { return is_below(path, of_set.text()); });
}

bool PastPaths::may_change_rules(const std::string& present, const std::string& past) const {
    auto speaks_of = [](const std::string& anchor, const std::string& path) {
        return is_below(anchor, path) || is_below(path, anchor);
    };
    return std::any_of(anchors_.begin(), anchors_.end(), [&](const std::string& anchor) {
        return speaks_of(anchor, present) || speaks_of(anchor, past);
    });
}

PastPaths::Answer PastPaths::of_directory(const VolumeId& id, const ObjectHandle& handle) {
    Volume& volume = volumes_.at(id);
    Moved& moved = volume.moved.at(handle);
    Past past = past_of(volume, id, moved);
    Answer answer{past.path, Sure::no};
    bool may_have_been_out = volume.marks->left_scope != 0;
    if (may_have_been_out) return answer;
    if (moved.origin->kind == DirectoryOrigin::Kind::born) {
        if (!moved.origin->moved) answer.sure = Sure::born;
        return answer;
    }
    if (past.path && past.is_certain && moved.present && is_in_set(*past.path) &&
        !may_change_rules(*moved.present, *past.path))
        answer.sure = Sure::yes;
    return answer;
}

PastPaths::Past PastPaths::past_of(Volume& volume, const VolumeId& id, const ObjectHandle& handle) {
    auto moved = volume.moved.find(handle);
    if (moved != volume.moved.end()) return past_of(volume, id, moved->second);
    const std::optional<std::string>& present = path_of(id, handle);
    if (!present) return {};  // it is gone, and nobody knows where it was
    return past_of_path(*present);
}

PastPaths::Past PastPaths::past_of(Volume& volume, const VolumeId& id, Moved& moved) {
    if (moved.is_answered) return {moved.past, moved.is_certain};
    if (moved.is_asked) return {};
    moved.is_asked = true;
    const DirectoryOrigin& origin = *moved.origin;
    if (!origin.directory.empty()) {
        Past above = past_of(volume, id, origin.directory);
        if (above.path) moved.past = child_of(*above.path, origin.name);
        moved.is_certain = above.is_certain && origin.kind == DirectoryOrigin::Kind::at;
    }
    moved.is_answered = true;
    return {moved.past, moved.is_certain};
}

// From the path upwards to the first directory with an origin, then down again.
PastPaths::Past PastPaths::past_of_path(const std::string& present) {
    for (std::string_view above = present; !above.empty(); above = parent_of(above)) {
        auto found = by_present_.find(std::string(above));
        if (found == by_present_.end()) continue;
        Past past = past_of(*found->second.volume, *found->second.id, *found->second.moved);
        if (!past.path) return {};
        std::string_view rest = std::string_view(present).substr(above.size());
        return {*past.path + std::string(rest), past.is_certain};
    }
    return {present, true};
}

std::string PastPaths::to_present(const std::string& past) {
    if (!by_past_) {
        by_past_.emplace();
        for (auto& [id, volume] : volumes_) {
            for (auto& [handle, moved] : volume.moved) {
                Past was = past_of(volume, id, moved);
                if (was.path) (*by_past_)[*was.path] = moved.present;
            }
        }
    }
    for (std::string_view above = parent_of(past); !above.empty(); above = parent_of(above)) {
        auto found = by_past_->find(std::string(above));
        if (found == by_past_->end()) continue;
        if (!found->second) return past;
        return *found->second + past.substr(above.size());
    }
    return past;
}

}  // namespace backup::tracking
