// The first byte chooses the kind of record.
#include "daemon/state/state_codec.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

namespace {
template <typename Decode>
void check(std::string_view bytes, Decode decode) {
    auto record = decode(bytes);
    if (!record.ok()) return;
    std::string value = state::encode(record.value());
    auto again = decode(value);
    require(again.ok(), "what was decoded can be encoded and decoded");
    require(state::encode(again.value()) == value, "nothing is lost");
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    std::string_view rest = as_text({data + 1, size - 1});
    switch (data[0] % 5) {
        case 0:
            check(rest, state::decode_job);
            break;
        case 1:
            check(rest, state::decode_line);
            break;
        case 2:
            check(rest, state::decode_set);
            break;
        case 3:
            check(rest, state::decode_repository);
            break;
        case 4:
            check(rest, state::decode_guard);
            break;
    }
    return 0;
}
