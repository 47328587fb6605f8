#include "ctl/stream.h"

#include <cerrno>

#include <poll.h>
#include <unistd.h>

#include "ctl/exit_code.h"

namespace backup {

bool Stream::wait(int interrupt_fd) {
    if (buffer_.find('\n', at_) != std::string::npos) return true;
    while (true) {
        struct pollfd fds[2] = {{fd_.get(), POLLIN, 0}, {interrupt_fd, POLLIN, 0}};
        int r = ::poll(fds, 2, -1);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return true;
        return (fds[1].revents & POLLIN) == 0;
    }
}

Result<std::optional<Record>> Stream::next() {
    if (ended_) return std::optional<Record>();
    constexpr std::size_t kChunk = 64 * 1024;
    std::size_t searched = at_;
    std::size_t end = 0;
    while ((end = buffer_.find('\n', searched)) == std::string::npos) {
        searched = buffer_.size();
        if (at_ > kChunk) {
            buffer_.erase(0, at_);
            searched -= at_;
            at_ = 0;
        }
        std::size_t size = buffer_.size();
        buffer_.resize(size + kChunk);
        ssize_t n = ::read(fd_.get(), buffer_.data() + size, kChunk);
        buffer_.resize(size + static_cast<std::size_t>(n > 0 ? n : 0));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Error::from_errno(errno, "read an answer of backupd");
        if (n == 0)
            return Error(ErrorKind::io,
                         "the answer of backupd broke off; what was shown is not all");
    }
    Record record = TRY(Record::parse(std::string_view(buffer_).substr(at_, end - at_)));
    at_ = end + 1;
    if (!record.flag("end")) return std::optional<Record>(std::move(record));
    ended_ = true;
    if (!record.has("error")) return std::optional<Record>();
    ErrorCode code = error_code_from_bus(record.text("error"));
    return Error(ErrorKind::io, code, record.text("message"));
}

}  // namespace backup
