#include "daemon/state/state_codec.h"

#include <algorithm>

namespace backup::state {

namespace {

constexpr std::size_t kNumberBytes = 8;

void put_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
}

bool take_varint(std::string_view& from, std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !from.empty(); shift += 7) {
        auto byte = static_cast<unsigned char>(from[0]);
        from.remove_prefix(1);
        if (shift == 63 && byte > 1) return false;
        value |= std::uint64_t{byte & 0x7fu} << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

// Fields with their default value are left out.
class Writer {
  public:
    void text(std::uint8_t tag, std::string_view value) {
        if (!value.empty()) field(tag, value);
    }
    void number(std::uint8_t tag, std::uint64_t value) {
        if (value != 0) always(tag, value);
    }
    void always(std::uint8_t tag, std::uint64_t value) {
        std::string bytes;
        put_varint(bytes, value);
        field(tag, bytes);
    }
    void time(std::uint8_t tag, Timestamp value) { number(tag, ticks(value)); }
    void end(std::uint8_t tag, const std::optional<Timestamp>& value) {
        if (value) always(tag, ticks(*value));  // present, if only as the epoch
    }
    void count(std::uint8_t tag, const std::pair<std::string, std::uint64_t>& value) {
        std::string bytes;
        put_varint(bytes, value.second);
        bytes += value.first;
        field(tag, bytes);
    }
    std::string take() { return std::move(out_); }

  private:
    static std::uint64_t ticks(Timestamp time) {
        return static_cast<std::uint64_t>(time.time_since_epoch().count());
    }
    void field(std::uint8_t tag, std::string_view bytes) {
        out_ += static_cast<char>(tag);
        put_varint(out_, bytes.size());
        out_ += bytes;
    }
    std::string out_;
};

class Reader {
  public:
    explicit Reader(std::string_view bytes) : rest_(bytes) {}

    // The next field; false at the end, and for a value that is damaged.
    bool next() {
        if (!good_ || rest_.empty()) return false;
        tag_ = static_cast<std::uint8_t>(rest_[0]);
        rest_.remove_prefix(1);
        std::uint64_t length = 0;
        good_ = take_varint(rest_, length) && length <= rest_.size();
        if (!good_) return false;
        bytes_ = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return true;
    }
    std::uint8_t tag() const { return tag_; }

    void text(std::string& out) { out.assign(bytes_); }
    std::string_view bytes() const { return bytes_; }
    std::uint64_t number() {
        std::uint64_t value = 0;
        std::string_view bytes = bytes_;
        if (!take_varint(bytes, value) || !bytes.empty()) good_ = false;
        return value;
    }
    Timestamp time() { return Timestamp(Duration(static_cast<std::int64_t>(number()))); }
    std::pair<std::string, std::uint64_t> count() {
        std::uint64_t value = 0;
        std::string_view bytes = bytes_;
        if (!take_varint(bytes, value)) good_ = false;
        return {std::string(bytes), value};
    }

    bool good() const { return good_; }

  private:
    std::string_view rest_;
    std::string_view bytes_;
    std::uint8_t tag_ = 0;
    bool good_ = true;
};

template <typename T>
Result<T> checked(const Reader& reader, T value, const char* what) {
    if (!reader.good())
        return Error(ErrorKind::corrupt, std::string("state: a damaged record of a ") + what);
    return value;
}

std::string prefixed(char prefix, std::string_view rest) {
    std::string key(1, prefix);
    key += rest;
    return key;
}

// Cut to what one byte can count.
std::string with_length(char prefix, std::string_view text) {
    text = text.substr(0, 255);
    std::string key(1, prefix);
    key += static_cast<char>(text.size());
    key += text;
    return key;
}

}  // namespace

std::string encode_number(std::uint64_t number) {
    std::string bytes(kNumberBytes, '\0');
    for (std::size_t i = 0; i < kNumberBytes; ++i)
        bytes[i] = static_cast<char>(number >> (8 * (kNumberBytes - 1 - i)));
    return bytes;
}

std::optional<std::uint64_t> decode_number(std::string_view bytes) {
    if (bytes.size() != kNumberBytes) return std::nullopt;
    std::uint64_t number = 0;
    for (char byte : bytes) number = number << 8 | static_cast<unsigned char>(byte);
    return number;
}

std::string job_key(std::uint64_t id) {
    return prefixed(kJobPrefix, encode_number(id));
}
std::string unfinished_key(std::uint64_t id) {
    return prefixed(kUnfinishedPrefix, encode_number(id));
}
std::string line_prefix(std::uint64_t job) {
    return prefixed(kLinePrefix, encode_number(job));
}
std::string line_key(std::uint64_t job, std::uint64_t line) {
    return line_prefix(job) + encode_number(line);
}
std::string set_key(std::string_view set) {
    return prefixed(kSetPrefix, set);
}
std::string repository_key(std::string_view name) {
    return prefixed(kRepositoryPrefix, name);
}
std::string guard_key(std::string_view set) {
    return std::string(1, kGuardPrefix) + std::string(set);
}
std::string checkpoint_key(std::string_view set) {
    return prefixed(kCheckpointPrefix, set);
}
std::string lock_prefix(std::string_view repository_id) {
    return with_length(kLockPrefix, repository_id);
}
std::string lock_key(std::string_view repository_id, std::string_view lock_hex) {
    return lock_prefix(repository_id) + std::string(lock_hex);
}
std::string queue_prefix(std::string_view set) {
    return with_length(kQueuePrefix, set);
}
std::optional<std::uint64_t> id_of_key(std::string_view key) {
    if (key.size() != 1 + kNumberBytes) return std::nullopt;
    return decode_number(key.substr(1));
}

// Tags are for ever: a number that was used is never given another meaning.

std::string encode(const JobRecord& record) {
    Writer writer;
    writer.number(1, record.id);
    writer.text(2, record.kind);
    writer.text(3, record.set);
    writer.text(4, record.repository);
    writer.text(5, record.trigger);
    writer.text(6, record.mode);
    writer.number(7, record.uid);
    writer.text(8, record.parent);
    writer.time(9, record.begin);
    writer.end(10, record.end);
    writer.text(11, record.outcome);
    writer.text(12, record.error_name);
    writer.text(13, record.message);
    writer.text(14, record.revision);
    writer.number(15, record.exceptions);
    for (const auto& count : record.counts) writer.count(16, count);
    return writer.take();
}

Result<JobRecord> decode_job(std::string_view value) {
    JobRecord record;
    Reader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                record.id = reader.number();
                break;
            case 2:
                reader.text(record.kind);
                break;
            case 3:
                reader.text(record.set);
                break;
            case 4:
                reader.text(record.repository);
                break;
            case 5:
                reader.text(record.trigger);
                break;
            case 6:
                reader.text(record.mode);
                break;
            case 7:
                record.uid = static_cast<std::uint32_t>(reader.number());
                break;
            case 8:
                reader.text(record.parent);
                break;
            case 9:
                record.begin = reader.time();
                break;
            case 10:
                record.end = reader.time();
                break;
            case 11:
                reader.text(record.outcome);
                break;
            case 12:
                reader.text(record.error_name);
                break;
            case 13:
                reader.text(record.message);
                break;
            case 14:
                reader.text(record.revision);
                break;
            case 15:
                record.exceptions = reader.number();
                break;
            case 16:
                record.counts.push_back(reader.count());
                break;
        }
    }
    return checked(reader, std::move(record), "job");
}

