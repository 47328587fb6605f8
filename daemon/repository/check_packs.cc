#include <algorithm>
#include <atomic>
#include <thread>

#include "daemon/repository/blob_codec.h"
#include "daemon/repository/check_run.h"

namespace backup {

namespace {

// Larger packs are read in windows of this size.
constexpr std::uint64_t kMostWhole = std::uint64_t{24} << 20;
constexpr std::uint64_t kWindow = std::uint64_t{8} << 20;

}  // namespace

struct PackCheck::Totals {
    std::uint64_t packs = 0, bytes = 0, blobs = 0;
    BlobSet suspects;
    std::vector<DamagedCopy> bad_copies;
    std::unordered_set<PackId> unreadable, bad;
};

void PackCheck::run(std::vector<PackId> packs, unsigned threads) {
    std::uint64_t bytes = 0;
    for (const PackId& id : packs) bytes += indexed_.at(id).size;
    progress_.bytes_total += bytes;

    std::atomic<std::size_t> next{0};
    std::mutex mutex;  // guards the public members
    auto work = [&] {
        Totals totals;
        for (std::size_t i = next++; i < packs.size(); i = next++) {
            if (stop_.stop_requested() || report_.is_aborted()) break;
            check(packs[i], indexed_.at(packs[i]), totals);
        }
        std::lock_guard lock(mutex);
        packs_read += totals.packs;
        bytes_read += totals.bytes;
        blobs_checked += totals.blobs;
        suspects.merge(totals.suspects);
        std::ranges::move(totals.bad_copies, std::back_inserter(bad_copies));
        unreadable.merge(totals.unreadable);
        bad.merge(totals.bad);
    };
    std::vector<std::jthread> workers;
    for (unsigned i = 1; i < threads; ++i) workers.emplace_back(work);
    work();
}

void PackCheck::check(const PackId& id, const IndexedPack& expected, Totals& totals) {
    // Twice: what a cable or a cache did may not happen again.
    for (bool is_last : {false, true}) {
        Result<bool> good = verify(id, expected, is_last, totals);
        if (!good.ok()) {
            if (!is_damage(good.error())) {
                report_.abort(std::move(good).error());
                return;
            }
            if (!is_last) continue;
            report_.error("pack " + id.hex(), good.error().message());
            totals.unreadable.insert(id);
            totals.bad.insert(id);
        } else if (!*good) {
            continue;
        }
        break;
    }
    ++totals.packs;
    totals.bytes += expected.size;
    progress_.bytes_done += expected.size;
}

// An error: the pack as a whole cannot be read. False: something in it is wrong; told to the report
// on the last attempt.
Result<bool> PackCheck::verify(const PackId& id, const IndexedPack& expected, bool is_last_attempt,
                               Totals& totals) {
    const Handle file{FileType::pack, retag<struct FileTag>(id)};
    const std::uint64_t size = expected.size;
    const unsigned version = repository_.config().version;
    const MasterKey& key = repository_.master_key();
    auto read = [&](std::uint64_t offset, std::uint64_t length) -> Result<Bytes> {
        Bytes bytes = TRY(repository_.backend().get(file, {offset, length}));
        if (bytes.size() != length)
            return Error(ErrorKind::corrupt, "is shorter than it was listed");
        return bytes;
    };

    const bool is_whole = size <= kMostWhole;
    Bytes window = is_whole ? TRY(read(0, size)) : Bytes();
    Bytes tail;
    if (!is_whole) {
        tail = TRY(read(size - kPackTailGuess, kPackTailGuess));
        const std::size_t needed = TRY(pack_tail_length(tail, size));
        if (needed > tail.size()) tail = TRY(read(size - needed, needed));
    }
    std::vector<PackedBlob> blobs =
        TRY(decode_pack_tail(is_whole ? window : tail, size, version, key));

    std::vector<std::string> wrong;
    bool is_listed_wrong = false;
    if (blobs.size() != expected.blobs || digest_of(blobs) != expected.digest)
        wrong.push_back("its header and the index disagree"), is_listed_wrong = true;

    Sha256 hash;
    std::vector<BlobHandle> bad_blobs;
    std::uint64_t begin = 0, hashed = 0;
    if (is_whole) {
        hash.update(window);
        hashed = size;
    }
    for (std::size_t i = 0; i < blobs.size(); ++i) {
        const PackedBlob& blob = blobs[i];
        // The header lists blobs back to back from the start, so the windows follow one another.
        if (!is_whole && std::uint64_t{blob.offset} + blob.length > begin + window.size()) {
            std::uint64_t end = std::uint64_t{blob.offset} + blob.length;
            for (std::size_t n = i + 1; n < blobs.size(); ++n) {
                std::uint64_t next = std::uint64_t{blobs[n].offset} + blobs[n].length;
                if (next - blob.offset > kWindow) break;
                end = next;
            }
            begin = blob.offset;
            window = TRY(read(begin, end - begin));
            hash.update(window);
            hashed = end;
        }
        Result<> decoded = check_blob(key, {blob.type, blob.id},
                                      ByteView(window).subspan(blob.offset - begin, blob.length),
                                      blob.uncompressed_length);
        if (!decoded.ok()) {
            bad_blobs.push_back({blob.type, blob.id});
            wrong.push_back("blob " + blob.id.hex() + ": " + decoded.error().message());
        }
    }
    if (!is_whole) hash.update(TRY(read(hashed, size - hashed)));
    if (PackId{hash.finish()} != id) wrong.push_back("content does not match its name");

    if (!wrong.empty() && !is_last_attempt) return false;
    totals.blobs += blobs.size();
    progress_.items_done += blobs.size();
    for (std::string& message : wrong) report_.error("pack " + id.hex(), std::move(message));
    totals.suspects.insert(bad_blobs.begin(), bad_blobs.end());
    for (const BlobHandle& blob : bad_blobs) totals.bad_copies.push_back({id, blob});
    // Where the index looks for its blobs there may be anything.
    if (is_listed_wrong) totals.bad_copies.push_back({id, std::nullopt});
    if (!wrong.empty()) totals.bad.insert(id);
    return true;
}

}  // namespace backup
