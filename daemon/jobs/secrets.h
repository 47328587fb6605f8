// Passwords on their way from a descriptor or a file to the key derivation: in one buffer that is
// never copied by growing and is overwritten at the end. Blocking; not for the loop thread.
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/result.h"
#include "daemon/policy/policy.h"

namespace backup {

class Secret {
  public:
    Secret() = default;
    explicit Secret(Bytes bytes) : bytes_(std::move(bytes)) {}
    Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)) { other.bytes_.clear(); }
    Secret& operator=(Secret&& other) noexcept {
        wipe(bytes_);
        bytes_ = std::move(other.bytes_);
        other.bytes_.clear();
        return *this;
    }
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    ~Secret() { wipe(bytes_); }

    ByteView view() const { return bytes_; }
    bool empty() const { return bytes_.empty(); }
    Secret copy() const { return Secret(to_bytes(view())); }

  private:
    Bytes bytes_;
};

inline constexpr std::size_t kMostSecretBytes = 64 * 1024;

// Reads to the end, white space at both ends stripped. A pipe that stays open and silent for
// `patience` is `invalid`, so are more than 64 KiB and an empty secret.
Result<Secret> read_secret(int fd, Duration patience = std::chrono::seconds(30));

struct SecretPlaces {
    std::string config_dir;
    std::string credentials_dir;  // $CREDENTIALS_DIRECTORY or empty
};
// Where the copy that AddRepository makes is kept: CONFIG/secrets/NAME.
std::string kept_secret_path(const SecretPlaces& places, const std::string& name);
// Credential repo-password.NAME, else the repository's password_file, else the kept copy. Nothing
// when none of them exists; an error when the one that applies cannot be used (readable by others,
// not readable by us).
Result<std::optional<Secret>> find_password(const RepositoryPolicy& repository,
                                            const SecretPlaces& places);
Result<> keep_secret(const SecretPlaces& places, const std::string& name, const Secret& secret);

}  // namespace backup