std::string encode(const JobLine& line) {
    Writer writer;
    writer.time(1, line.time);
    writer.text(2, line.type);
    writer.text(3, line.level);
    writer.text(4, line.object);
    writer.text(5, line.kind);
    writer.text(6, line.message);
    return writer.take();
}

Result<JobLine> decode_line(std::string_view value) {
    JobLine line;
    Reader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                line.time = reader.time();
                break;
            case 2:
                reader.text(line.type);
                break;
            case 3:
                reader.text(line.level);
                break;
            case 4:
                reader.text(line.object);
                break;
            case 5:
                reader.text(line.kind);
                break;
            case 6:
                reader.text(line.message);
                break;
        }
    }
    return checked(reader, std::move(line), "line");
}

std::string encode(const SetRecord& record) {
    Writer writer;
    writer.time(1, record.last_attempt);
    writer.time(2, record.last_success);
    writer.time(3, record.protected_until);
    writer.text(4, record.last_result);
    writer.text(5, record.latest_revision);
    writer.number(6, record.last_number);
    writer.time(7, record.last_full);
    writer.number(8, record.unexplained);
    return writer.take();
}

Result<SetRecord> decode_set(std::string_view value) {
    SetRecord record;
    Reader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                record.last_attempt = reader.time();
                break;
            case 2:
                record.last_success = reader.time();
                break;
            case 3:
                record.protected_until = reader.time();
                break;
            case 4:
                reader.text(record.last_result);
                break;
            case 5:
                reader.text(record.latest_revision);
                break;
            case 6:
                record.last_number = reader.number();
                break;
            case 7:
                record.last_full = reader.time();
                break;
            case 8:
                record.unexplained = reader.number();
                break;
        }
    }
    return checked(reader, std::move(record), "set");
}

