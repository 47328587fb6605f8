#include "tests/unit/state/failing_env.h"

#include <string>

#include <leveldb/env.h>

namespace backup {

namespace {

class FailingFile final : public leveldb::WritableFile {
  public:
    FailingFile(leveldb::WritableFile* behind, WriteFaults& faults)
        : behind_(behind), faults_(faults) {}
    ~FailingFile() override { delete behind_; }
    leveldb::Status Append(const leveldb::Slice& data) override {
        if (!next().ok()) {
            // As a disk that is full does: half of it is there.
            (void)behind_->Append(leveldb::Slice(data.data(), data.size() / 2));
            (void)behind_->Flush();
            return no_space();
        }
        return behind_->Append(data);
    }
    leveldb::Status Close() override { return behind_->Close(); }
    leveldb::Status Flush() override { return behind_->Flush(); }
    leveldb::Status Sync() override {
        leveldb::Status status = next();
        return status.ok() ? behind_->Sync() : status;
    }
    static leveldb::Status no_space() {
        return leveldb::Status::IOError("injected", "No space left on device");
    }

  private:
    leveldb::Status next() {
        if (faults_.disk_full) return no_space();
        std::uint64_t number = faults_.calls++;
        if (number < faults_.fail_at || number - faults_.fail_at >= faults_.lasts)
            return leveldb::Status::OK();
        ++faults_.failures;
        return no_space();
    }
    leveldb::WritableFile* behind_;
    WriteFaults& faults_;
};

class FailingEnv final : public leveldb::EnvWrapper {
  public:
    explicit FailingEnv(WriteFaults& faults)
        : EnvWrapper(leveldb::Env::Default()), faults_(faults) {}
    leveldb::Status NewWritableFile(const std::string& name,
                                    leveldb::WritableFile** file) override {
        return wrapped(name, file, &leveldb::Env::NewWritableFile);
    }
    leveldb::Status NewAppendableFile(const std::string& name,
                                      leveldb::WritableFile** file) override {
        return wrapped(name, file, &leveldb::Env::NewAppendableFile);
    }

  private:
    using Open = leveldb::Status (leveldb::Env::*)(const std::string&, leveldb::WritableFile**);
    leveldb::Status wrapped(const std::string& name, leveldb::WritableFile** file, Open open) {
        if (faults_.disk_full) return FailingFile::no_space();
        leveldb::Status status = (target()->*open)(name, file);
        if (status.ok()) *file = new FailingFile(*file, faults_);
        return status;
    }
    WriteFaults& faults_;
};

}  // namespace

leveldb::Env* make_failing_env(WriteFaults& faults) {
    return new FailingEnv(faults);
}
void free_env(leveldb::Env* env) {
    delete env;
}

}  // namespace backup
