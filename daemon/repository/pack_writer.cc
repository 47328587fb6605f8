#include "daemon/repository/pack_writer.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "common/failpoint.h"
#include "daemon/repository/blob_codec.h"
#include "daemon/repository/reserve.h"

namespace backup {

namespace {

// Very small blobs fill a pack by their number: 400,000 of 20 bytes would go into one of 16 MiB,
// and the index file that lists them would take 60 MB to write and to read.
constexpr std::size_t kCloseAtBlobs = 50'000;
static_assert(kCloseAtBlobs <= kMostPackBlobs);

Error stopped() {
    return {ErrorKind::cancelled, ErrorCode::cancelled, "stopped while storing blobs"};
}

}  // namespace

struct PackWriter::OpenPack {
    OpenPack(BlobType blob_type, PackBuffer room, std::size_t full_at)
        : type(blob_type), close_at(full_at), buffer(std::move(room)) {}

    const BlobType type;
    const std::size_t close_at;  // bytes
    PackBuffer buffer;
    std::size_t used = 0;
    std::vector<PackedBlob> blobs;
    unsigned writers = 0;  // threads that copy into room they reserved
    std::uint64_t serial = 0;
};

PackWriter::PackWriter(Place place, const WriteOptions& options, std::stop_token stop)
    : place_(std::move(place)), options_(options), stop_(std::move(stop)) {
    const unsigned uploaders = std::clamp(place_.backend.properties().connections, 1U, 64U);
    for (unsigned i = 0; i < uploaders; ++i)
        uploaders_.emplace_back([this](std::stop_token own) { upload(std::move(own)); });
}

PackWriter::~PackWriter() {
    {
        Lock lock(mutex_);
        if (!error_) error_ = stopped();
        failed_ = true;
        queue_.clear();
    }
    for (std::jthread& uploader : uploaders_) uploader.request_stop();
    changed_.notify_all();
}

void PackWriter::fail(const Error& error) {
    {
        Lock lock(mutex_);
        if (!error_) error_ = error;
        failed_ = true;
    }
    changed_.notify_all();
}

Result<> PackWriter::health() const {
    if (!failed_.load(std::memory_order_acquire)) return {};
    Lock lock(mutex_);
    return *error_;
}

WriteSession::Counters PackWriter::counters() const {
    return {data_blobs_.load(), tree_blobs_.load(), bytes_added_.load(), bytes_stored_.load(),
            packs_stored_.load()};
}

Result<SavedBlob> PackWriter::save(BlobType type, ByteView plaintext) {
    TRY(health());
    if (options_.gives_way_to != nullptr && !is_winding_up_) options_.gives_way_to->give_way(stop_);
    const std::uint64_t sum = options_.verify_before_upload ? plaintext_sum(plaintext) : 0;
    const BlobHandle handle{type, blob_id(plaintext)};
    if (place_.index.claim(handle, place_.session) != BlobIndex::Claim::granted &&
        !take_up_again(handle))
        return SavedBlob{handle.id, false, 0};

    // The claim is granted: from here on this thread stores the blob or the session fails.
    auto give_up = [&](Error error) {
        fail(error);
        return error;
    };
    Result<EncodedBlob> encoded =
        encode_blob(place_.key, handle, plaintext, sum,
                    {place_.version, options_.compression_level, options_.verify_before_upload});
    if (!encoded.ok()) return give_up(std::move(encoded).error());
    const auto length = static_cast<std::uint32_t>(encoded->sealed.size());
    Result<Reserved> reserved =
        reserve({type, handle.id, 0, length, encoded->uncompressed_length}, length);
    if (!reserved.ok()) {
        if (reserved.error().kind() != ErrorKind::cancelled)
            return give_up(std::move(reserved).error());
        // What was stored before stays good for a checkpoint, but there is nothing to commit any
        // more: others may believe that this blob is on its way.
        is_incomplete_ = true;
        Lock lock(mutex_);
        given_up_.insert(handle);
        return std::move(reserved).error();
    }
    std::memcpy(reserved->at, encoded->sealed.data(), length);
    release(reserved->pack);

    (type == BlobType::data ? data_blobs_ : tree_blobs_).fetch_add(1, std::memory_order_relaxed);
    bytes_added_.fetch_add(plaintext.size(), std::memory_order_relaxed);
    bytes_stored_.fetch_add(length, std::memory_order_relaxed);
    return SavedBlob{handle.id, true, length};
}

// True: nobody stores the blob, though it is claimed, and the caller must.
bool PackWriter::take_up_again(const BlobHandle& handle) {
    if (!is_winding_up_) return false;
    Lock lock(mutex_);
    return given_up_.erase(handle) != 0;
}

Result<PackWriter::Reserved> PackWriter::reserve(const PackedBlob& blob, std::uint32_t length) {
    Lock lock(mutex_);
    auto has_room = [&] {
        return error_ || in_flight_bytes_ == 0 ||
               (in_flight_bytes_ < options_.most_upload_bytes && held_bytes_ < most_held());
    };
    if (is_winding_up_)
        changed_.wait(lock, has_room);
    else
        changed_.wait(lock, stop_, has_room);
    if (error_) return *error_;
    if (stop_.stop_requested() && !is_winding_up_) return stopped();

    const bool is_alone = length >= options_.pack_bytes;
    std::unique_ptr<OpenPack> alone;
    const auto type = static_cast<std::size_t>(blob.type);
    const std::size_t side = coin() ? 1 : 0;
    std::unique_ptr<OpenPack>& slot = is_alone ? alone : open_[type][side];
    if (!slot) {
        // A pack closes with the blob that reaches the target, and that one is shorter than the
        // target.
        // The two of a type fill at one rate. Were they full at one time, both would be in flight
        // at once and every save would wait for them: the first of one side is but half a pack.
        const bool is_half = !is_alone && side == 1 && !std::exchange(is_staggered_[type], true);
        const std::size_t full_at = is_half ? options_.pack_bytes / 2 : options_.pack_bytes;
        slot = open_pack(blob.type, is_alone ? length : 2 * options_.pack_bytes, full_at);
        if (!slot) return Error(ErrorKind::io, "no memory for a pack");
    }
    OpenPack* pack = slot.get();
    pack->blobs.push_back(blob);
    pack->blobs.back().offset = static_cast<std::uint32_t>(pack->used);
    std::uint8_t* at = pack->buffer.data() + pack->used;
    pack->used += length;
    held_bytes_ += length;
    ++pack->writers;
    if (pack->used >= pack->close_at || pack->blobs.size() >= kCloseAtBlobs) close(std::move(slot));
    return Reserved{pack, at};
}

void PackWriter::release(OpenPack* pack) {
    {
        Lock lock(mutex_);
        if (--pack->writers != 0) return;
        auto found = std::ranges::find(filling_, pack, &std::unique_ptr<OpenPack>::get);
        if (found == filling_.end()) return;  // still open
        queue_.push_back(std::move(*found));
        filling_.erase(found);
    }
    changed_.notify_all();
}

// Open packs count as well: when uploads lag behind, two of them that are nearly full are as much
// memory as those that wait.
std::size_t PackWriter::most_held() const {
    return options_.most_upload_bytes + options_.pack_bytes / 2;
}

// With the lock held. From now on the pack counts as in flight.
void PackWriter::close(std::unique_ptr<OpenPack> pack) {
    pack->serial = next_serial_++;
    in_flight_.insert(pack->serial);
    in_flight_bytes_ += pack->used;
    if (pack->writers == 0)
        queue_.push_back(std::move(pack));
    else
        filling_.push_back(std::move(pack));
}

// With the lock held.
std::unique_ptr<PackWriter::OpenPack> PackWriter::open_pack(BlobType type, std::size_t most_bytes,
                                                            std::size_t full_at) {
    // Always new: a buffer that was full once would count as full again from its first byte, and
    // costs no less than the pages that are touched (2 % of a save).
    Result<PackBuffer> buffer = PackBuffer::make(most_bytes);
    if (!buffer.ok()) return nullptr;
    return std::make_unique<OpenPack>(type, *std::move(buffer), full_at);
}

// With the lock held. Secret, like a key: who can guess it learns lengths of chunks.
bool PackWriter::coin() {
    if (coins_left_ == 0) {
        fill_random({reinterpret_cast<std::uint8_t*>(&coins_), sizeof coins_});
        coins_left_ = 64;
    }
    --coins_left_;
    bool side = (coins_ & 1) != 0;
    coins_ >>= 1;
    return side;
}

// With the lock held. Two small packs become one.
void PackWriter::merge_small_packs() {
    for (auto& [first, second] : open_) {
        if (!first || !second || first->used + second->used > options_.pack_bytes ||
            first->blobs.size() + second->blobs.size() > kCloseAtBlobs)
            continue;
        if (first->used < second->used) std::swap(first, second);
        if (second->writers != 0) continue;  // a save beside a checkpoint
        std::memcpy(first->buffer.data() + first->used, second->buffer.data(), second->used);
        for (PackedBlob blob : second->blobs) {
            blob.offset += static_cast<std::uint32_t>(first->used);
            first->blobs.push_back(blob);
        }
        first->used += second->used;
        second.reset();
    }
}

Result<> PackWriter::flush(std::optional<BlobType> type) {
    Lock lock(mutex_);
    merge_small_packs();
    for (auto& of_type : open_) {
        for (auto& pack : of_type)
            if (pack && (!type || *type == pack->type)) close(std::move(pack));
    }
    const std::uint64_t end = next_serial_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return error_ || in_flight_.empty() || *in_flight_.begin() >= end; });
    if (error_) return *error_;
    return {};
}

