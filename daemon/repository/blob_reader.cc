#include "daemon/repository/blob_reader.h"

#include <algorithm>
#include <numeric>

#include "common/direct_io.h"
#include "daemon/repository/blob_codec.h"

namespace backup {

namespace {

constexpr std::uint64_t kMostRead = std::uint64_t{8} << 20;
// Of a thread's memory between runs: one long blob does not hold as much for the rest of a job.
constexpr std::size_t kMostReadKept = (std::size_t{4} << 20) + (std::size_t{1} << 16);
constexpr std::size_t kMostPlainKept = std::size_t{4} << 20;
constexpr std::uint64_t kMostGap = std::uint64_t{1} << 20;
constexpr std::size_t kMostGone = 10'000;

std::string name_of(const BlobHandle& handle) {
    return std::string(handle.type == BlobType::tree ? "tree " : "data blob ") +
           handle.id.short_hex();
}

// Of the thread, which reads run after run: fresh memory for each costs as much as decrypting it.
// Freed with the thread; a job has threads of its own.
struct Scratch {
    Bytes read, plain;
};

Scratch& scratch() {
    thread_local Scratch mine;
    return mine;
}

// With room for `bytes`. Claimed whole before its first use, for growing is new memory each time;
// what is never written to costs nothing.
void prepare(Bytes& buffer, std::uint64_t bytes, std::size_t most_kept) {
    if (bytes > most_kept || buffer.capacity() > most_kept) Bytes().swap(buffer);
    if (bytes <= most_kept) buffer.reserve(most_kept);
}

// An error about the bytes that are stored, as opposed to one of reaching them.
bool is_damage(const Error& error) {
    return error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
}

}  // namespace

bool BlobReader::contains(const BlobHandle& handle) const {
    return index_.contains(handle) || marked_.contains(handle);
}

std::optional<BlobLocation> BlobReader::locate(const BlobHandle& handle) const {
    std::optional<BlobLocation> place = index_.find(handle);
    return place ? place : marked_.find(handle);
}

Result<> BlobReader::load_copy(const BlobHandle& handle, const BlobLocation& place, Bytes* out) {
    const Handle file{FileType::pack, retag<struct FileTag>(place.pack)};
    // Damage is read twice: what a cable or a cache did may not happen again.
    for (int attempt = 0;; ++attempt) {
        Result<Bytes> sealed = backend_.get(file, {place.offset, place.length});
        if (!sealed.ok()) return std::move(sealed).error().during(file.text());
        Result<> decoded = Error(ErrorKind::corrupt, "short read");
        if (sealed->size() == place.length)
            decoded = out != nullptr
                          ? decode_blob(key_, handle, *sealed, place.uncompressed_length, *out)
                          : check_blob(key_, handle, *sealed, place.uncompressed_length);
        if (decoded.ok()) return {};
        if (attempt == 1 || decoded.error().kind() != ErrorKind::corrupt)
            return std::move(decoded).error().during(file.text());
    }
}

Result<Bytes> BlobReader::load(const BlobHandle& handle) {
    Bytes plain;
    TRY(load_any_copy(handle, &plain));
    return plain;
}

Result<> BlobReader::check(const BlobHandle& handle) {
    return load_any_copy(handle, nullptr);
}

std::vector<BlobLocation> BlobReader::places_of(const BlobHandle& handle) const {
    std::vector<BlobLocation> places = index_.find_all(handle);
    std::ranges::move(marked_.find_all(handle), std::back_inserter(places));
    return places;
}

Result<> BlobReader::load_any_copy(const BlobHandle& handle, Bytes* out) {
    const std::vector<BlobLocation> places = places_of(handle);
    std::vector<PackId> gone;
    Result<> loaded = load_from(handle, places, out, gone);
    if (loaded.ok() || gone.empty()) return loaded;
    const bool is_certain = look_again(gone);
    const std::vector<BlobLocation> now = places_of(handle);
    if (is_certain) note_missing(gone, now);
    return now == places ? std::move(loaded) : load_from(handle, now, out, gone);
}

Result<> BlobReader::load_from(const BlobHandle& handle, const std::vector<BlobLocation>& places,
                               Bytes* out, std::vector<PackId>& gone) {
    if (places.empty())
        return Error(ErrorKind::not_found, ErrorCode::repository_damaged,
                     name_of(handle) + " is not in the index");
    std::optional<Error> unreachable, damage;
    for (const BlobLocation& place : places) {
        Result<> loaded = load_copy(handle, place, out);
        if (loaded.ok()) return {};
        if (loaded.error().kind() == ErrorKind::not_found) gone.push_back(place.pack);
        if (loaded.error().kind() == ErrorKind::corrupt) damage_.add({{place.pack, handle}});
        (is_damage(loaded.error()) ? damage : unreachable) = std::move(loaded).error();
    }
    // A copy that could not be reached may be good: the caller may try again later.
    if (unreachable) return (*std::move(unreachable)).during(name_of(handle));
    return Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                 name_of(handle) + " is damaged: " + damage->message());
}

