// Input: size of the pack (4 bytes, little endian), version of the repository (1 byte), then the
// plain header.
#include "daemon/repository/pack.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 5) return 0;
    std::uint64_t pack_size = load_le32(data);
    unsigned version = data[4] % 2 + 1;
    ByteView header{data + 5, size - 5};
    (void)pack_tail_length(header, pack_size);
    auto blobs = decode_pack_header(header, pack_size, version);
    if (!blobs.ok()) return 0;
    std::uint64_t offset = 0;
    for (const PackedBlob& blob : blobs.value()) {
        require(blob.offset == offset, "blobs lie back to back");
        require(blob.length >= kSealOverhead, "no blob is shorter than its seal");
        require(version == 2 || blob.uncompressed_length == 0, "version 1 has no compression");
        offset += blob.length;
    }
    require(pack_file_size(blobs.value()) == pack_size, "the blobs fill the pack");
    return 0;
}
