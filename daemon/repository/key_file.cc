#include "daemon/repository/key_file.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <string_view>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "daemon/repository/go_json.h"
#include "daemon/repository/json_reader.h"

namespace backup {

namespace {

constexpr auto kOpeningTime = std::chrono::milliseconds(500);
constexpr std::uint64_t kMostKeyFileBytes = std::uint64_t{1}
                                            << 20;  // real ones have about 450 bytes

// Holds secrets on their way and wipes them.
class SecretBytes {
  public:
    explicit SecretBytes(Bytes bytes) : bytes_(std::move(bytes)) {}
    SecretBytes(const SecretBytes&) = delete;
    SecretBytes& operator=(const SecretBytes&) = delete;
    ~SecretBytes() { wipe(bytes_); }
    Bytes& get() { return bytes_; }

  private:
    Bytes bytes_;
};

std::uint64_t memory_of(std::uint32_t n, std::uint32_t r) {
    return std::uint64_t{128} * n * r;
}

Result<> check_cost(std::uint32_t n, std::uint32_t r, std::uint32_t p, std::size_t most_memory) {
    auto refuse = [](const char* why) {
        return Error(ErrorKind::invalid, ErrorCode::unsupported, std::string("key file: ") + why);
    };
    if (n < 2 || !std::has_single_bit(n)) return refuse("N is not a power of two");
    if (r < 1 || p < 1) return refuse("r and p must be at least 1");
    if (std::uint64_t{r} * p >= std::uint64_t{1} << 30) return refuse("r * p is too large");
    if (n > most_memory / 128 / r)  // 128 * n * r without overflow
        return refuse("opening it would take more memory than is allowed");
    if (p > kMostKeyParallel) return refuse("opening it would take too long");
    return {};
}

Result<MasterKey> derive(ByteView password, ByteView salt, std::uint32_t n, std::uint32_t r,
                         std::uint32_t p) {
    SecretBytes derived{Bytes(kKeyBytes)};
    // OpenSSL counts the p blocks of 128 * r bytes and some more against the limit; its default (32
    // MiB) is too little for N = 32768, r = 8.
    std::uint64_t limit =
        memory_of(n, r) + std::uint64_t{128} * r * (p + 4) + (std::uint64_t{1} << 20);
    const char* text = password.empty() ? "" : reinterpret_cast<const char*>(password.data());
    if (EVP_PBE_scrypt(text, password.size(), salt.data(), salt.size(), n, r, p, limit,
                       derived.get().data(), derived.get().size()) != 1) {
        ERR_clear_error();
        return Error(ErrorKind::io, "scrypt failed (memory?)");
    }
    return MasterKey::from_bytes(derived.get());
}

// {"mac":{"k":"..","r":".."},"encrypt":".."}
Bytes encode_master_key(const MasterKey& key) {
    SecretBytes k{to_bytes(to_base64(key.mac_k_part()))};
    SecretBytes r{to_bytes(to_base64(key.mac_r_part()))};
    SecretBytes encrypt{to_bytes(to_base64(key.encrypt_part()))};
    Bytes json;
    json.reserve(256);  // no growing: freed buffers would keep the key
    append(json, as_bytes(R"({"mac":{"k":")"));
    append(json, k.get());
    append(json, as_bytes(R"(","r":")"));
    append(json, r.get());
    append(json, as_bytes(R"("},"encrypt":")"));
    append(json, encrypt.get());
    append(json, as_bytes("\"}"));
    return json;
}

// Reads base64 into `part`, which it must fill exactly.
bool read_key_part(JsonReader& json, MutableByteView part) {
    std::string_view text;
    if (!json.read_text(text)) return false;
    auto bytes = from_base64(text);
    if (!bytes || bytes->size() != part.size())
        return json.fail("a part of the key has the wrong length");
    std::copy(bytes->begin(), bytes->end(), part.begin());
    wipe(*bytes);
    return true;
}

Result<MasterKey> decode_master_key(ByteView text) {
    SecretBytes parts{Bytes(kKeyBytes)};
    MutableByteView key = parts.get();
    std::fill(key.begin(), key.end(), std::uint8_t{0});
    JsonReader json(text);
    json.begin_object();
    for (std::string_view name; json.next_key(name);) {
        if (name == "encrypt") {
            read_key_part(json, key.first(32));
        } else if (name == "mac") {
            json.begin_object();
            for (std::string_view part; json.next_key(part);) {
                if (part == "k")
                    read_key_part(json, key.subspan(32, 16));
                else if (part == "r")
                    read_key_part(json, key.last(16));
                else
                    json.skip();
            }
        } else {
            json.skip();
        }
    }
    if (!json.finish()) return json.error("master key");
    return MasterKey::from_bytes(key);
}

bool read_bytes(JsonReader& json, Bytes& out) {
    std::string_view text;
    if (!json.read_text(text)) return false;
    auto bytes = from_base64(text);
    if (!bytes) return json.fail("bad base64");
    out = std::move(*bytes);
    return true;
}

}  // namespace

Result<KeyFile> decode_key_file(ByteView text, std::size_t most_memory) {
    if (text.size() > kMostKeyFileBytes) return Error(ErrorKind::corrupt, "key file: too large");
    KeyFile file;
    std::string kdf, created;
    JsonReader json(text);
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
        if (key == "created")
            json.read(created);
        else if (key == "username")
            json.read(file.username);
        else if (key == "hostname")
            json.read(file.hostname);
        else if (key == "kdf")
            json.read(kdf);
        else if (key == "N")
            json.read(file.n);
        else if (key == "r")
            json.read(file.r);
        else if (key == "p")
            json.read(file.p);
        else if (key == "salt")
            read_bytes(json, file.salt);
        else if (key == "data")
            read_bytes(json, file.data);
        else
            json.skip();
    }
    if (!json.finish()) return json.error("key file");
    if (kdf.empty()) return Error(ErrorKind::corrupt, "key file: no kdf");
    if (kdf != "scrypt")
        return Error(ErrorKind::invalid, ErrorCode::unsupported, "key file: unknown kdf");
    if (file.salt.size() != kSaltBytes)
        return Error(ErrorKind::corrupt, "key file: salt of the wrong length");
    if (file.data.size() < kSealOverhead)
        return Error(ErrorKind::corrupt, "key file: data is too short");
    TRY(check_cost(file.n, file.r, file.p, most_memory));
    // The date is only shown to people: a key must open whatever is written there.
    if (auto time = parse_rfc3339(created); time.ok()) file.created = time.value();
    return file;
}

