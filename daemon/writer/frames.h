// Frames between the daemon and a writer process, over a socket: a length, a kind, a payload of
// numbers and texts. Both are of one build, so there is no version; what cannot be read ends the
// conversation.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"
#include "common/unique_fd.h"

namespace backup::writer {

class Packer {
  public:
    Packer& number(std::uint64_t value);
    Packer& flag(bool value) { return number(value ? 1 : 0); }
    Packer& text(std::string_view value);
    Packer& bytes(ByteView value) { return text(as_text(value)); }
    Packer& texts(const std::vector<std::string>& values);
    Packer& error(const Error& value);
    // Whether it went well, and else why.
    Packer& outcome(const Result<>& value);
    const std::string& data() const { return data_; }

  private:
    std::string data_;
};

// Once something could not be read all that follows is empty, and good() false.
class Unpacker {
  public:
    explicit Unpacker(std::string_view data) : rest_(data) {}
    std::uint64_t number();
    bool flag() { return number() != 0; }
    std::string_view view();
    std::string text() { return std::string(view()); }
    std::vector<std::string> texts();
    Error error();
    Result<> outcome();
    // A count of things that take at least a byte each.
    std::uint64_t count();
    bool good() const { return good_; }
    // All of it was read, and there was no more.
    Result<> finish() const;

  private:
    std::string_view rest_;
    bool good_ = true;
};

struct Frame {
    std::uint8_t kind = 0;
    std::string payload;
    std::vector<UniqueFd> descriptors;
};

// One end of a conversation. Sending may be done by several threads, receiving by one.
class Channel {
  public:
    explicit Channel(UniqueFd fd) : fd_(std::move(fd)) {}

    // `cancelled` when the other end has gone.
    Result<> send(std::uint8_t kind, std::string_view payload, const std::vector<int>& fds = {});
    // Nothing: the other end has closed it. Waits for at most `patience_ms` for a frame to begin
    // (-1: for ever); `transient` when none did.
    Result<std::optional<Frame>> receive(int patience_ms = -1);
    // From now on a frame that was begun, by either end, and does not go on for so long is an
    // error.
    void set_patience(std::chrono::milliseconds patience);
    // Wakes whoever waits; nothing goes through from now on.
    void shut_down();

  private:
    const UniqueFd fd_;
    std::mutex sending_;
};

// Two ends; the second to be handed on.
Result<std::pair<UniqueFd, UniqueFd>> socket_pair();

}  // namespace backup::writer
