#include "tests/contract/backend_contract.h"

#include <filesystem>
#include <fstream>

#include "daemon/backend/layout.h"
#include "daemon/backend/local_backend.h"
#include "daemon/backend/memory_backend.h"
#include "daemon/backend/slow_backend.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

namespace fs = std::filesystem;

class LocalSubject : public BackendSubject {
  public:
    LocalSubject() : backend_(Path::parse(temp_.path() + "/repo").value()) {}
    Backend& backend() override { return backend_; }
    DeletingBackend& deleting() override { return backend_; }
    std::unique_ptr<Backend> open_again() override {
        return std::make_unique<LocalBackend>(backend_.root());
    }
    bool plant(FileType type, const std::string& name, std::string_view content) override {
        fs::path directory = fs::path(backend_.root().text()) / layout_directory(type);
        if (type == FileType::pack) directory /= "00";
        std::ofstream(directory / name) << content;
        return true;
    }
    void truncate(const Handle& handle, std::uint64_t length) override {
        fs::path file = fs::path(backend_.root().text()) / layout_path(handle);
        fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
        fs::resize_file(file, length);
    }

  protected:
    TempDirectory temp_;
    LocalBackend backend_;
};

class SlowSubject final : public LocalSubject {
  public:
    Backend& backend() override { return slow_; }

  private:
    SlowBackend slow_{std::make_unique<LocalBackend>(backend_.root()),
                      {.rate = std::uint64_t{1} << 30}};
};

class MemorySubject final : public BackendSubject {
  public:
    Backend& backend() override { return backend_; }
    DeletingBackend& deleting() override { return backend_; }
    std::unique_ptr<Backend> open_again() override { return nullptr; }
    bool plant(FileType, const std::string&, std::string_view) override { return false; }
    void truncate(const Handle& handle, std::uint64_t length) override {
        Bytes content = backend_.get(handle).value();
        content.resize(length);
        backend_.overwrite(handle, std::move(content));
    }

  private:
    MemoryBackend backend_;
};

std::unique_ptr<BackendSubject> make_local() {
    return std::make_unique<LocalSubject>();
}
std::unique_ptr<BackendSubject> make_memory() {
    return std::make_unique<MemorySubject>();
}

std::unique_ptr<BackendSubject> make_slow() {
    return std::make_unique<SlowSubject>();
}

INSTANTIATE_TEST_SUITE_P(Local, BackendContract, testing::Values(&make_local));
INSTANTIATE_TEST_SUITE_P(Memory, BackendContract, testing::Values(&make_memory));
INSTANTIATE_TEST_SUITE_P(Slow, BackendContract, testing::Values(&make_slow));

}  // namespace
}  // namespace backup
