#include "daemon/ipc/stream.h"

#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace backup {

namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr int kPipeBytes = 1024 * 1024;

Error reader_has_gone() {
    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "the reader has gone");
}

}  // namespace

Result<Pipe> make_pipe() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0) return Error::from_errno(errno, "make a pipe");
    Pipe made{UniqueFd(fds[0]), UniqueFd(fds[1])};
    if (::fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0) return Error::from_errno(errno, "set up a pipe");
    (void)::fcntl(fds[1], F_SETPIPE_SZ, kPipeBytes);  // only faster
    return made;
}

PipeWriter::PipeWriter(UniqueFd pipe, std::stop_token stop, Duration patience)
    : pipe_(std::move(pipe)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      stop_(std::move(stop)),
      patience_(patience) {
    buffer_.reserve(kBufferBytes);
}

bool PipeWriter::reader_gone() const {
    pollfd state{pipe_.get(), 0, 0};
    return ::poll(&state, 1, 0) > 0 && (state.revents & POLLERR) != 0;
}

Result<> PipeWriter::wait_for_room() {
    std::stop_callback wake(stop_, [this] { (void)::eventfd_write(wake_.get(), 1); });
    for (;;) {
        if (stop_.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        pollfd waited[2] = {{pipe_.get(), POLLOUT, 0}, {wake_.get(), POLLIN, 0}};
        int n = ::poll(waited, 2, static_cast<int>(patience_ / std::chrono::milliseconds(1)));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Error::from_errno(errno, "wait for the reader");
        if (n == 0)
            return Error(ErrorKind::cancelled, ErrorCode::cancelled,
                         "nobody has read for a minute");
        if ((waited[0].revents & POLLERR) != 0) return reader_has_gone();
        if ((waited[0].revents & POLLOUT) != 0) return {};
    }
}

Result<> PipeWriter::write_all(std::string_view bytes) {
    while (!bytes.empty()) {
        ssize_t n = ::write(pipe_.get(), bytes.data(), bytes.size());
        if (n > 0) {
            bytes.remove_prefix(static_cast<std::size_t>(n));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno == EPIPE) return reader_has_gone();
        if (errno != EAGAIN) return Error::from_errno(errno, "write to the reader");
        TRY(wait_for_room());
    }
    return {};
}

Result<> PipeWriter::write(std::string_view bytes) {
    if (buffer_.size() + bytes.size() > kBufferBytes) TRY(flush());
    if (bytes.size() >= kBufferBytes) return write_all(bytes);
    buffer_ += bytes;
    return {};
}

Result<> PipeWriter::flush() {
    auto written = write_all(buffer_);
    buffer_.clear();
    return written;
}

Result<> LineWriter::write(JsonLine& line) {
    auto written = pipe_.write(line.finish());
    line.clear();
    ++count_;
    return written;
}

StreamSet::~StreamSet() {
    for (Stream& stream : streams_) stream.thread.request_stop();
    streams_.clear();
}

Result<UniqueFd> StreamSet::start(std::uint32_t uid, std::function<Result<>(LineWriter&)> body) {
    Permit place = TRY(permit(uid));
    Pipe pipe = TRY(make_pipe());
    auto at = streams_.insert(streams_.end(), Stream{std::move(place), {}});
    at->thread = std::jthread(
        [this, at, body = std::move(body), alive = std::weak_ptr<int>(alive_),
         fd = std::make_shared<UniqueFd>(std::move(pipe.writer))](std::stop_token stop) mutable {
            pthread_setname_np(pthread_self(), "stream");
            {
                PipeWriter writer(std::move(*fd), stop);
                LineWriter lines(writer);
                auto done = body(lines);
                body = nullptr;
                // A reader that has gone hears nothing; all others get the last line.
                (void)writer.write(done.ok() ? end_line(lines.count()) : end_line(done.error()));
                (void)writer.flush();
            }
            loop_.post([this, at, alive] {
                if (!alive.expired()) streams_.erase(at);
            });
        });
    return std::move(pipe.reader);
}

}  // namespace backup