void PackWriter::upload(std::stop_token stop) {
    for (;;) {
        std::unique_ptr<OpenPack> pack;
        {
            Lock lock(mutex_);
            if (!changed_.wait(lock, stop, [&] { return !queue_.empty(); })) return;
            pack = std::move(queue_.front());
            queue_.pop_front();
            if (error_) continue;
        }
        const std::size_t bytes = pack->used;
        const std::uint64_t serial = pack->serial;
        if (options_.gives_way_to != nullptr && !is_winding_up_)
            options_.gives_way_to->give_way(stop_);
        Result<StoredPack> stored = store(*pack);
        // Its memory goes before others may take as much. Then saves go on, while the owner writes
        // an index file, perhaps.
        pack.reset();
        {
            Lock lock(mutex_);
            in_flight_bytes_ -= bytes;
            held_bytes_ -= bytes;
        }
        changed_.notify_all();
        Result<> told;
        if (stored.ok())
            told = place_.on_stored(*std::move(stored));
        else
            told = std::move(stored).error();
        {
            Lock lock(mutex_);
            const bool is_cut_off = !told.ok() && told.error().kind() == ErrorKind::cancelled;
            // What is stored already stays good, as after a save that was given up.
            if (is_cut_off) is_cut_off_ = is_incomplete_ = true;
            if (told.ok() || is_cut_off) {
                in_flight_.erase(serial);
            } else if (!error_) {
                error_ = std::move(told).error();
                failed_ = true;
            }
        }
        changed_.notify_all();
    }
}

