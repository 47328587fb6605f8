// HistoryStore is the LevelDB folder behind the index of history: views, cursors and batches, and
// nothing else. Thread-safe; a view is used by one thread. All of it can be made again, so nothing
// is synced and nothing is salvaged: LevelDB loses whole batches from the end, never from the
// middle, and `corrupt` means that the folder is to be thrown away.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/result.h"

namespace leveldb {
class DB;
class Iterator;
class Snapshot;
class WriteBatch;
}  // namespace leveldb

namespace backup {

class HistoryStore {
  public:
    // Made when it is missing. `corrupt`: damaged, or of another version.
    static Result<std::unique_ptr<HistoryStore>> open(const std::string& folder);
    static Result<> destroy(const std::string& folder);
    ~HistoryStore();

    class Batch {
      public:
        Batch();
        ~Batch();
        void put(std::string_view key, std::string_view value);
        void remove(std::string_view key);
        std::size_t bytes() const;
        void clear();

      private:
        friend class HistoryStore;
        std::unique_ptr<leveldb::WriteBatch> batch_;
    };
    // Whole or not at all, in the order of calls.
    Result<> write(Batch& batch);

    // The keys that begin with a prefix, in order.
    class Cursor {
      public:
        Cursor(Cursor&&) noexcept;
        ~Cursor();
        // False at the end, and after an error: ask status() then.
        bool valid() const;
        std::string_view key() const;    // without the prefix
        std::string_view value() const;  // both until the next call
        void next();
        void seek(std::string_view key_after_prefix);
        Result<> status() const;

      private:
        friend class HistoryStore;
        Cursor(std::unique_ptr<leveldb::Iterator> at, std::string prefix);
        std::unique_ptr<leveldb::Iterator> at_;
        std::string prefix_;
    };

    // What was there when it was made, whatever is written meanwhile.
    class View {
      public:
        explicit View(const HistoryStore& store);
        ~View();
        View(const View&) = delete;
        View& operator=(const View&) = delete;
        // False if there is none.
        Result<bool> get(std::string_view key, std::string& value) const;
        Cursor cursor(std::string prefix) const;

      private:
        const HistoryStore& store_;
        const leveldb::Snapshot* snapshot_;
    };

  private:
    explicit HistoryStore(std::unique_ptr<leveldb::DB> db);
    std::unique_ptr<leveldb::DB> db_;
};

}  // namespace backup