std::string encode(const RepositoryRecord& record) {
    Writer writer;
    writer.text(1, record.repository_id);
    writer.number(2, record.password_generated ? 1 : 0);
    writer.number(3, record.sheet_tested ? 1 : 0);
    writer.time(4, record.last_check);
    writer.text(5, record.last_check_result);
    writer.text(6, record.key_hint);
    writer.time(7, record.last_collect);
    writer.time(8, record.last_collect_attempt);
    writer.text(9, record.last_collect_result);
    return writer.take();
}

Result<RepositoryRecord> decode_repository(std::string_view value) {
    RepositoryRecord record;
    Reader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(record.repository_id);
                break;
            case 2:
                record.password_generated = reader.number() != 0;
                break;
            case 3:
                record.sheet_tested = reader.number() != 0;
                break;
            case 4:
                record.last_check = reader.time();
                break;
            case 5:
                reader.text(record.last_check_result);
                break;
            case 6:
                reader.text(record.key_hint);
                break;
            case 7:
                record.last_collect = reader.time();
                break;
            case 8:
                record.last_collect_attempt = reader.time();
                break;
            case 9:
                reader.text(record.last_collect_result);
                break;
        }
    }
    return checked(reader, std::move(record), "repository");
}

// A question is a sequence of fields within a field.
static std::string encode_question(const GuardQuestion& question) {
    Writer writer;
    writer.text(1, question.kind);
    writer.text(2, question.answer);
    writer.time(3, question.since);
    writer.time(4, question.answered);
    writer.text(5, question.message);
    writer.number(6, question.job);
    writer.number(7, question.lost);
    writer.text(8, question.clean);
    writer.number(9, question.clean_number);
    writer.number(10, question.pins ? 1 : 0);
    writer.number(11, question.holds ? 1 : 0);
    return writer.take();
}

static Result<GuardQuestion> decode_question(std::string_view value) {
    GuardQuestion question;
    Reader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(question.kind);
                break;
            case 2:
                reader.text(question.answer);
                break;
            case 3:
                question.since = reader.time();
                break;
            case 4:
                question.answered = reader.time();
                break;
            case 5:
                reader.text(question.message);
                break;
            case 6:
                question.job = reader.number();
                break;
            case 7:
                question.lost = reader.number();
                break;
            case 8:
                reader.text(question.clean);
                break;
            case 9:
                question.clean_number = reader.number();
                break;
            case 10:
                question.pins = reader.number() != 0;
                break;
            case 11:
                question.holds = reader.number() != 0;
                break;
        }
    }
    return checked(reader, std::move(question), "question");
}