Result<StoredPack> PackWriter::store(OpenPack& pack) {
    Bytes tail;
    append_pack_header(tail, pack.blobs, place_.key);
    // A header that cannot be read back would hide every blob of the pack.
    if (TRY(decode_pack_tail(tail, pack.used + tail.size(), place_.version, place_.key)) !=
        pack.blobs)
        return Error(ErrorKind::io,
                     "a pack header does not decode to what was encoded: is the memory faulty?");
    TRY(pack.buffer.grow(pack.used + tail.size()));
    std::memcpy(pack.buffer.data() + pack.used, tail.data(), tail.size());
    const ByteView content(pack.buffer.data(), pack.used + tail.size());
    StoredPack stored{content_id<PackId>(content), std::move(pack.blobs), place_.lock_generation()};
    // Half of what must be free at the begin: a run that began with room ends in order, too.
    TRY(check_reserve(place_.backend, 2));
    place_.on_storing(stored.id, content.size());
    const Handle handle{FileType::pack, retag<struct FileTag>(stored.id)};
    TRY(options_.pace ? place_.backend.put_paced(handle, content, *options_.pace)
                      : place_.backend.put(handle, content));
    packs_stored_.fetch_add(1, std::memory_order_relaxed);
    bytes_stored_.fetch_add(tail.size(), std::memory_order_relaxed);
    if (failpoint("pack.stored")) return Error(ErrorKind::io, "failpoint pack.stored");
    return stored;
}

}  // namespace backup
