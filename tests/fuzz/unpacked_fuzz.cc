// The first byte's lowest bit chooses between an unpacked file and a blob of 4096 bytes.
#include "daemon/repository/compression.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    ByteView rest{data + 1, size - 1};
    if (data[0] % 2 == 0) {
        constexpr std::size_t kMost = std::size_t{4} << 20;
        auto file = decode_unpacked(to_bytes(rest), 2, kMost);
        if (file.ok()) require(file->size() <= kMost, "the limit holds");
    } else {
        auto blob = decompress_blob(rest, 4096);
        if (blob.ok()) require(blob->size() == 4096, "the length is exact");
    }
    return 0;
}