std::string encode(const GuardRecord& record) {
    Writer writer;
    writer.text(1, encode_question(record.source));
    writer.text(2, encode_question(record.change));
    writer.time(3, record.window_begin);
    writer.number(4, record.window_opaque);
    writer.number(5, record.window_could);
    writer.text(6, record.window_clean);
    writer.number(7, record.window_number);
    writer.text(8, encode_question(record.line));
    writer.number(9, record.line_known);
    return writer.take();
}

Result<GuardRecord> decode_guard(std::string_view value) {
    GuardRecord record;
    std::string source, change, line;
    Reader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(source);
                break;
            case 2:
                reader.text(change);
                break;
            case 3:
                record.window_begin = reader.time();
                break;
            case 4:
                record.window_opaque = reader.number();
                break;
            case 5:
                record.window_could = reader.number();
                break;
            case 6:
                reader.text(record.window_clean);
                break;
            case 7:
                record.window_number = reader.number();
                break;
            case 8:
                reader.text(line);
                break;
            case 9:
                record.line_known = reader.number();
                break;
        }
    }
    record.source = TRY(decode_question(source));
    record.change = TRY(decode_question(change));
    record.line = TRY(decode_question(line));
    return checked(reader, std::move(record), "guard");
}

namespace {

std::string encode_half_file(const HalfFileRecord& record) {
    Writer writer;
    writer.text(1, record.path);
    writer.number(2, record.inode);
    writer.number(3, record.size);
    writer.number(4, static_cast<std::uint64_t>(record.mtime_seconds));
    writer.number(5, record.mtime_nanoseconds);
    writer.number(6, static_cast<std::uint64_t>(record.ctime_seconds));
    writer.number(7, record.ctime_nanoseconds);
    writer.number(8, record.bytes);
    writer.text(9, record.chunks);
    return writer.take();
}

Result<HalfFileRecord> decode_half_file(std::string_view value) {
    HalfFileRecord record;
    Reader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(record.path);
                break;
            case 2:
                record.inode = reader.number();
                break;
            case 3:
                record.size = reader.number();
                break;
            case 4:
                record.mtime_seconds = static_cast<std::int64_t>(reader.number());
                break;
            case 5:
                record.mtime_nanoseconds = static_cast<std::uint32_t>(reader.number());
                break;
            case 6:
                record.ctime_seconds = static_cast<std::int64_t>(reader.number());
                break;
            case 7:
                record.ctime_nanoseconds = static_cast<std::uint32_t>(reader.number());
                break;
            case 8:
                record.bytes = reader.number();
                break;
            case 9:
                reader.text(record.chunks);
                break;
        }
    }
    return checked(reader, std::move(record), "half file");
}

}  // namespace

std::string encode(const CheckpointRecord& record) {
    Writer writer;
    writer.text(1, record.repository_id);
    writer.text(2, record.tree);
    writer.number(3, record.job);
    writer.time(4, record.begin);
    writer.time(5, record.kept);
    writer.text(6, record.trigger);
    writer.number(7, record.files);
    writer.number(8, record.bytes);
    for (const std::string& path : record.unsettled) writer.text(9, path);
    for (const HalfFileRecord& half : record.half) writer.text(10, encode_half_file(half));
    return writer.take();
}

Result<CheckpointRecord> decode_checkpoint(std::string_view value) {
    CheckpointRecord record;
    Reader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(record.repository_id);
                break;
            case 2:
                reader.text(record.tree);
                break;
            case 3:
                record.job = reader.number();
                break;
            case 4:
                record.begin = reader.time();
                break;
            case 5:
                record.kept = reader.time();
                break;
            case 6:
                reader.text(record.trigger);
                break;
            case 7:
                record.files = reader.number();
                break;
            case 8:
                record.bytes = reader.number();
                break;
            case 9:
                reader.text(record.unsettled.emplace_back());
                break;
            case 10:
                record.half.push_back(TRY(decode_half_file(reader.bytes())));
                break;
        }
    }
    return checked(reader, std::move(record), "checkpoint");
}

}  // namespace backup::state