bool BlobReader::look_again(const std::vector<PackId>& gone) {
    std::lock_guard lock(gone_mutex_);
    const auto is_new = [this](const PackId& pack) { return !gone_.contains(pack); };
    if (std::ranges::none_of(gone, is_new)) return false;
    // That it fails is no news: the blob is told as missing.
    const Result<> refreshed = refresh_();
    if (gone_.size() > kMostGone) gone_.clear();
    gone_.insert(gone.begin(), gone.end());
    return refreshed.ok();
}

// The index still names them.
void BlobReader::note_missing(const std::vector<PackId>& gone,
                              const std::vector<BlobLocation>& places) {
    for (const BlobLocation& place : places)
        if (std::ranges::find(gone, place.pack) != gone.end())
            damage_.add({{place.pack, std::nullopt}});
}

Result<> BlobReader::load_from_pack(const PackId& pack, std::span<const Wanted> wanted,
                                    const EachBlob& each) {
    std::vector<std::size_t> order(wanted.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, {}, [&](std::size_t i) { return wanted[i].location.offset; });

    const Handle file{FileType::pack, retag<struct FileTag>(pack)};
    // Moved out while it is in use: `each` may read other blobs on this thread.
    Bytes read = std::move(scratch().read), plain = std::move(scratch().plain);
    for (std::size_t first = 0; first < order.size();) {
        const std::uint64_t begin = wanted[order[first]].location.offset;
        std::uint64_t end = begin;
        std::size_t last = first;
        for (; last < order.size(); ++last) {
            const BlobLocation& place = wanted[order[last]].location;
            const std::uint64_t place_end = std::uint64_t{place.offset} + place.length;
            if (last != first && (place.offset > end + kMostGap || place_end - begin > kMostRead))
                break;
            end = std::max(end, place_end);
        }
        // A read past the page cache begins and ends at a border.
        prepare(read, end - begin + 2 * kDirectAlignment, kMostReadKept);
        const Result<MutableByteView> got = backend_.read(file, {begin, end - begin}, read);
        const bool is_whole = got.ok() && got->size() == end - begin;
        for (; first < last; ++first) {
            const Wanted& want = wanted[order[first]];
            const std::size_t lead = want.file_offset % kDirectAlignment;
            prepare(plain, lead + want.location.plain_length(), kMostPlainKept);
            Result<> decoded =
                is_whole ? decode_blob_in_place(
                               key_, want.handle,
                               got->subspan(want.location.offset - begin, want.location.length),
                               want.location.uncompressed_length, plain, lead)
                         : Error(ErrorKind::corrupt, "not read");
            if (decoded.ok()) {
                TRY(each(order[first], ByteView(plain).subspan(lead)));
                continue;
            }
            Result<Bytes> other = load(want.handle);
            if (other.ok())
                TRY(each(order[first], ByteView(*other)));
            else
                TRY(each(order[first], std::move(other).error()));
        }
    }
    prepare(read, 0, kMostReadKept);
    prepare(plain, 0, kMostPlainKept);
    scratch() = {std::move(read), std::move(plain)};
    return {};
}

}  // namespace backup
