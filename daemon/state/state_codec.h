// Keys and values of the state store. Pure functions; any thread.
//
//     key             value
//     v               version of the schema, decimal text
//     n               the highest job number given, 8 bytes big endian
//     j <id>          JobRecord            ids are 8 bytes big endian, so that they sort
//     u <id>          empty: the job has no end yet
//     l <id> <n>      JobLine
//     s <set>         SetRecord
//     r <name>        RepositoryRecord
//     g <set>         GuardRecord
//     c <set>         CheckpointRecord
//     k <length of repository id, 1 byte> <repository id> <lock>   empty: a lock of ours
//     p <length of repository id, 1 byte> <repository id> <pack, 32 bytes>   PackRecord
//     d <length of repository id, 1 byte> <repository id> <pack, 32 bytes> [<blob, 33 bytes>]
//                     empty: damaged, the copy of the blob in the pack or all of the pack
//     q <length of set id, 1 byte> <set id> <key of the queue>     the queue's, see mark_codec.h
//
// A value is a sequence of fields: tag (1 byte), length (varint), bytes. Unknown tags are skipped,
// so a field can be added without a new version of the schema.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/state/state_store.h"

namespace backup::state {

inline constexpr unsigned kSchemaVersion = 1;

inline constexpr std::string_view kVersionKey = "v";
inline constexpr std::string_view kNumberKey = "n";
inline constexpr char kJobPrefix = 'j';
inline constexpr char kUnfinishedPrefix = 'u';
inline constexpr char kLinePrefix = 'l';
inline constexpr char kSetPrefix = 's';
inline constexpr char kRepositoryPrefix = 'r';
inline constexpr char kGuardPrefix = 'g';
inline constexpr char kCheckpointPrefix = 'c';
inline constexpr char kLockPrefix = 'k';
inline constexpr char kPackPrefix = 'p';
inline constexpr char kDamagePrefix = 'd';
inline constexpr char kQueuePrefix = 'q';

std::string encode_number(std::uint64_t number);  // 8 bytes, big endian
std::optional<std::uint64_t> decode_number(std::string_view bytes);

std::string job_key(std::uint64_t id);
std::string unfinished_key(std::uint64_t id);
// What all lines of a job begin with.
std::string line_prefix(std::uint64_t job);
std::string line_key(std::uint64_t job, std::uint64_t line);
std::string set_key(std::string_view set);
std::string repository_key(std::string_view name);
std::string guard_key(std::string_view set);
std::string checkpoint_key(std::string_view set);
// Repository ids of more than 255 bytes do not occur; they are cut.
std::string lock_prefix(std::string_view repository_id);
std::string lock_key(std::string_view repository_id, std::string_view lock_hex);
std::string pack_prefix(std::string_view repository_id);
std::string damage_prefix(std::string_view repository_id);
// What all keys of a set's queue begin with. Ids of more than 255 bytes do not occur; they are cut.
std::string queue_prefix(std::string_view set);
// The number behind the one-letter prefix; nothing if the key has another shape.
std::optional<std::uint64_t> id_of_key(std::string_view key);

std::string encode(const JobRecord& record);
std::string encode(const JobLine& line);
std::string encode(const SetRecord& record);
std::string encode(const RepositoryRecord& record);
std::string encode(const GuardRecord& record);
std::string encode(const CheckpointRecord& record);
// Without the pack: it is the key.
std::string encode(const PackRecord& record);
// `corrupt` for what encode() cannot have made.
Result<JobRecord> decode_job(std::string_view value);
Result<JobLine> decode_line(std::string_view value);
Result<SetRecord> decode_set(std::string_view value);
Result<RepositoryRecord> decode_repository(std::string_view value);
Result<GuardRecord> decode_guard(std::string_view value);
Result<CheckpointRecord> decode_checkpoint(std::string_view value);
Result<PackRecord> decode_pack(std::string_view value);

}  // namespace backup::state
