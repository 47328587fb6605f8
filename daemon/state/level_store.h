// LevelStore owns one LevelDB folder and keeps its promise over failures: after any failed call the
// handle is closed and reopened with paranoid checks before the next use (a handle that once failed
// to write loses later writes in silence). A folder that cannot be opened because it is damaged is
// moved aside, what can still be read is carried over into a new one. A full disk or missing rights
// are no damage: those errors are returned and the folder stays. Not thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/result.h"

namespace leveldb {
class DB;
class Env;
class Status;
class WriteBatch;
}  // namespace leveldb

namespace backup::state {

class LevelStore {
  public:
    // Touches nothing yet. `env` is LevelDB's default when null.
    LevelStore(std::string folder, const Clock& clock, leveldb::Env* env);
    ~LevelStore();
    LevelStore(const LevelStore&) = delete;
    LevelStore& operator=(const LevelStore&) = delete;

    Result<> open();

    // Runs `call` on the open handle, once more on a fresh one if it fails, and on a new store if
    // the old one proves damaged. `call` must bear repeating. "Not found" counts as success.
    using Call = std::function<leveldb::Status(leveldb::DB& db)>;
    Result<> run(const char* what, const Call& call);

    // Durable on return if `sync`.
    Result<> write(const char* what, leveldb::WriteBatch& batch, bool sync);
    // False if there is none.
    Result<bool> get(const std::string& key, std::string& value);
    // Keys with the prefix in order, from the one at or after `from`; false from `each` ends it.
    // May start over after a failure: `restart` is called before each pass.
    using Each = std::function<bool(std::string_view key, std::string_view value)>;
    Result<> scan(const std::string& prefix, const std::string& from,
                  const std::function<void()>& restart, const Each& each);
    // The same backwards: from the last key below `before`.
    Result<> scan_back(const std::string& prefix, const std::string& before,
                       const std::function<void()>& restart, const Each& each);

    // How often a damaged folder was moved aside.
    unsigned recoveries() const { return recoveries_; }

  private:
    leveldb::Status open_handle();
    Result<> move_aside_and_renew();
    void salvage(const std::string& from);
    void drop_old_remains();

    const std::string folder_;
    const Clock& clock_;
    leveldb::Env* const env_;
    std::unique_ptr<leveldb::DB> db_;  // null: closed after a failure, or never opened
    unsigned recoveries_ = 0;
};

}  // namespace backup::state
