#include "daemon/repository/key_file.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::size_t kMemory = std::size_t{16} << 20;
    auto file = decode_key_file({data, size}, kMemory);
    if (!file.ok()) return 0;
    require(std::uint64_t{128} * file->n * file->r <= kMemory, "costs are capped");
    auto again = decode_key_file(as_bytes(encode_key_file(file.value())), kMemory);
    require(again.ok(), "what was decoded can be encoded and decoded");
    require(again->salt == file->salt && again->data == file->data && again->n == file->n,
            "nothing is lost");
    if (file->n <= 16 && file->r <= 8 && file->p <= 2)
        (void)open_key_file(file.value(), as_bytes("password"));
    return 0;
}
