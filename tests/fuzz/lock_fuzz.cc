#include "daemon/repository/lock_file.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    auto lock = decode_lock({data, size});
    if (!lock.ok()) return 0;
    auto again = decode_lock(as_bytes(encode_lock(lock.value())));
    require(again.ok(), "what was decoded can be encoded and decoded");
    require(
        again->time == lock->time && again->pid == lock->pid && again->hostname == lock->hostname,
        "nothing is lost");
    return 0;
}