std::string encode_key_file(const KeyFile& file) {
    std::string json = R"({"created":")" + format_rfc3339(file.created) + R"(","username":)";
    append_go_json_string(json, file.username, GoRules::go122);
    json += R"(,"hostname":)";
    append_go_json_string(json, file.hostname, GoRules::go122);
    json += R"(,"kdf":"scrypt","N":)" + std::to_string(file.n) + R"(,"r":)" +
            std::to_string(file.r) + R"(,"p":)" + std::to_string(file.p);
    json += R"(,"salt":")" + to_base64(file.salt) + R"(","data":")" + to_base64(file.data) + "\"}";
    return json;
}

Result<MasterKey> open_key_file(const KeyFile& file, ByteView password) {
    TRY(check_cost(file.n, file.r, file.p,
                   SIZE_MAX));  // the caller's limit was applied when decoding
    MasterKey derived = TRY(derive(password, file.salt, file.n, file.r, file.p));
    auto plain = derived.unseal(file.data);
    if (!plain.ok())
        return Error(ErrorKind::denied, ErrorCode::wrong_password,
                     "the password does not open this key");
    SecretBytes json(std::move(plain).value());
    return decode_master_key(json.get());
}

Result<KeyFile> make_key_file(const MasterKey& key, ByteView password, KeyCost cost,
                              Timestamp created, const KeyOwner& owner) {
    if (cost.p == 0) cost = TRY(measure_key_cost(cost));
    TRY(check_cost(cost.n, cost.r, cost.p, kMostKeyMemory));
    KeyFile file;
    file.created = created;
    file.username = owner.username;
    file.hostname = owner.hostname;
    file.n = cost.n;
    file.r = cost.r;
    file.p = cost.p;
    file.salt.resize(kSaltBytes);
    fill_random(file.salt);
    MasterKey derived = TRY(derive(password, file.salt, file.n, file.r, file.p));
    SecretBytes json(encode_master_key(key));
    file.data = derived.seal(json.get());
    return file;
}

Result<KeyCost> measure_key_cost(KeyCost cost) {
    cost.p = 1;
    TRY(check_cost(cost.n, cost.r, cost.p, kMostKeyMemory));
    Bytes salt(kSaltBytes);
    fill_random(salt);
    auto begin = std::chrono::steady_clock::now();
    TRY(derive(as_bytes("measure"), salt, cost.n, cost.r, cost.p));
    std::chrono::duration<double> once = std::chrono::steady_clock::now() - begin;
    // Opening takes p times as long. Never below what others have written for years, whatever the
    // clock said.
    double times = std::chrono::duration<double>(kOpeningTime) /
                   std::max(once, std::chrono::duration<double>(1e-6));
    cost.p = static_cast<std::uint32_t>(std::clamp(std::round(times), 1.0, 16.0));
    return cost;
}

}  // namespace backup
