#include "daemon/repository/crypto.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include "daemon/repository/blob.h"

namespace backup {

namespace {

constexpr std::size_t kEncryptBytes = 32;

struct FreeOpenSsl {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
    void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
    void operator()(EVP_MAC* mac) const { EVP_MAC_free(mac); }
    void operator()(EVP_MD* digest) const { EVP_MD_free(digest); }
    void operator()(EVP_CIPHER* cipher) const { EVP_CIPHER_free(cipher); }
};
template <typename T>
using Owned = std::unique_ptr<T, FreeOpenSsl>;

[[noreturn]] void die(const char* what) {
    std::fprintf(stderr, "fatal: %s failed; stopping rather than writing unreadable data\n", what);
    std::abort();
}
void require(bool ok, const char* what) {
    if (!ok) die(what);
}

// EVP takes int lengths: pieces of 1 GiB, a multiple of the AES block.
constexpr std::size_t kMostPerCall = std::size_t{1} << 30;

// Fetched once per process: implicit fetching costs more than sealing a small blob.
const EVP_CIPHER* aes_256_ctr() {
    static const Owned<EVP_CIPHER> cipher(EVP_CIPHER_fetch(nullptr, "AES-256-CTR", nullptr));
    require(cipher != nullptr, "AES-256-CTR");
    return cipher.get();
}
const EVP_CIPHER* aes_128_ecb() {
    static const Owned<EVP_CIPHER> cipher(EVP_CIPHER_fetch(nullptr, "AES-128-ECB", nullptr));
    require(cipher != nullptr, "AES-128-ECB");
    return cipher.get();
}
const EVP_MD* sha256_algorithm() {
    static const Owned<EVP_MD> digest(EVP_MD_fetch(nullptr, "SHA256", nullptr));
    require(digest != nullptr, "SHA-256");
    return digest.get();
}

// The contexts of one thread. They hold the key schedules of the key used last here.
class SealContexts {
  public:
    SealContexts() : ctr_(EVP_CIPHER_CTX_new()), ecb_(EVP_CIPHER_CTX_new()) {
        Owned<EVP_MAC> poly1305(EVP_MAC_fetch(nullptr, "POLY1305", nullptr));
        require(poly1305 != nullptr, "Poly1305");
        mac_.reset(EVP_MAC_CTX_new(poly1305.get()));
        require(ctr_ && ecb_ && mac_, "OpenSSL set-up");
    }

    void use(std::uint64_t serial, ByteView key) {
        if (serial_ == serial) return;
        require(EVP_EncryptInit_ex2(ctr_.get(), aes_256_ctr(), key.data(), nullptr, nullptr) == 1 &&
                    EVP_EncryptInit_ex2(ecb_.get(), aes_128_ecb(), key.data() + kEncryptBytes,
                                        nullptr, nullptr) == 1 &&
                    EVP_CIPHER_CTX_set_padding(ecb_.get(), 0) == 1,
                "AES key set-up");
        serial_ = serial;
    }

    // In place or from one buffer to another; CTR is its own inverse.
    void crypt(std::uint8_t* out, ByteView in, const std::uint8_t* iv) {
        begin(iv);
        crypt_next(out, in);
    }
    void begin(const std::uint8_t* iv) {
        require(EVP_EncryptInit_ex2(ctr_.get(), nullptr, nullptr, iv, nullptr) == 1, "AES-CTR");
    }
    void crypt_next(std::uint8_t* out, ByteView in) {
        for (std::size_t done = 0; done < in.size();) {
            auto piece = static_cast<int>(std::min(kMostPerCall, in.size() - done));
            int written = 0;
            require(
                EVP_EncryptUpdate(ctr_.get(), out + done, &written, in.data() + done, piece) == 1 &&
                    written == piece,
                "AES-CTR");
            done += static_cast<std::size_t>(piece);
        }
    }

    void authenticate(std::uint8_t* tag, ByteView ciphertext, const std::uint8_t* iv,
                      const std::uint8_t* r) {
        std::array<std::uint8_t, 32> one_time{};  // r || AES(k, iv)
        std::copy_n(r, 16, one_time.begin());
        int written = 0;
        require(EVP_EncryptUpdate(ecb_.get(), one_time.data() + 16, &written, iv, 16) == 1 &&
                    written == 16,
                "AES-ECB");
        std::size_t size = 0;
        require(EVP_MAC_init(mac_.get(), one_time.data(), one_time.size(), nullptr) == 1 &&
                    EVP_MAC_update(mac_.get(), ciphertext.data(), ciphertext.size()) == 1 &&
                    EVP_MAC_final(mac_.get(), tag, &size, kMacBytes) == 1 && size == kMacBytes,
                "Poly1305");
        wipe(one_time);
    }

