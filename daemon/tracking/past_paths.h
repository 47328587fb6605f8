// PastPaths tells where directories were in the parent revision, from where they are now and where
// the queue says the renamed ones came from. Resolves each handle once, so that all answers are
// about one moment as well as can be. Lives for one plan; not thread-safe.
//
// A directory without an origin was not renamed since the parent revision: it was in the same
// directory under the same name. So the past path of any directory is composed upwards, name by
// name, and wherever a directory on the way has an origin, the way goes on from there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/tracking/look_at_changes.h"

namespace backup::tracking {

class PastPaths {
  public:
    explicit PastPaths(const LookAtInput& input);

    // Where the directory is now. The reference lives until the next call.
    const std::optional<std::string>& path_of(const VolumeId& volume, const ObjectHandle& handle);

    enum class Sure : std::uint8_t {
        yes,   // the same directory, and all that happened in it was recorded
        born,  // it was not there, and all that happened in it was recorded
        no,    // what is below it must be compared; the path is a good guess or nothing
    };
    struct Answer {
        std::optional<std::string> path;
        Sure sure = Sure::no;
    };
    // Of a directory with an origin that is somewhere now.
    Answer of_directory(const VolumeId& volume, const ObjectHandle& handle);
    // Where a path of the parent revision is now, as far as renames of directories go.
    std::string to_present(const std::string& past);

  private:
    struct Moved {
        const DirectoryOrigin* origin = nullptr;
        std::optional<std::string> present;
        bool is_asked = false;  // being answered: a second question is a circle
        bool is_answered = false;
        std::optional<std::string> past;
        bool is_certain = false;  // every step of it
    };
    struct Volume {
        const VolumeMarks* marks = nullptr;
        std::unordered_map<ObjectHandle, std::optional<std::string>> paths;
        std::unordered_map<ObjectHandle, Moved> moved;
    };
    struct Past {
        std::optional<std::string> path;
        bool is_certain = false;
    };

    Past past_of(Volume& volume, const VolumeId& id, const ObjectHandle& handle);
    Past past_of(Volume& volume, const VolumeId& id, Moved& moved);
    Past past_of_path(const std::string& present);
    bool is_in_set(const std::string& path) const;
    // A rule about paths could decide differently about what is below the one and the other.
    bool may_change_rules(const std::string& present, const std::string& past) const;

    const LookAtInput& input_;
    std::map<VolumeId, Volume> volumes_;
    // Renamed and new directories by where they are now.
    struct Place {
        Volume* volume;
        const VolumeId* id;
        Moved* moved;
    };
    std::unordered_map<std::string, Place> by_present_;
    std::optional<std::unordered_map<std::string, std::optional<std::string>>> by_past_;
    std::vector<std::string> anchors_;
    std::optional<std::string> none_;
};

}  // namespace backup::tracking
