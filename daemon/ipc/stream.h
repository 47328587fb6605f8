// Streams: pipes that carry to a client what is too much for a message. A thread per stream writes
// with back-pressure; the loop only counts them.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/result.h"
#include "common/unique_fd.h"
#include "daemon/ipc/json_line.h"
#include "daemon/ipc/places.h"
#include "daemon/runtime/loop.h"

namespace backup {

// PipeWriter writes to a pipe that somebody else reads, slowly perhaps. One thread. Errors:
// `cancelled` when the reader has gone, when nothing was read for a minute, or when a stop is asked
// for; nothing can be written after an error.
class PipeWriter {
  public:
    static constexpr Duration kPatience = std::chrono::seconds(60);

    PipeWriter(UniqueFd pipe, std::stop_token stop, Duration patience = kPatience);
    Result<> write(std::string_view bytes);  // buffered
    Result<> flush();
    bool reader_gone() const;
    std::stop_token stop() const { return stop_; }

  private:
    Result<> wait_for_room();
    Result<> write_all(std::string_view bytes);

    UniqueFd pipe_, wake_;
    std::stop_token stop_;
    Duration patience_;
    std::string buffer_;
};

struct Pipe {
    UniqueFd reader, writer;  // the writer does not block
};
Result<Pipe> make_pipe();

// The writing side of a stream of lines; counts them for the last one.
class LineWriter {
  public:
    explicit LineWriter(PipeWriter& pipe) : pipe_(pipe) {}
    Result<> write(JsonLine& line);
    Result<> flush() { return pipe_.flush(); }
    std::uint64_t count() const { return count_; }
    bool reader_gone() const { return pipe_.reader_gone(); }
    std::stop_token stop() const { return pipe_.stop(); }

  private:
    PipeWriter& pipe_;
    std::uint64_t count_ = 0;
};

// All open streams. Loop thread only.
class StreamSet {
  public:
    static constexpr unsigned kMostPerUid = 4;

    explicit StreamSet(Loop& loop) : loop_(loop) {}
    ~StreamSet();  // stops and joins

    using Permit = Places::Permit;
    Result<Permit> permit(std::uint32_t uid) { return places_.take(uid); }
    // Runs `body` on a thread of its own; its error, or the count of lines, becomes the last line.
    // The reading end.
    Result<UniqueFd> start(std::uint32_t uid, std::function<Result<>(LineWriter&)> body);

  private:
    struct Stream {
        Permit permit;
        std::jthread thread;
    };
    Loop& loop_;
    Places places_{kMostPerUid, "at most " + std::to_string(kMostPerUid) +
                                    " streams at once: read or close one"};
    std::list<Stream> streams_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace backup
