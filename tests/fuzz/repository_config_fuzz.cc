#include "daemon/repository/config_codec.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto config = decode_config({data, size});
    if (!config.ok()) return 0;
    auto again = decode_config(as_bytes(encode_config(config.value())));
    require(again.ok(), "what was decoded can be encoded and decoded");
    require(again->version == config->version && again->id == config->id &&
                again->chunker_polynomial == config->chunker_polynomial,
            "nothing is lost");
    return 0;
}
