// The first byte chooses: a key or a value by itself, or a whole queue of records, each with the
// lengths of its key and value before it, under a header that counts them.
#include <algorithm>

#include "daemon/queue/change_queue.h"
#include "daemon/queue/mark_codec.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;
using namespace backup::queue;

namespace {

template <typename Decode, typename Encode>
void check(std::string_view bytes, Decode decode, Encode encode) {
    auto decoded = decode(bytes);
    if (decoded.ok()) require(encode(*decoded) == bytes, "one value has one encoding");
}

std::vector<QueueRecord> records_of(std::string_view bytes) {
    std::vector<QueueRecord> records;
    auto take = [&] {
        std::size_t size = bytes.empty() ? 0 : static_cast<unsigned char>(bytes[0]);
        bytes.remove_prefix(std::min<std::size_t>(bytes.size(), 1));
        std::string_view taken = bytes.substr(0, size);
        bytes.remove_prefix(taken.size());
        return std::string(taken);
    };
    QueueHeader header{.generation = 1'000'000};
    while (!bytes.empty()) {
        std::string key = take();
        std::string value = take();
        if (key.starts_with('h')) continue;
        ++header.records;
        header.sum += checksum_of_key(key);
        records.push_back({std::move(key), std::move(value)});
    }
    records.push_back({encode_key(RecordKind::header, 0), encode_header(header)});
    return records;
}

void check_queue(std::string_view bytes) {
    auto loaded = ChangeQueue::load(records_of(bytes));
    if (!loaded.ok()) {
        require(loaded.error().kind() == ErrorKind::corrupt, "what is no queue is corrupt");
        return;
    }
    auto again = ChangeQueue::load(loaded->all_records());
    require(again.ok(), "what was loaded can be stored and loaded");
    require(again->size() == loaded->size() && again->generation() == loaded->generation() &&
                again->oldest() == loaded->oldest(),
            "nothing is lost");
    loaded->clear(loaded->freeze());
    require(loaded->generation() > 1'000'000 || loaded->empty(), "a run clears all of it");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    std::string_view rest = as_text({data + 1, size - 1});
    switch (data[0] % 7) {
        case 0:
            check(rest, decode_key, [](const RecordKey& key) {
                return encode_key(key.kind, key.volume, key.handle, key.name);
            });
            break;
        case 1:
            check(rest, decode_header, encode_header);
            break;
        case 2:
            check(rest, decode_mark, encode_mark);
            break;
        case 3: {
            std::string reason;
            check(
                rest, [&](std::string_view value) { return decode_everything(value, reason); },
                [&](const Mark& mark) { return encode_everything(mark, reason); });
            break;
        }
        case 4:
            check(rest, decode_origin, encode_origin);
            break;
        case 5:
            check(rest, decode_generation, encode_generation);
            break;
        case 6:
            check_queue(rest);
            break;
    }
    return 0;
}
