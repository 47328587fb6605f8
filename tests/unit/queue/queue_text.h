// A queue as text, for comparison and for people. For tests only.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "daemon/queue/change_queue.h"

namespace backup {

inline std::string mark_text(const Mark& mark) {
    std::string text = " g" + std::to_string(mark.generation) + " t" +
                       std::to_string(mark.first_seen.time_since_epoch().count());
    if (mark.content) text += " content";
    if (mark.must_read) text += " must_read";
    if (mark.deep) text += " deep";
    return text;
}

// One line for each thing that is remembered, sorted.
inline std::string queue_text(const std::map<VolumeId, VolumeMarks>& volumes) {
    std::vector<std::string> lines;
    for (const auto& [id, volume] : volumes) {
        if (volume.has_everything())
            lines.push_back(id + " everything" + mark_text(volume.everything) + " " +
                            volume.everything_reason);
        if (volume.left_scope != 0)
            lines.push_back(id + " left scope g" + std::to_string(volume.left_scope));
        for (const auto& [handle, marks] : volume.directories) {
            std::string directory = id + " " + handle;
            for (const auto& [name, mark] : marks.names)
                lines.push_back(directory + "/" + name + mark_text(mark));
            if (marks.itself()) lines.push_back(directory + " itself" + mark_text(*marks.itself()));
            if (marks.listing())
                lines.push_back(directory + " listing" + mark_text(*marks.listing()));
            if (marks.subtree())
                lines.push_back(directory + " subtree" + mark_text(*marks.subtree()));
        }
        for (const auto& [handle, mark] : volume.objects)
            lines.push_back(id + " object " + handle + mark_text(mark));
        for (const auto& [handle, origin] : volume.origins) {
            static constexpr const char* kKinds[] = {"born", "at", "unknown"};
            lines.push_back(id + " origin " + handle + " " +
                            kKinds[static_cast<std::size_t>(origin.kind)] + " " + origin.directory +
                            "/" + origin.name + " g" + std::to_string(origin.generation) +
                            (origin.moved ? " moved" : ""));
        }
    }
    std::sort(lines.begin(), lines.end());
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    return text;
}

inline std::string queue_text(const ChangeQueue& queue) {
    return queue_text(queue.volumes());
}

}  // namespace backup
