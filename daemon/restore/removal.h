// Removal is what a restore takes away: found while the restore is planned, and removed object by
// object, each only if it is still what was looked at. Never through a symbolic link, never on
// another file system or mount than the directory it was found in. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <sys/stat.h>

#include "common/result.h"
#include "common/unique_fd.h"
#include "daemon/restore/plan_record.h"
#include "daemon/restore/restore.h"
#include "daemon/runtime/progress.h"

namespace backup {

// False also for a bind mount, which shows the same file system at another place.
bool is_on_same_mount(int directory_fd, int other_fd);

class Removal {
  public:
    // See RestoreRequest. None: nothing but what is named goes.
    using Spares =
        std::function<bool(const std::string& source, const std::string& path, bool is_directory)>;
    // Objects with longer paths are spared.
    Removal(int target_fd, Spares spares, std::size_t longest_path)
        : target_fd_(target_fd), spares_(std::move(spares)), longest_path_(longest_path) {}

    // Entries of a directory (target path, path in the revision) whose names are not among `names`,
    // with all that is in them.
    Result<> add_others(int directory_fd, const std::string& path, const std::string& source,
                        std::vector<std::string> names, PlanRecord& record);
    // Objects that were named; directories go only if nothing else is in them.
    Result<> add_named(const std::vector<TouchedObject>& objects, PlanRecord& record);
    // A directory in whose place something else shall come: true if all that is in it goes. It does
    // so before anything is written, and leaves the directory itself.
    bool clear_way(int parent_fd, const std::string& name, const std::string& path,
                   const std::string& source, PlanRecord& record);

    // It is in the revision: it does not go, whoever named it.
    void keep(const std::string& path);
    // A copy that was restored beside something before: nor does this, which the revision does not
    // name.
    void keep_beside(const std::string& path);

    std::uint64_t count() const { return doomed_.size() - cancelled_; }
    std::uint64_t spared() const { return spared_; }
    void spare() { ++spared_; }

    struct Outcome {
        std::uint64_t removed = 0, set_aside = 0;
    };
    struct Run {
        const ObjectStamps& stamps;
        const std::unordered_set<std::string>& unsettled;
        ChangeLog* change_log;
        ExceptionLog& exceptions;
        std::stop_token stop;
        // Directories in which something goes have the times that they shall have.
        bool keeps_times = false;
    };
    // `first`: what stands in the way of something; else the rest.
    Result<> carry_out(bool first, const Run& run, Outcome& outcome);

  private:
    struct Doomed {
        std::string path;
        bool is_directory = false;
        bool is_first = false;
        bool is_cancelled = false;
    };
    struct Place {
        std::string path, source;
    };
    // True: all of it is doomed now.
    bool add_tree(int parent_fd, const std::string& name, Place place, dev_t device, unsigned depth,
                  bool itself, PlanRecord& record);
    void doom(std::string path, const struct stat& status, PlanRecord& record);
    Result<> tell(bool first, const Run& run) const;
    Result<UniqueFd> open_parent(const std::string& path) const;
    void set_aside(const Doomed& one, const char* why, const Run& run, Outcome& outcome) const;

    const int target_fd_;
    const Spares spares_;
    const std::size_t longest_path_;
    std::vector<Doomed> doomed_;  // children before their directories
    std::map<std::string, std::size_t, std::less<>> index_;
    std::set<std::string, std::less<>> kept_;  // beside what the revision names
    std::uint64_t spared_ = 0, cancelled_ = 0;
};

}  // namespace backup
