#include "daemon/history/store.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <leveldb/db.h>
#include <leveldb/write_batch.h>

namespace backup {

namespace {

// Changes with any change of keys, values or of what counts as a version.
constexpr std::string_view kFormat = "1";
constexpr std::string_view kFormatKey = "V";

leveldb::Slice slice(std::string_view text) {
    return {text.data(), text.size()};
}
std::string_view view(const leveldb::Slice& text) {
    return {text.data(), text.size()};
}

Error to_error(const leveldb::Status& status, const char* what) {
    std::string message = std::string(what) + " the index of history: " + status.ToString();
    if (!status.IsIOError()) return Error(ErrorKind::corrupt, std::move(message));
    // LevelDB keeps the text of errno only. A table that vanished is an I/O error to it.
    for (int number : {ENOSPC, EDQUOT})
        if (message.find(std::strerror(number)) != std::string::npos)
            return Error(ErrorKind::no_space, ErrorCode::no_space, std::move(message));
    if (message.find(std::strerror(ENOENT)) != std::string::npos)
        return Error(ErrorKind::corrupt, std::move(message));
    return Error(ErrorKind::io, std::move(message));
}

}  // namespace

// ---- HistoryStore

HistoryStore::HistoryStore(std::unique_ptr<leveldb::DB> db) : db_(std::move(db)) {}
HistoryStore::~HistoryStore() = default;

Result<std::unique_ptr<HistoryStore>> HistoryStore::open(const std::string& folder) {
    leveldb::Options options;
    options.create_if_missing = true;
    options.paranoid_checks = true;
    options.write_buffer_size = std::size_t{4} << 20;
    options.max_file_size = std::size_t{8} << 20;  // a million paths in few files
    leveldb::DB* opened = nullptr;
    leveldb::Status status = leveldb::DB::Open(options, folder, &opened);
    std::unique_ptr<leveldb::DB> db(opened);
    if (!status.ok()) return to_error(status, "open");
    std::string format;
    status = db->Get({}, slice(kFormatKey), &format);
    if (status.IsNotFound()) {
        std::unique_ptr<leveldb::Iterator> at(db->NewIterator({}));
        at->SeekToFirst();
        if (at->Valid() || !at->status().ok())
            return Error(ErrorKind::corrupt, "the index of history does not say its version");
        status = db->Put({}, slice(kFormatKey), slice(kFormat));
        format = kFormat;
    }
    if (!status.ok()) return to_error(status, "open");
    if (format != kFormat)
        return Error(ErrorKind::corrupt, "the index of history is of another version");
    return std::unique_ptr<HistoryStore>(new HistoryStore(std::move(db)));
}

Result<> HistoryStore::destroy(const std::string& folder) {
    std::error_code problem;
    std::filesystem::remove_all(folder, problem);
    if (problem)
        return Error::from_errno(problem.value(), "throw away the index of history in " + folder);
    return {};
}

Result<> HistoryStore::write(Batch& batch) {
    leveldb::Status status = db_->Write({}, batch.batch_.get());
    batch.clear();
    if (!status.ok()) return to_error(status, "write");
    return {};
}

// ---- Batch

HistoryStore::Batch::Batch() : batch_(std::make_unique<leveldb::WriteBatch>()) {}
HistoryStore::Batch::~Batch() = default;
void HistoryStore::Batch::put(std::string_view key, std::string_view value) {
    batch_->Put(slice(key), slice(value));
}
void HistoryStore::Batch::remove(std::string_view key) {
    batch_->Delete(slice(key));
}
std::size_t HistoryStore::Batch::bytes() const {
    return batch_->ApproximateSize();
}
void HistoryStore::Batch::clear() {
    batch_->Clear();
}

// ---- Cursor

HistoryStore::Cursor::Cursor(std::unique_ptr<leveldb::Iterator> at, std::string prefix)
    : at_(std::move(at)), prefix_(std::move(prefix)) {
    at_->Seek(prefix_);
}
HistoryStore::Cursor::Cursor(Cursor&&) noexcept = default;
HistoryStore::Cursor::~Cursor() = default;
bool HistoryStore::Cursor::valid() const {
    return at_->Valid() && view(at_->key()).starts_with(prefix_);
}
std::string_view HistoryStore::Cursor::key() const {
    return view(at_->key()).substr(prefix_.size());
}
std::string_view HistoryStore::Cursor::value() const {
    return view(at_->value());
}
void HistoryStore::Cursor::next() {
    at_->Next();
}
void HistoryStore::Cursor::seek(std::string_view key_after_prefix) {
    at_->Seek(prefix_ + std::string(key_after_prefix));
}
Result<> HistoryStore::Cursor::status() const {
    if (at_->status().ok()) return {};
    return to_error(at_->status(), "read");
}

// ---- View

HistoryStore::View::View(const HistoryStore& store)
    : store_(store), snapshot_(store.db_->GetSnapshot()) {}
HistoryStore::View::~View() {
    store_.db_->ReleaseSnapshot(snapshot_);
}

Result<bool> HistoryStore::View::get(std::string_view key, std::string& value) const {
    leveldb::ReadOptions options;
    options.snapshot = snapshot_;
    options.verify_checksums = true;
    leveldb::Status status = store_.db_->Get(options, slice(key), &value);
    if (status.IsNotFound()) return false;
    if (!status.ok()) return to_error(status, "read");
    return true;
}

HistoryStore::Cursor HistoryStore::View::cursor(std::string prefix) const {
    leveldb::ReadOptions options;
    options.snapshot = snapshot_;
    options.verify_checksums = true;
    options.fill_cache = false;
    return {std::unique_ptr<leveldb::Iterator>(store_.db_->NewIterator(options)),
            std::move(prefix)};
}

}  // namespace backup
