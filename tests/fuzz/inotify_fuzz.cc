// Buffers of an inotify instance: whatever is in them, the decoder ends and looks at nothing
// outside.
#include <sys/inotify.h>

#include "daemon/watch/event_decoder.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    InotifyDecoder decoder({data, size});
    InotifyRecord record;
    std::size_t count = 0;
    while (decoder.next(record)) {
        require(++count <= size, "every record takes some bytes");
        if (record.is_unusable || record.is_overflow) continue;
        const auto* begin = reinterpret_cast<const std::uint8_t*>(record.name.data());
        require(record.name.empty() || (begin >= data && begin + record.name.size() <= data + size),
                "names lie in the buffer");
        require(record.name.size() <= 255 && record.name != ".." && record.name != "." &&
                    record.name.find('/') == record.name.npos &&
                    record.name.find('\0') == record.name.npos,
                "names are components");
        if ((record.mask & (IN_CREATE | IN_DELETE | IN_MOVE)) != 0)
            require(!record.name.empty(), "an entry has a name");
        require(record.watch >= 0, "a watch");
    }
    return 0;
}
