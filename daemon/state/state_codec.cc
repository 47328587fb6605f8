#include "daemon/state/state_codec.h"

#include "daemon/state/fields.h"

namespace backup::state {

namespace {

constexpr std::size_t kNumberBytes = 8;

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
std::string pack_prefix(std::string_view repository_id) {
    return with_length(kPackPrefix, repository_id);
}
std::string damage_prefix(std::string_view repository_id) {
    return with_length(kDamagePrefix, repository_id);
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
    FieldWriter writer;
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
    FieldReader reader(value);
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
    FieldWriter writer;
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
    FieldReader reader(value);
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
    FieldWriter writer;
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
    FieldReader reader(value);
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
    FieldWriter writer;
    writer.text(1, record.repository_id);
    writer.number(2, record.password_generated ? 1 : 0);
    writer.number(3, record.sheet_tested ? 1 : 0);
    writer.time(4, record.last_check);
    writer.text(5, record.last_check_result);
    writer.text(6, record.key_hint);
    writer.time(7, record.last_collect);
    writer.time(8, record.last_collect_attempt);
    writer.text(9, record.last_collect_result);
    writer.number(10, record.emptied ? 1 : 0);
    return writer.take();
}

Result<RepositoryRecord> decode_repository(std::string_view value) {
    RepositoryRecord record;
    FieldReader reader(value);
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
            case 10:
                record.emptied = reader.number() != 0;
                break;
        }
    }
    return checked(reader, std::move(record), "repository");
}

std::string encode(const PackRecord& record) {
    FieldWriter writer;
    writer.text(1, record.owner);
    writer.number(2, record.size);
    writer.time(3, record.since);
    return writer.take();
}

Result<PackRecord> decode_pack(std::string_view value) {
    PackRecord record;
    FieldReader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(record.owner);
                break;
            case 2:
                record.size = reader.number();
                break;
            case 3:
                record.since = reader.time();
                break;
        }
    }
    return checked(reader, std::move(record), "pack");
}

}  // namespace backup::state
