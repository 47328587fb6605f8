#include "daemon/repository/config_codec.h"

#include <array>
#include <string_view>

#include "common/id.h"
#include "daemon/repository/crypto.h"
#include "daemon/repository/json_reader.h"
#include "daemon/repository/polynomial.h"

namespace backup {

namespace {

// What the format's chunker always uses. Another tool may store other values.
constexpr std::uint64_t kChunkBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kLeastChunkBytes = std::uint64_t{512} << 10;
constexpr std::uint64_t kMostChunkBytes = std::uint64_t{8} << 20;

// Fields that other tools add. A null or a value we match is fine, everything else is an obstacle
// to writing.
void read_chunk_size(JsonReader& json, std::uint64_t expected, std::string& obstacle) {
    std::uint64_t value = expected;
    if (json.peek() == JsonReader::Kind::null)
        json.read_null();
    else
        json.read(value);
    if (value != expected) obstacle = "the repository uses other chunk sizes than backupd";
}

void read_chunker(JsonReader& json, std::string& obstacle) {
    std::string_view name = "rabin";
    if (json.peek() == JsonReader::Kind::null)
        json.read_null();
    else
        json.read_text(name);
    if (name != "rabin") obstacle = "the repository uses a chunker that backupd does not know";
}

}  // namespace

Result<RepositoryConfig> make_config() {
    RepositoryConfig config;
    std::array<std::uint8_t, 32> id;
    fill_random(id);
    config.id = to_hex(id);
    config.chunker_polynomial = TRY(random_polynomial());
    return config;
}

std::string encode_config(const RepositoryConfig& config) {
    return R"({"version":)" + std::to_string(config.version) + R"(,"id":")" + config.id +
           R"(","chunker_polynomial":")" + format_polynomial(config.chunker_polynomial) + "\"}";
}

Result<RepositoryConfig> decode_config(ByteView text) {
    RepositoryConfig config;
    config.version = 0;
    std::uint32_t version = 0;
    std::string polynomial;
    bool has_version = false;
    JsonReader json(text);
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
        if (key == "version") {
            has_version = json.read(version);
        } else if (key == "id") {
            json.read(config.id);
        } else if (key == "chunker_polynomial") {
            json.read(polynomial);
        } else if (key == "chunker") {
            read_chunker(json, config.write_obstacle);
        } else if (key == "chunk_size") {
            read_chunk_size(json, kChunkBytes, config.write_obstacle);
        } else if (key == "chunk_min_size") {
            read_chunk_size(json, kLeastChunkBytes, config.write_obstacle);
        } else if (key == "chunk_max_size") {
            read_chunk_size(json, kMostChunkBytes, config.write_obstacle);
        } else {
            json.skip();
        }
    }
    if (!json.finish()) return json.error("config");
    if (!has_version) return Error(ErrorKind::corrupt, "config: no version");
    if (version != 1 && version != 2)
        return Error(ErrorKind::invalid, ErrorCode::unsupported,
                     "config: the repository has version " + std::to_string(version) +
                         "; backupd knows 1 and 2");
    config.version = version;
    if (!FileId::from_hex(config.id)) return Error(ErrorKind::corrupt, "config: bad repository id");
    auto parsed = parse_polynomial(polynomial);
    if (!parsed || !is_chunker_polynomial(*parsed))
        return Error(ErrorKind::corrupt, "config: bad chunker polynomial");
    config.chunker_polynomial = *parsed;
    return config;
}

}  // namespace backup
