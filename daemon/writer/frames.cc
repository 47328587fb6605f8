#include "daemon/writer/frames.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace backup::writer {

namespace {

constexpr std::size_t kHeadBytes = 9;  // length (8), kind (1)
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 31;
constexpr std::size_t kMostDescriptors = 16;
// Memory grows with what has arrived, not with what a head claims.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

Error has_gone() {
    return {ErrorKind::cancelled, ErrorCode::cancelled, "the other process has gone"};
}
Error does_not_go_on() {
    return {ErrorKind::io, "the other process does not go on"};
}
Error unreadable() {
    return {ErrorKind::io, "a frame between the daemon and a writer cannot be read"};
}

}  // namespace

Packer& Packer::number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) data_ += static_cast<char>(value | 0x80);
    data_ += static_cast<char>(value);
    return *this;
}

Packer& Packer::text(std::string_view value) {
    number(value.size());
    data_ += value;
    return *this;
}

Packer& Packer::texts(const std::vector<std::string>& values) {
    number(values.size());
    for (const std::string& value : values) text(value);
    return *this;
}

Packer& Packer::error(const Error& value) {
    number(static_cast<std::uint64_t>(value.kind()))
        .number(static_cast<std::uint64_t>(value.code()));
    return text(value.message());
}

Packer& Packer::outcome(const Result<>& value) {
    flag(value.ok());
    if (!value.ok()) error(value.error());
    return *this;
}

std::uint64_t Unpacker::number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; good_ && shift < 64 && !rest_.empty(); shift += 7) {
        const auto byte = static_cast<unsigned char>(rest_[0]);
        rest_.remove_prefix(1);
        value |= std::uint64_t{byte & 0x7fu} << shift;
        if (byte < 0x80) return value;
    }
    good_ = false;
    return 0;
}

std::string_view Unpacker::view() {
    const std::uint64_t length = number();
    if (length > rest_.size()) good_ = false;
    if (!good_) return {};
    const std::string_view found = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return found;
}

std::uint64_t Unpacker::count() {
    const std::uint64_t value = number();
    if (value > rest_.size()) good_ = false;
    return good_ ? value : 0;
}

std::vector<std::string> Unpacker::texts() {
    std::vector<std::string> values;
    for (std::uint64_t left = count(); left > 0 && good_; --left) values.push_back(text());
    return values;
}

Error Unpacker::error() {
    const std::uint64_t kind = number(), code = number();
    std::string message = text();
    if (kind > static_cast<std::uint64_t>(ErrorKind::io) ||
        code > static_cast<std::uint64_t>(ErrorCode::daemon_unreachable))
        good_ = false;
    if (!good_) return unreadable();
    return {static_cast<ErrorKind>(kind), static_cast<ErrorCode>(code), std::move(message)};
}

Result<> Unpacker::outcome() {
    if (flag()) return {};
    return error();
}

Result<> Unpacker::finish() const {
    if (!good_ || !rest_.empty()) return unreadable();
    return {};
}

Result<> Channel::send(std::uint8_t kind, std::string_view payload, const std::vector<int>& fds) {
    char head[kHeadBytes];
    for (std::size_t i = 0; i < 8; ++i)
        head[i] = static_cast<char>(static_cast<std::uint64_t>(payload.size()) >> (8 * i));
    head[8] = static_cast<char>(kind);
    std::lock_guard lock(sending_);
    iovec parts[2] = {{head, sizeof head}, {const_cast<char*>(payload.data()), payload.size()}};
    alignas(cmsghdr) char room[CMSG_SPACE(kMostDescriptors * sizeof(int))] = {};
    bool with_descriptors = !fds.empty();
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = 2;
        if (with_descriptors) {
            message.msg_control = room;
            message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
            cmsghdr* control = CMSG_FIRSTHDR(&message);
            control->cmsg_level = SOL_SOCKET;
            control->cmsg_type = SCM_RIGHTS;
            control->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
            std::memcpy(CMSG_DATA(control), fds.data(), fds.size() * sizeof(int));
        }
        const ssize_t sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) return has_gone();
        if (sent < 0 && errno == EAGAIN) return does_not_go_on();
        if (sent < 0) return Error::from_errno(errno, "speak to the other process");
        with_descriptors = false;
        auto left = static_cast<std::size_t>(sent);
        for (iovec& part : parts) {
            const std::size_t taken = std::min(left, part.iov_len);
            part.iov_base = static_cast<char*>(part.iov_base) + taken;
            part.iov_len -= taken;
            left -= taken;
        }
    }
    return {};
}

namespace {

// Fills the room; false at the end of the conversation, before the first byte.
Result<bool> read_all(int fd, char* into, std::size_t size, std::vector<UniqueFd>& descriptors) {
    std::size_t done = 0;
    while (done < size) {
        iovec part{into + done, size - done};
        alignas(cmsghdr) char room[CMSG_SPACE(kMostDescriptors * sizeof(int))];
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = room;
        message.msg_controllen = sizeof room;
        const ssize_t got = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == ECONNRESET) return has_gone();
        if (got < 0 && errno == EAGAIN) return does_not_go_on();
        if (got < 0) return Error::from_errno(errno, "listen to the other process");
        for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr;
             one = CMSG_NXTHDR(&message, one)) {
            if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
            const std::size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (std::size_t i = 0; i < count; ++i) {
                int handed = -1;
                std::memcpy(&handed, CMSG_DATA(one) + i * sizeof(int), sizeof(int));
                descriptors.emplace_back(handed);
            }
        }
        if (got == 0 && done == 0) return false;
        if (got == 0) return has_gone();
        done += static_cast<std::size_t>(got);
    }
    return true;
}

}  // namespace

Result<std::optional<Frame>> Channel::receive(int patience_ms) {
    for (;;) {
        pollfd waited{fd_.get(), POLLIN, 0};
        const int ready = ::poll(&waited, 1, patience_ms);
        if (ready > 0) break;
        if (ready == 0) return Error(ErrorKind::transient, "nothing yet");
        if (errno != EINTR) return Error::from_errno(errno, "wait for the other process");
    }
    Frame frame;
    char head[kHeadBytes];
    if (!TRY(read_all(fd_.get(), head, sizeof head, frame.descriptors)))
        return std::optional<Frame>();
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < 8; ++i)
        length |= std::uint64_t{static_cast<unsigned char>(head[i])} << (8 * i);
    if (length > kMostBytes) return unreadable();
    frame.kind = static_cast<std::uint8_t>(head[8]);
    while (frame.payload.size() < length) {
        const std::size_t begin = frame.payload.size();
        const std::size_t piece =
            std::min<std::size_t>(length - begin, std::max(begin, kPieceBytes));
        frame.payload.resize(begin + piece);
        if (!TRY(read_all(fd_.get(), frame.payload.data() + begin, piece, frame.descriptors)))
            return has_gone();
    }
    return std::optional(std::move(frame));
}

void Channel::set_patience(std::chrono::milliseconds patience) {
    const timeval time{static_cast<time_t>(patience.count() / 1000),
                       static_cast<suseconds_t>(patience.count() % 1000 * 1000)};
    (void)::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    (void)::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

void Channel::shut_down() {
    ::shutdown(fd_.get(), SHUT_RDWR);
}

Result<std::pair<UniqueFd, UniqueFd>> socket_pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return Error::from_errno(errno, "make a pair of sockets");
    return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

}  // namespace backup::writer
