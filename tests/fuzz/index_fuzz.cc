#include <vector>

#include "daemon/repository/index_file.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

namespace {
struct Rebuild final : IndexVisitor {
    void pack(const PackId& id, std::span<const PackedBlob> blobs) override {
        for (const PackedBlob& blob : blobs) {
            require(blob.length >= kSealOverhead, "no blob is shorter than its seal");
            require(std::uint64_t{blob.offset} + blob.length <= UINT32_MAX,
                    "blobs lie below 4 GiB");
        }
        encoder.add_pack(id, blobs);
    }
    IndexEncoder encoder;
};
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Rebuild first;
    if (!decode_index({data, size}, 2, first).ok()) return 0;
    Bytes text = first.encoder.finish();
    Rebuild second;
    require(decode_index(text, 2, second).ok(), "what was decoded can be encoded and decoded");
    require(second.encoder.finish() == text, "nothing is lost");
    return 0;
}
