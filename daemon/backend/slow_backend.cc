#include "daemon/backend/slow_backend.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include "common/path.h"

namespace backup {

namespace {

constexpr std::size_t kChunk = std::size_t{16} << 10;

std::chrono::steady_clock::time_point now() {
    return std::chrono::steady_clock::now();
}

}  // namespace

Result<SlowLine> SlowLine::parse(std::string_view text) {
    SlowLine line;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        const std::string_view word = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const std::size_t sign = std::min(word.find('='), word.size());
        const std::string_view name = word.substr(0, sign);
        const std::string_view value = word.substr(std::min(sign + 1, word.size()));
        std::uint64_t number = 0;
        const auto [stopped, problem] =
            std::from_chars(value.data(), value.data() + value.size(), number);
        const bool is_number =
            problem == std::errc{} && stopped == value.data() + value.size() && !value.empty();
        if (name == "log" && value.starts_with('/'))
            line.log = value;
        else if (name == "connections" && is_number && number >= 1 && number <= 64)
            line.connections = static_cast<unsigned>(number);
        else if (name == "rate" && is_number && number >= 1)
            line.rate = number;
        else if (name == "latency-ms" && is_number)
            line.latency = std::chrono::milliseconds(number);
        else
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "BACKUPD_SLOW_STORAGE: what is '" + printable(word) +
                             "'? try: connections=4 rate=BYTES latency-ms=MILLISECONDS log=/FILE");
    }
    return line;
}

SlowBackend::SlowBackend(std::unique_ptr<Backend> behind, SlowLine line)
    : behind_(std::move(behind)), line_(std::move(line)) {
    if (!line_.log.empty())
        log_.reset(open(line_.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    for (unsigned one = line_.connections; one > 0; --one) free_.push_back(one);
}

BackendProperties SlowBackend::properties() const {
    BackendProperties properties = behind_->properties();
    properties.connections = line_.connections;
    return properties;
}

// Waits for a connection that nobody uses.
class SlowBackend::Connection {
  public:
    explicit Connection(SlowBackend& all) : all_(all) {
        std::unique_lock lock(all_.mutex_);
        all_.changed_.wait(lock, [&] { return !all_.free_.empty(); });
        number = all_.free_.back();
        all_.free_.pop_back();
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() {
        {
            std::lock_guard lock(all_.mutex_);
            all_.free_.push_back(number);
        }
        all_.changed_.notify_one();
    }
    unsigned number = 0;

  private:
    SlowBackend& all_;
};

void SlowBackend::note(const char* way, unsigned connection, FileType type, std::size_t bytes) {
    if (!log_) return;
    const auto microseconds =
        std::chrono::duration_cast<std::chrono::microseconds>(now().time_since_epoch()).count();
    const std::string text = std::to_string(microseconds) + " " + way + " " +
                             std::to_string(connection) + " " + to_string(type) + " " +
                             std::to_string(bytes) + "\n";
    // One call, or the lines of several connections would mix.
    [[maybe_unused]] const ssize_t wrote = write(log_.get(), text.data(), text.size());
}

void SlowBackend::transfer(const char* way, FileType type, std::size_t bytes) {
    const Connection connection(*this);
    auto arrives = now();
    while (bytes != 0) {
        const std::size_t chunk = std::min(bytes, kChunk);
        arrives +=
            std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(
                static_cast<double>(chunk) / static_cast<double>(line_.rate)));
        std::this_thread::sleep_until(arrives);
        note(way, connection.number, type, chunk);
        bytes -= chunk;
    }
}

Result<> SlowBackend::put(const Handle& handle, ByteView content) {
    std::this_thread::sleep_for(line_.latency);
    transfer("up", handle.type, content.size());
    return behind_->put(handle, content);
}

// The connection is taken for a piece that may go, not by one that waits: locks and snapshots pass.
Result<> SlowBackend::put_paced(const Handle& handle, ByteView content, Pace& pace) {
    std::this_thread::sleep_for(line_.latency);
    for (std::size_t sent = 0; sent < content.size();) {
        const std::size_t piece = stride_.next(pace, content.size() - sent);
        if (!pace.pass(piece))
            return Error(ErrorKind::cancelled, ErrorCode::paused, "store " + handle.text());
        const auto begin = now();
        transfer("up", handle.type, piece);
        stride_.sent(piece, now() - begin);
        sent += piece;
    }
    return behind_->put(handle, content);
}

Result<Bytes> SlowBackend::get(const Handle& handle, ByteRange range) {
    std::this_thread::sleep_for(line_.latency);
    Bytes content = TRY(behind_->get(handle, range));
    transfer("down", handle.type, content.size());
    return content;
}

}  // namespace backup
