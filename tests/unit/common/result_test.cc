#include "common/result.h"

#include <cerrno>
#include <memory>
#include <string>

#include <gtest/gtest.h>

namespace backup {

namespace {
Result<int> half(int number) {
    if (number % 2 != 0) return Error(ErrorKind::invalid, "odd");
    return number / 2;
}
Result<int> quarter(int number) {
    int once = TRY(half(number));
    return TRY_DURING(half(once), "second half");
}
}  // namespace

TEST(Result, TryHandsErrorsOnWithContext) {
    EXPECT_EQ(*quarter(8), 2);
    EXPECT_EQ(quarter(3).error().message(), "odd");
    EXPECT_EQ(quarter(6).error().message(), "second half: odd");
}

TEST(Result, HoldsMoveOnlyValues) {
    Result<std::unique_ptr<int>> result(std::make_unique<int>(3));
    std::unique_ptr<int> value = std::move(result).value();
    EXPECT_EQ(*value, 3);
}

TEST(Error, ErrnoDecidesTheKind) {
    EXPECT_EQ(Error::from_errno(ENOENT, "open x").kind(), ErrorKind::not_found);
    EXPECT_EQ(Error::from_errno(ENOSPC, "write x").code(), ErrorCode::no_space);
    EXPECT_EQ(Error::from_errno(EACCES, "open x").message(), "open x: Permission denied");
}

TEST(Error, CodesHaveNamesThatComeBack) {
    for (int i = 1; i <= static_cast<int>(ErrorCode::access_denied); ++i) {
        auto code = static_cast<ErrorCode>(i);
        ASSERT_FALSE(to_string(code).empty()) << i;
        EXPECT_EQ(error_code_from_string(to_string(code)), code);
    }
}

}  // namespace backup
