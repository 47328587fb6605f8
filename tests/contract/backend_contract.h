// What every backend promises, as one suite. A backend passes it by instantiating BackendContract
// with a factory:
//
//     INSTANTIATE_TEST_SUITE_P(Memory, BackendContract, testing::Values(&make_memory_subject));
//
// Each test gets a fresh, empty storage.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "daemon/backend/backend.h"

namespace backup {

class BackendSubject {
  public:
    virtual ~BackendSubject() = default;
    virtual Backend& backend() = 0;
    virtual DeletingBackend& deleting() = 0;
    // A second handle on the same storage, as another process would have it. Null: there can be
    // none.
    virtual std::unique_ptr<Backend> open_again() = 0;
    // Puts a file with this name beside those of the type, past the backend. False: impossible
    // there.
    virtual bool plant(FileType type, const std::string& name, std::string_view content) = 0;
    // Cuts a stored file to this length, past the backend.
    virtual void truncate(const Handle& handle, std::uint64_t length) = 0;
};

using MakeBackendSubject = std::unique_ptr<BackendSubject> (*)();

class BackendContract : public testing::TestWithParam<MakeBackendSubject> {
  protected:
    void SetUp() override {
        subject_ = GetParam()();
        ASSERT_TRUE(backend().create().ok());
    }
    Backend& backend() { return subject_->backend(); }
    std::unique_ptr<BackendSubject> subject_;
};

}  // namespace backup
