#include "ctl/secret.h"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/path.h"
#include "ctl/terminal.h"

namespace backup {

Secret& Secret::operator=(Secret&& other) noexcept {
    if (this != &other) {
        clear();
        text_ = std::move(other.text_);
        other.clear();
    }
    return *this;
}

void Secret::clear() {
    wipe({reinterpret_cast<std::uint8_t*>(text_.data()), text_.size()});
    text_.clear();
}

Result<Secret> generate_password() {
    // Digits and small letters without i, l, o and u: no two look alike on paper. 32 of them, so
    // that the low 5 bits of a random byte choose evenly.
    static constexpr char kLetters[] = "0123456789abcdefghjkmnpqrstvwxyz";
    static_assert(sizeof kLetters == 33);
    constexpr std::size_t kGroups = 8, kGroupSize = 4;
    std::array<std::uint8_t, kGroups * kGroupSize> random{};
    if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
        return Error::from_errno(errno, "get random bytes");
    std::string text;
    text.reserve(kGroups * (kGroupSize + 1));
    for (std::size_t i = 0; i < random.size(); ++i) {
        if (i > 0 && i % kGroupSize == 0) text += '-';
        text += kLetters[random[i] % 32];
    }
    wipe(random);
    return Secret(std::move(text));
}

Result<UniqueFd> secret_fd(const Secret& secret) {
    UniqueFd fd(::memfd_create("backupctl-secret", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd) return Error::from_errno(errno, "make a memory file");
    std::string_view rest = secret.text();
    while (!rest.empty()) {
        ssize_t n = ::write(fd.get(), rest.data(), rest.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return Error::from_errno(errno, "fill a memory file");
        rest.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::lseek(fd.get(), 0, SEEK_SET) != 0 ||
        ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) !=
            0)
        return Error::from_errno(errno, "seal a memory file");
    return fd;
}

namespace {

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

Result<Secret> read_password_file(const std::string& file) {
    constexpr std::size_t kMost = 64 * 1024;
    UniqueFd opened;
    int fd = STDIN_FILENO;
    if (file != "-") {
        opened = UniqueFd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
        if (!opened)
            return Error::from_errno(errno, "read the password from " + printable(file))
                .with_code(ErrorCode::invalid_arguments);
        fd = opened.get();
    }
    std::string text;
    text.reserve(kMost + 1);  // so that growing leaves no copies behind
    std::array<char, 4096> buffer{};
    while (text.size() <= kMost) {
        ssize_t n = ::read(fd, buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return Error::from_errno(errno, "read the password from " + printable(file))
                .with_code(ErrorCode::invalid_arguments);
        if (n == 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    wipe({reinterpret_cast<std::uint8_t*>(buffer.data()), buffer.size()});
    Secret secret(std::move(text));
    if (secret.text().size() > kMost)
        return usage(printable(file) + " is too long for a password (64 KiB)");
    if (secret.text().find_first_not_of(" \t\r\n") == std::string::npos)
        return usage(printable(file) + " holds no password");
    return secret;
}

}  // namespace

Result<ChosenPassword> choose_password(Context& context, const std::string& what, PasswordUse use) {
    auto file = context.args().value("--password-file");
    bool generate = context.args().flag("--generate-password");
    if (file && generate)
        return usage("--password-file and --generate-password exclude each other");
    ChosenPassword chosen;
    if (file) {
        chosen.secret = TRY(read_password_file(*file));
        return chosen;
    }
    if (generate) {
        chosen.secret = TRY(generate_password());
        chosen.generated = true;
        return chosen;
    }
    if (!context.interactive())
        return usage("no password for " + what + "\ngive --password-file FILE" +
                     (use == PasswordUse::new_one ? " or --generate-password" : "") +
                     ", or run it on a terminal to be asked");
    Secret first(TRY(ask_password(
        (use == PasswordUse::new_one ? "New password for " : "Password of ") + what + ": ")));
    if (first.text().empty()) return usage("an empty password protects nothing");
    if (use == PasswordUse::new_one) {
        Secret second(TRY(ask_password("The same again: ")));
        if (first.text() != second.text())
            return usage("the two passwords differ; nothing was changed");
    }
    chosen.secret = std::move(first);
    return chosen;
}

}  // namespace backup
