// Result<T> holds a value or an Error; Result<> holds success or an Error.
// [[nodiscard]] everywhere: a swallowed error is a bug. TRY returns the error to the caller.
#pragma once

#include <cassert>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "common/error.h"

namespace backup {

template <typename T = void>
class [[nodiscard]] Result {
  public:
    using value_type = T;

    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit
    // Lets `return derived_ptr;` and `return "text";` work where T is built from them.
    template <typename U>
    requires(std::is_convertible_v<U&&, T> && !std::is_same_v<std::remove_cvref_t<U>, T> &&
             !std::is_same_v<std::remove_cvref_t<U>, Error> &&
             !std::is_same_v<std::remove_cvref_t<U>, Result>) Result(U&& value)
        : state_(std::in_place_index<0>, std::forward<U>(value)) {}  // NOLINT

    bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }

    T& value() & {
        assert(ok());
        return std::get<0>(state_);
    }
    const T& value() const& {
        assert(ok());
        return std::get<0>(state_);
    }
    T&& value() && {
        assert(ok());
        return std::get<0>(std::move(state_));
    }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }

    Error& error() & {
        assert(!ok());
        return std::get<1>(state_);
    }
    const Error& error() const& {
        assert(!ok());
        return std::get<1>(state_);
    }
    Error&& error() && {
        assert(!ok());
        return std::get<1>(std::move(state_));
    }

    T value_or(T fallback) && {
        return ok() ? std::get<0>(std::move(state_)) : std::move(fallback);
    }

  private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
  public:
    using value_type = void;

    Result() = default;
    Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit

    bool ok() const { return !error_.has_value(); }
    explicit operator bool() const { return ok(); }
    void value() const { assert(ok()); }

    Error& error() & {
        assert(!ok());
        return *error_;
    }
    const Error& error() const& {
        assert(!ok());
        return *error_;
    }
    Error&& error() && {
        assert(!ok());
        return std::move(*error_);
    }

  private:
    std::optional<Error> error_;
};

}  // namespace backup

// Evaluates to the value, or returns the error from the enclosing function.
// Use it as a whole statement or initialiser, `auto x = TRY(f());`, not inside a larger expression
// that holds temporaries.
#define TRY(expression)                                               \
    __extension__({                                                   \
        auto try_result_ = (expression);                              \
        if (!try_result_.ok()) return std::move(try_result_).error(); \
        std::move(try_result_).value();                               \
    })
// The same with context: TRY_DURING(read(file), "read index " + short_hex(id)).
#define TRY_DURING(expression, context)                                               \
    __extension__({                                                                   \
        auto try_result_ = (expression);                                              \
        if (!try_result_.ok()) return std::move(try_result_).error().during(context); \
        std::move(try_result_).value();                                               \
    })
