#include "daemon/jobs/secrets.h"

#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

bool is_space(std::uint8_t byte) {
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t' || byte == '\v' ||
           byte == '\f';
}

Error refused(const std::string& message) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, message);
}

enum class Strictness { none, own_file_mode_0600 };

// A secret that others can read is no secret: refused rather than used, so that somebody notices.
Result<Secret> read_secret_file(const std::string& path, Strictness strictness) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (!fd) return Error::from_errno(errno, "open " + path);
    struct stat status {};
    if (::fstat(fd.get(), &status) < 0) return Error::from_errno(errno, "stat " + path);
    if (!S_ISREG(status.st_mode)) return refused(path + " is not a regular file");
    if (strictness == Strictness::own_file_mode_0600) {
        if ((status.st_mode & 077) != 0)
            return Error(ErrorKind::denied, ErrorCode::access_denied,
                         path + " can be read by others: chmod 600 it");
        if (status.st_uid != ::geteuid() && status.st_uid != 0)
            return Error(ErrorKind::denied, ErrorCode::access_denied,
                         path + " belongs to somebody else");
    }
    return TRY_DURING(read_secret(fd.get()), path);
}

}  // namespace

Result<Secret> read_secret(int fd, Duration patience) {
    Bytes buffer(kMostSecretBytes + 1);  // never grows: no stray copies
    std::size_t size = 0;
    auto give_up = [&](Error error) {
        wipe(buffer);
        return error;
    };
    while (size < buffer.size()) {
        pollfd ready{fd, POLLIN, 0};
        int n = ::poll(&ready, 1, static_cast<int>(patience / std::chrono::milliseconds(1)));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return give_up(Error::from_errno(errno, "wait for the secret"));
        if (n == 0) return give_up(refused("the secret did not arrive: its descriptor stays open"));
        ssize_t got = ::read(fd, buffer.data() + size, buffer.size() - size);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got < 0) return give_up(Error::from_errno(errno, "read the secret"));
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    if (size > kMostSecretBytes) return give_up(refused("the secret is longer than 64 KiB"));
    std::size_t begin = 0;
    while (begin < size && is_space(buffer[begin])) ++begin;
    while (size > begin && is_space(buffer[size - 1])) --size;
    if (begin == size) return give_up(refused("the secret is empty"));
    Secret secret(to_bytes(ByteView(buffer).subspan(begin, size - begin)));
    wipe(buffer);
    return secret;
}

std::string kept_secret_path(const SecretPlaces& places, const std::string& name) {
    return places.config_dir + "/secrets/" + name;
}

Result<std::optional<Secret>> find_password(const RepositoryPolicy& repository,
                                            const SecretPlaces& places) {
    auto is_missing = [](const Result<Secret>& read) {
        return !read.ok() && read.error().kind() == ErrorKind::not_found;
    };
    if (!places.credentials_dir.empty()) {
        auto read = read_secret_file(places.credentials_dir + "/repo-password." + repository.name,
                                     Strictness::none);
        if (read.ok()) return std::optional<Secret>(std::move(*read));
        if (!is_missing(read)) return std::move(read).error();
    }
    bool named = !repository.password_file.empty();
    auto read = read_secret_file(
        named ? repository.password_file : kept_secret_path(places, repository.name),
        named ? Strictness::none : Strictness::own_file_mode_0600);
    if (read.ok()) return std::optional<Secret>(std::move(*read));
    if (is_missing(read)) return std::optional<Secret>();
    return std::move(read).error();
}

Result<> keep_secret(const SecretPlaces& places, const std::string& name, const Secret& secret) {
    return write_file_durably(kept_secret_path(places, name), as_text(secret.view()), 0600);
}

}  // namespace backup
