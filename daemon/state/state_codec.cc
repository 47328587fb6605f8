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

void describe(auto& field, Of<JobRecord> auto& record) {
    field(1, record.id);
    field(2, record.kind);
    field(3, record.set);
    field(4, record.repository);
    field(5, record.trigger);
    field(6, record.mode);
    field(7, record.uid);
    field(8, record.parent);
    field(9, record.begin);
    field(10, record.end);
    field(11, record.outcome);
    field(12, record.error_name);
    field(13, record.message);
    field(14, record.revision);
    field(15, record.exceptions);
    field(16, record.counts);
}

std::string encode(const JobRecord& record) {
    return encode_fields(record);
}

Result<JobRecord> decode_job(std::string_view value) {
    return decode_fields<JobRecord>(value, "job");
}

void describe(auto& field, Of<JobLine> auto& line) {
    field(1, line.time);
    field(2, line.type);
    field(3, line.level);
    field(4, line.object);
    field(5, line.kind);
    field(6, line.message);
}

std::string encode(const JobLine& line) {
    return encode_fields(line);
}

Result<JobLine> decode_line(std::string_view value) {
    return decode_fields<JobLine>(value, "line");
}

void describe(auto& field, Of<SetRecord> auto& record) {
    field(1, record.last_attempt);
    field(2, record.last_success);
    field(3, record.protected_until);
    field(4, record.last_result);
    field(5, record.latest_revision);
    field(6, record.last_number);
    field(7, record.last_full);
    field(8, record.unexplained);
    field(9, record.items);
    field(10, record.bytes);
    field(11, record.limits_hit);
    field(12, record.left_out_items);
    field(13, record.left_out_bytes);
    field(14, record.soft_hit);
    field(15, record.churn_since);
    field(16, record.churn_bytes);
    field(17, record.unprotected);
    field(18, record.unprotected_job);
    field(24, record.drills_since);
    field(25, record.last_drill);
    field(26, record.drill_result);
    field(27, record.drill_job);
    field(28, record.drill_failed);
}

std::string encode(const SetRecord& record) {
    return encode_fields(record);
}

Result<SetRecord> decode_set(std::string_view value) {
    return decode_fields<SetRecord>(value, "set");
}

void describe(auto& field, Of<RepositoryRecord> auto& record) {
    field(1, record.repository_id);
    field(2, record.password_generated);
    field(3, record.sheet_tested);
    field(4, record.last_check);
    field(5, record.last_check_result);
    field(6, record.key_hint);
    field(7, record.last_collect);
    field(8, record.last_collect_attempt);
    field(9, record.last_collect_result);
    field(10, record.emptied);
}

std::string encode(const RepositoryRecord& record) {
    return encode_fields(record);
}

Result<RepositoryRecord> decode_repository(std::string_view value) {
    return decode_fields<RepositoryRecord>(value, "repository");
}

void describe(auto& field, Of<PackRecord> auto& record) {
    field(1, record.owner);
    field(2, record.size);
    field(3, record.since);
}

std::string encode(const PackRecord& record) {
    return encode_fields(record);
}

Result<PackRecord> decode_pack(std::string_view value) {
    return decode_fields<PackRecord>(value, "pack");
}

}  // namespace backup::state
