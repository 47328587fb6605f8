#include "daemon/repository/snapshot.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto snapshot = decode_snapshot({data, size});
    if (!snapshot.ok()) return 0;
    std::string text = encode_snapshot(snapshot.value());
    auto again = decode_snapshot(as_bytes(text));
    require(again.ok(), "what was decoded can be encoded and decoded");
    require(encode_snapshot(again.value()) == text, "nothing is lost");
    RevisionTags tags = parse_revision_tags(snapshot->tags);
    (void)make_tags(tags);
    return 0;
}
