#include "daemon/state/level_store.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include <leveldb/db.h>
#include <leveldb/env.h>
#include <leveldb/write_batch.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/log.h"
#include "daemon/state/state_codec.h"

namespace backup::state {

namespace {

// The state is small: these keep a quiet daemon small, too.
constexpr std::size_t kWriteBufferBytes = std::size_t{1} << 20;
constexpr std::size_t kMostBatchBytes = std::size_t{1} << 20;
constexpr std::size_t kMostRemains = 3;
constexpr std::string_view kRemainsMark = ".broken-";

std::string_view view(const leveldb::Slice& slice) {
    return {slice.data(), slice.size()};
}

Error to_error(const leveldb::Status& status, const std::string& what) {
    std::string message = what + ": " + status.ToString();
    // LevelDB keeps the text of errno only.
    for (int number : {ENOSPC, EDQUOT})
        if (message.find(std::strerror(number)) != std::string::npos)
            return Error(ErrorKind::no_space, ErrorCode::no_space, message);
    for (int number : {EACCES, EPERM, EROFS})
        if (message.find(std::strerror(number)) != std::string::npos)
            return Error(ErrorKind::denied, message);
    return Error(status.IsIOError() ? ErrorKind::io : ErrorKind::corrupt, message);
}

// Errors that come back with every attempt on these files, whatever the machine does.
bool is_damage(const leveldb::Status& status) {
    return status.IsCorruption() || status.IsNotFound() || status.IsInvalidArgument();
}

// Ends the scan when a key has another prefix.
leveldb::Status walk(leveldb::DB& db, const std::string& prefix, const std::string& from,
                     bool backwards, const LevelStore::Each& each) {
    leveldb::ReadOptions options;
    options.verify_checksums = true;
    options.fill_cache = false;
    std::unique_ptr<leveldb::Iterator> at(db.NewIterator(options));
    at->Seek(from);
    if (backwards) {
        if (at->Valid())
            at->Prev();
        else
            at->SeekToLast();
    }
    for (; at->Valid() && view(at->key()).starts_with(prefix); backwards ? at->Prev() : at->Next())
        if (!each(view(at->key()), view(at->value()))) break;
    return at->status();
}

}  // namespace

LevelStore::LevelStore(std::string folder, const Clock& clock, leveldb::Env* env)
    : folder_(std::move(folder)),
      clock_(clock),
      env_(env != nullptr ? env : leveldb::Env::Default()) {}

LevelStore::~LevelStore() = default;

leveldb::Status LevelStore::open_handle() {
    leveldb::Options options;
    options.create_if_missing = true;
    options.paranoid_checks = true;
    options.write_buffer_size = kWriteBufferBytes;
    options.env = env_;
    leveldb::DB* db = nullptr;
    leveldb::Status status = leveldb::DB::Open(options, folder_, &db);
    db_.reset(db);
    return status;
}

Result<> LevelStore::open() {
    if (db_) return {};
    leveldb::Status status = open_handle();
    if (status.ok()) return {};
    if (!is_damage(status)) return to_error(status, "open the state in " + folder_);
    log_warning("the state in " + folder_ + " is damaged and is moved aside: " + status.ToString());
    return move_aside_and_renew();
}

Result<> LevelStore::move_aside_and_renew() {
    db_.reset();
    std::string stamp = format_rfc3339_utc(clock_.now()).substr(0, 19);
    stamp.erase(std::remove(stamp.begin(), stamp.end(), ':'), stamp.end());
    std::string remains = folder_ + std::string(kRemainsMark) + stamp;
    std::error_code problem;
    for (unsigned number = 2; std::filesystem::exists(remains, problem); ++number)
        remains = folder_ + std::string(kRemainsMark) + stamp + "-" + std::to_string(number);
    if (rename(folder_.c_str(), remains.c_str()) != 0)
        return Error::from_errno(errno, "move the damaged state in " + folder_ + " aside");
    ++recoveries_;
    leveldb::Status status = open_handle();
    if (!status.ok()) return to_error(status, "begin a new state in " + folder_);
    salvage(remains);
    drop_old_remains();
    return {};
}

// Carries over what the damaged store still gives; every record stands for itself. But not those
// of queues: without one that is lost the others would be a lie.
void LevelStore::salvage(const std::string& from) {
    leveldb::Options options;
    options.env = env_;
    options.write_buffer_size = kWriteBufferBytes;
    leveldb::DB* opened = nullptr;
    leveldb::Status status = leveldb::DB::Open(options, from, &opened);
    if (!status.ok()) {
        leveldb::RepairDB(from, options);
        status = leveldb::DB::Open(options, from, &opened);
    }
    std::unique_ptr<leveldb::DB> broken(opened);
    if (!broken) {
        log_warning("nothing of the damaged state could be carried over: " + status.ToString());
        return;
    }
    std::uint64_t records = 0;
    leveldb::WriteBatch batch;
    leveldb::WriteOptions durable;
    durable.sync = true;
    std::unique_ptr<leveldb::Iterator> at(broken->NewIterator({}));
    for (at->SeekToFirst(); at->Valid() && status.ok(); at->Next(), ++records) {
        if (view(at->key()).starts_with(kQueuePrefix)) continue;
        batch.Put(at->key(), at->value());
        if (batch.ApproximateSize() < kMostBatchBytes) continue;
        status = db_->Write(durable, &batch);
        batch.Clear();
    }
    if (status.ok()) status = db_->Write(durable, &batch);
    if (!status.ok()) db_.reset();  // the next use opens it anew
    log_notice(std::to_string(records) + " records of the damaged state were carried over");
}

// Evidence is kept, but not without bound.
void LevelStore::drop_old_remains() {
    namespace fs = std::filesystem;
    std::error_code problem;
    fs::path folder(folder_);
    std::string prefix = folder.filename().string() + std::string(kRemainsMark);
    std::vector<fs::path> remains;
    for (fs::directory_iterator at(folder.parent_path(), problem), end; !problem && at != end;
         at.increment(problem))
        if (at->path().filename().string().starts_with(prefix)) remains.push_back(at->path());
    std::sort(remains.begin(), remains.end());  // by time
    for (std::size_t i = 0; i + kMostRemains < remains.size(); ++i)
        fs::remove_all(remains[i], problem);
}

Result<> LevelStore::run(const char* what, const Call& call) {
    leveldb::Status status;
    for (int attempt = 0; attempt < 2; ++attempt) {
        auto opened = open();
        if (!opened.ok()) return std::move(opened).error().during(what);
        status = call(*db_);
        if (status.ok() || status.IsNotFound()) return {};
        db_.reset();
        log_warning(std::string("the state is closed and opened again, for it failed to ") + what +
                    ": " + status.ToString());
    }
    if (!status.IsCorruption()) return to_error(status, what);
    // Opened well, and yet cannot be read.
    auto renewed = move_aside_and_renew();
    if (!renewed.ok()) return std::move(renewed).error().during(what);
    auto opened = open();
    if (!opened.ok()) return std::move(opened).error().during(what);
    status = call(*db_);
    if (status.ok() || status.IsNotFound()) return {};
    db_.reset();
    return to_error(status, what);
}

Result<> LevelStore::write(const char* what, leveldb::WriteBatch& batch, bool sync) {
    leveldb::WriteOptions options;
    options.sync = sync;
    return run(what, [&](leveldb::DB& db) { return db.Write(options, &batch); });
}

Result<bool> LevelStore::get(const std::string& key, std::string& value) {
    bool found = false;
    leveldb::ReadOptions options;
    options.verify_checksums = true;
    auto done = run("read the state", [&](leveldb::DB& db) {
        leveldb::Status status = db.Get(options, key, &value);
        found = status.ok();
        return status;
    });
    if (!done.ok()) return std::move(done).error();
    return found;
}

Result<> LevelStore::scan(const std::string& prefix, const std::string& from,
                          const std::function<void()>& restart, const Each& each) {
    return run("read the state", [&](leveldb::DB& db) {
        restart();
        return walk(db, prefix, from, false, each);
    });
}

Result<> LevelStore::scan_back(const std::string& prefix, const std::string& before,
                               const std::function<void()>& restart, const Each& each) {
    return run("read the state", [&](leveldb::DB& db) {
        restart();
        return walk(db, prefix, before, true, each);
    });
}

}  // namespace backup::state
