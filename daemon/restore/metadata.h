// Reads and sets what belongs to an object beside its content: owner, extended attributes (ACLs and
// capabilities among them), times, mode. Works on descriptors only. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include <sys/stat.h>

#include "common/result.h"
#include "daemon/restore/restore_plan.h"
#include "daemon/runtime/progress.h"

namespace backup {

// Collects what could not be set. What rights or the file system forbid would be the same line for
// every object: it becomes one exception that names the first and counts the others. Everything
// else is an exception of its own.
class MetadataProblems {
  public:
    explicit MetadataProblems(ExceptionLog& exceptions) : exceptions_(exceptions) {}
    void add(const std::string& path, const std::string& what, int error_number);
    // Hands the counted ones over. Once, at the end.
    void report();

  private:
    struct First {
        std::string path;
        std::uint64_t count = 0;
    };
    ExceptionLog& exceptions_;
    std::mutex mutex_;  // guards counted_
    std::map<std::pair<std::string, int>, First> counted_;
};

// While a directory is being filled it carries this attribute: a restore that was cut off leaves it
// behind, and the next one knows that the directory's metadata are still to be set.
inline constexpr char kUnfinished[] = "user.backupd.unfinished";

// May this process give files away? Decides whether owners are compared.
bool may_change_owner();

// What a file system takes of attributes; asked of a directory on it, nothing is written.
struct AttributeSupport {
    bool user = true, acl = true;
};
AttributeSupport attribute_support(int directory_fd);

// Tells the plan what of an object cannot be given back in a target like this.
class PlanRecord;
void note_limits(NodeType type, const PlanMetadata& metadata, const RestoreBatch& batch,
                 const AttributeSupport& support, PlanRecord& record);

// True when mode, owner (if we could set it), mtime and attributes are those of the plan. `fd` may
// be O_PATH.
bool has_metadata(int fd, const struct stat& status, NodeType type, const PlanMetadata& metadata,
                  const RestoreBatch& batch);

// Sets them in the one order that works: owner first, for chown clears setuid and capabilities;
// attributes (and those that do not belong there are removed); times; mode last. `fd` may be O_PATH
// for anything but files and directories. Setuid and setgid are not set on a file that could not be
// given to its owner.
void set_metadata(int fd, NodeType type, const PlanMetadata& metadata, const RestoreBatch& batch,
                  const std::function<std::string()>& path, MetadataProblems& problems);

}  // namespace backup
