// Passwords: made, asked for, read from a file, and handed to the daemon through a descriptor,
// never through arguments or the environment. Main thread.
#pragma once

#include <optional>
#include <string>

#include "common/result.h"
#include "common/unique_fd.h"
#include "ctl/context.h"

namespace backup {

// A string that is overwritten when it goes.
class Secret {
  public:
    Secret() = default;
    explicit Secret(std::string text) : text_(std::move(text)) {}
    Secret(Secret&& other) noexcept : text_(std::move(other.text_)) { other.clear(); }
    Secret& operator=(Secret&& other) noexcept;
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    ~Secret() { clear(); }
    const std::string& text() const { return text_; }

  private:
    void clear();
    std::string text_;
};

// 8 groups of 4 characters from 32 letters and digits without look-alikes: 160 bits from the
// kernel.
Result<Secret> generate_password();
// A sealed memory file with the secret, positioned at its start.
Result<UniqueFd> secret_fd(const Secret& secret);

enum class PasswordUse { new_one, existing };
struct ChosenPassword {
    Secret secret;
    bool generated = false;
};
// From --password-file, --generate-password (new_one only), or the terminal (a new one twice).
Result<ChosenPassword> choose_password(Context& context, const std::string& what, PasswordUse use);

}  // namespace backup
