// TrackedVolume is one file system as the tracker watches it: which paths on it belong to sets, by
// what it is watched and how that goes. Tracker thread only, but for `watcher`, which is
// thread-safe and shared with runs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/path.h"
#include "daemon/queue/change_queue.h"
#include "daemon/tracking/known_places.h"
#include "daemon/tracking/real_places.h"
#include "daemon/watch/mount_table.h"
#include "daemon/watch/watcher.h"

namespace backup {

struct TrackedVolume {
    VolumeId id;
    Mount mount;
    std::vector<Path> roots;           // directories at or below the mount's place, of all sets
    std::set<std::string> sets;        // that have something on it
    std::string scopes;                // what these sets look into, when it was armed
    std::shared_ptr<Watcher> watcher;  // nothing: scan only
    // For what is marked while there is no watcher.
    std::shared_ptr<KnownPlaces> places = std::make_shared<KnownPlaces>();
    // Sets that see some of it at several places, and where: a handle leads to one of them only.
    std::map<std::string, std::string> twofold;
    std::string problem;       // why it is not watched as well as it could be, with the remedy
    std::string told_problem;  // of the watcher, the last that was written to the log
    // A change of our own that must be told.
    struct Canary {
        ObjectHandle directory;
        std::string name;
        bool is_waited_for = false;
    } canary;
    bool is_kept = false;  // the service manager has a copy of its descriptor
    // What the roots and the directories above them were at the last look, as far as they lie on
    // this file system. A watcher finds what lies below its roots, and nobody when one of these is
    // another object, or was for a while: what happened there was dropped as elsewhere.
    struct Step {
        std::string name;
        ObjectHandle object;
        std::string path;
    };
    std::unordered_map<ObjectHandle, std::vector<Step>> way;  // by the directory that has the name
    std::vector<ObjectHandle> root_handles;                   // as `roots`; empty: not there
};

// Which file systems hold what the paths of the sets protect.
struct VolumePlan {
    VolumeId id;
    Mount mount;
    std::vector<Path> roots;
    std::set<std::string> sets;
    std::map<std::string, std::string> twofold;  // see TrackedVolume
};

// A path that is not there, or is no directory, is watched by the directory that it is in, or would
// be: `is_directory` tells.
struct SetPaths {
    std::string set;
    std::vector<Path> paths;
    bool other_filesystems_too = true;
    // Of a directory where another file system is mounted; not set: yes.
    std::function<bool(const std::string& place)> wants = {};
};
std::vector<VolumePlan> plan_volumes(const MountTable& table, const std::vector<SetPaths>& sets,
                                     const std::function<std::string(const Mount&)>& id_of,
                                     const std::function<bool(const Path&)>& is_directory,
                                     const RealPlaces& real_places = {});

}  // namespace backup
