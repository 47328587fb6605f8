#include "daemon/repository/pack.h"

#include <algorithm>
#include <string>

namespace backup {

namespace {

constexpr std::size_t kTrailerBytes = 4;
constexpr std::uint8_t kTreeBit = 1;
constexpr std::uint8_t kCompressedBit = 2;
constexpr std::uint8_t kMostType = 3;

Error bad_pack(std::string_view what) {
    return Error(ErrorKind::corrupt, "pack header: " + std::string(what));
}

std::size_t entry_bytes(const PackedBlob& blob) {
    return blob.uncompressed_length != 0 ? kCompressedEntryBytes : kRawEntryBytes;
}

void store_entry(std::uint8_t* at, const PackedBlob& blob) {
    bool is_compressed = blob.uncompressed_length != 0;
    *at++ = static_cast<std::uint8_t>((blob.type == BlobType::tree ? kTreeBit : 0) |
                                      (is_compressed ? kCompressedBit : 0));
    store_le32(at, blob.length);
    at += 4;
    if (is_compressed) {
        store_le32(at, blob.uncompressed_length);
        at += 4;
    }
    std::copy(blob.id.bytes.begin(), blob.id.bytes.end(), at);
}

}  // namespace

std::uint64_t pack_file_size(std::span<const PackedBlob> blobs) {
    std::uint64_t size = kSealOverhead + kTrailerBytes;
    for (const PackedBlob& blob : blobs) size += blob.length + entry_bytes(blob);
    return size;
}

void append_pack_header(Bytes& pack, std::span<const PackedBlob> blobs, const MasterKey& key) {
    std::size_t plain = 0;
    for (const PackedBlob& blob : blobs) plain += entry_bytes(blob);
    std::size_t begin = pack.size();
    pack.resize(begin + plain + kSealOverhead + kTrailerBytes);
    MutableByteView sealed = MutableByteView(pack).subspan(begin, plain + kSealOverhead);
    std::uint8_t* at = sealed.data() + kIvBytes;
    for (const PackedBlob& blob : blobs) {
        store_entry(at, blob);
        at += entry_bytes(blob);
    }
    key.seal_in_place(sealed);
    store_le32(pack.data() + pack.size() - kTrailerBytes,
               static_cast<std::uint32_t>(sealed.size()));
}

Result<std::size_t> pack_tail_length(ByteView tail, std::uint64_t pack_size) {
    if (pack_size < kLeastPackBytes || tail.size() < kTrailerBytes)
        return bad_pack("file is too short");
    std::uint64_t length = load_le32(tail.last(kTrailerBytes).data());
    if (length < kSealOverhead + kRawEntryBytes) return bad_pack("length is too small");
    if (length > kMostSealedHeader) return bad_pack("length is above the limit");
    if (length > pack_size - kTrailerBytes) return bad_pack("longer than the file");
    return static_cast<std::size_t>(length + kTrailerBytes);
}

Result<std::vector<PackedBlob>> decode_pack_tail(ByteView tail, std::uint64_t pack_size,
                                                 unsigned version, const MasterKey& key) {
    std::size_t needed = TRY(pack_tail_length(tail, pack_size));
    if (tail.size() < needed) return bad_pack("not all of it was read");
    ByteView sealed = tail.last(needed).first(needed - kTrailerBytes);
    Bytes plain = TRY_DURING(key.unseal(sealed), "pack header");
    return decode_pack_header(plain, pack_size, version);
}

Result<std::vector<PackedBlob>> decode_pack_header(ByteView header, std::uint64_t pack_size,
                                                   unsigned version) {
    if (pack_size > UINT32_MAX) return bad_pack("file is larger than the format allows");
    if (header.size() < kRawEntryBytes) return bad_pack("no entries");
    if (header.size() > kMostSealedHeader - kSealOverhead)
        return bad_pack("length is above the limit");
    std::uint64_t overhead = header.size() + kSealOverhead + kTrailerBytes;
    if (pack_size < overhead) return bad_pack("longer than the file");
    std::uint64_t blob_area = pack_size - overhead;

    std::vector<PackedBlob> blobs;
    blobs.reserve(header.size() / kRawEntryBytes);
    std::uint64_t offset = 0;
    for (std::size_t at = 0; at < header.size();) {
        std::uint8_t type = header[at];
        if (type > kMostType) return bad_pack("unknown type of blob");
        bool is_compressed = (type & kCompressedBit) != 0;
        if (is_compressed && version < 2)
            return bad_pack("compressed blob in a repository of version 1");
        std::size_t size = is_compressed ? kCompressedEntryBytes : kRawEntryBytes;
        if (header.size() - at < size) return bad_pack("ends inside an entry");
        const std::uint8_t* entry = header.data() + at + 1;
        PackedBlob blob;
        blob.type = (type & kTreeBit) != 0 ? BlobType::tree : BlobType::data;
        blob.offset = static_cast<std::uint32_t>(offset);
        blob.length = load_le32(entry);
        entry += 4;
        if (is_compressed) {
            blob.uncompressed_length = load_le32(entry);
            entry += 4;
            if (blob.uncompressed_length == 0) return bad_pack("compressed blob of length 0");
        }
        std::copy_n(entry, blob.id.bytes.size(), blob.id.bytes.begin());
        if (blob.length < kSealOverhead) return bad_pack("blob is too short");
        if (blob.id.is_null()) return bad_pack("blob without id");
        offset += blob.length;
        if (offset > blob_area) return bad_pack("blobs are longer than the file");
        blobs.push_back(blob);
        at += size;
    }
    if (offset != blob_area) return bad_pack("blobs are shorter than the file");
    return blobs;
}

}  // namespace backup