  private:
    Owned<EVP_CIPHER_CTX> ctr_, ecb_;
    Owned<EVP_MAC_CTX> mac_;
    std::uint64_t serial_ = 0;  // keys count from 1
};

SealContexts& contexts_for(std::uint64_t serial, ByteView key) {
    static thread_local SealContexts contexts;
    contexts.use(serial, key);
    return contexts;
}

std::uint64_t next_serial() {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
}

bool all_zero(ByteView bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

void clamp(std::uint8_t* r) {
    for (std::size_t i : {3, 7, 11, 15}) r[i] &= 0x0f;
    for (std::size_t i : {4, 8, 12}) r[i] &= 0xfc;
}

}  // namespace

void fill_random(MutableByteView out) {
    while (!out.empty()) {
        ssize_t got = getrandom(out.data(), out.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        require(got > 0, "getrandom");
        out = out.subspan(static_cast<std::size_t>(got));
    }
}

namespace {

// A call of the kernel for each blob's 16 bytes costs as much as sealing it. Nothing is given out
// twice: what was taken is wiped, and no child of ours that fork() made runs on without exec().
void fill_iv(MutableByteView iv) {
    struct Pool {
        std::array<std::uint8_t, 128 * kIvBytes> bytes;
        std::size_t used = sizeof bytes;
    };
    static thread_local Pool pool;
    if (pool.used == pool.bytes.size()) {
        fill_random(pool.bytes);
        pool.used = 0;
    }
    MutableByteView next = MutableByteView(pool.bytes).subspan(pool.used, kIvBytes);
    std::copy(next.begin(), next.end(), iv.begin());
    std::fill(next.begin(), next.end(), 0);
    pool.used += kIvBytes;
}

}  // namespace

MasterKey MasterKey::generate() {
    MasterKey key;
    do {
        fill_random(key.key_);
        clamp(key.key_.data() + 48);
    } while (all_zero(key.encrypt_part()) || all_zero(key.mac_k_part()) ||
             all_zero(key.mac_r_part()));
    key.serial_ = next_serial();
    return key;
}

Result<MasterKey> MasterKey::from_bytes(ByteView bytes) {
    if (bytes.size() != kKeyBytes) return Error(ErrorKind::corrupt, "key of the wrong length");
    MasterKey key;
    std::copy(bytes.begin(), bytes.end(), key.key_.begin());
    if (all_zero(key.encrypt_part()) || all_zero(key.mac_k_part()) || all_zero(key.mac_r_part()))
        return Error(ErrorKind::corrupt, "key that is all zero");
    clamp(key.key_.data() + 48);
    key.serial_ = next_serial();
    return key;
}

MasterKey::MasterKey(MasterKey&& other) noexcept : key_(other.key_), serial_(other.serial_) {
    wipe(other.key_);
    other.serial_ = 0;
}
MasterKey& MasterKey::operator=(MasterKey&& other) noexcept {
    if (this == &other) return *this;
    key_ = other.key_;
    serial_ = std::exchange(other.serial_, 0);
    wipe(other.key_);
    return *this;
}
MasterKey::~MasterKey() {
    wipe(key_);
}

void MasterKey::seal_with(MutableByteView buffer) const {
    assert(serial_ != 0 && buffer.size() >= kSealOverhead);
    SealContexts& contexts = contexts_for(serial_, key_);
    MutableByteView text = buffer.subspan(kIvBytes, buffer.size() - kSealOverhead);
    contexts.crypt(text.data(), text, buffer.data());
    contexts.authenticate(buffer.data() + buffer.size() - kMacBytes, text, buffer.data(),
                          mac_r_part().data());
}

void MasterKey::seal_in_place(MutableByteView buffer) const {
    MutableByteView iv = buffer.first(kIvBytes);
    do {
        fill_iv(iv);
    } while (all_zero(iv));
    seal_with(buffer);
}

void MasterKey::seal_with_iv_for_test(MutableByteView buffer, ByteView iv) const {
    std::copy_n(iv.begin(), kIvBytes, buffer.begin());
    seal_with(buffer);
}

void MasterKey::seal_into(Bytes& out, ByteView plaintext) const {
    std::size_t begin = out.size();
    std::size_t needed = begin + plaintext.size() + kSealOverhead;
    // Growing by halves keeps repeated appending linear, which resize() alone does not promise.
    if (out.capacity() < needed) out.reserve(std::max(needed, begin + begin / 2));
    out.resize(needed);
    std::copy(plaintext.begin(), plaintext.end(),
              out.begin() + static_cast<std::ptrdiff_t>(begin + kIvBytes));
    seal_in_place(MutableByteView(out).subspan(begin));
}

Bytes MasterKey::seal(ByteView plaintext) const {
    Bytes out;
    seal_into(out, plaintext);
    return out;
}

Result<> MasterKey::verify(ByteView sealed) const {
    assert(serial_ != 0);
    if (sealed.size() < kSealOverhead) return Error(ErrorKind::corrupt, "sealed data is too short");
    if (all_zero(sealed.first(kIvBytes)))
        return Error(ErrorKind::corrupt, "sealed data without IV");
    std::array<std::uint8_t, kMacBytes> tag{};
    contexts_for(serial_, key_)
        .authenticate(tag.data(), sealed.subspan(kIvBytes, sealed.size() - kSealOverhead),
                      sealed.data(), mac_r_part().data());
    if (CRYPTO_memcmp(tag.data(), sealed.last(kMacBytes).data(), kMacBytes) != 0)
        return Error(ErrorKind::corrupt, "sealed data is damaged or belongs to another key");
    return {};
}

Result<> MasterKey::unseal_into(MutableByteView out, ByteView sealed) const {
    TRY(verify(sealed));
    assert(out.size() == sealed.size() - kSealOverhead);
    contexts_for(serial_, key_)
        .crypt(out.data(), sealed.subspan(kIvBytes, out.size()), sealed.data());
    return {};
}

Result<> MasterKey::unseal_pieces(ByteView sealed, MutableByteView piece,
                                  const std::function<void(ByteView)>& each) const {
    TRY(verify(sealed));
    assert(!piece.empty());
    ByteView text = sealed.subspan(kIvBytes, sealed.size() - kSealOverhead);
    SealContexts& contexts = contexts_for(serial_, key_);
    contexts.begin(sealed.data());
    while (!text.empty()) {
        const std::size_t size = std::min(piece.size(), text.size());
        contexts.crypt_next(piece.data(), text.first(size));
        each(piece.first(size));
        text = text.subspan(size);
    }
    return {};
}

Result<MutableByteView> MasterKey::unseal_in_place(MutableByteView sealed) const {
    TRY(verify(sealed));
    MutableByteView text = sealed.subspan(kIvBytes, sealed.size() - kSealOverhead);
    contexts_for(serial_, key_).crypt(text.data(), text, sealed.data());
    return text;
}

Result<Bytes> MasterKey::unseal(ByteView sealed) const {
    TRY(verify(sealed));
    Bytes out(sealed.size() - kSealOverhead);
    contexts_for(serial_, key_)
        .crypt(out.data(), sealed.subspan(kIvBytes, out.size()), sealed.data());
    return out;
}

struct Sha256::State {
    State() : context(EVP_MD_CTX_new()) {
        require(context != nullptr, "SHA-256 set-up");
        restart();
    }
    void restart() {
        require(EVP_DigestInit_ex2(context.get(), sha256_algorithm(), nullptr) == 1, "SHA-256");
    }
    void update(ByteView data) {
        require(EVP_DigestUpdate(context.get(), data.data(), data.size()) == 1, "SHA-256");
    }
    Sha256Digest finish() {
        Sha256Digest digest;
        require(EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1, "SHA-256");
        restart();
        return digest;
    }
    Owned<EVP_MD_CTX> context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
void Sha256::update(ByteView data) {
    state_->update(data);
}
Sha256Digest Sha256::finish() {
    return state_->finish();
}

Sha256Digest sha256(ByteView data) {
    static thread_local Sha256 hasher;
    hasher.update(data);
    return hasher.finish();
}

BlobId blob_id(ByteView plaintext) {
    return BlobId{sha256(plaintext)};
}

const char* to_string(BlobType type) {
    switch (type) {
        case BlobType::data:
            return "data";
        case BlobType::tree:
            return "tree";
    }
    return "unknown";
}

}  // namespace backup
