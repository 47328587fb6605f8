// Buffers of a fanotify group: whatever is in them, the decoder ends, looks at nothing outside, and
// a record that it calls usable has what its mask promises.
#include <linux/fanotify.h>

#include "daemon/watch/event_decoder.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

namespace {

bool is_within(std::string_view part, const std::uint8_t* data, std::size_t size) {
    const auto* begin = reinterpret_cast<const std::uint8_t*>(part.data());
    return part.empty() || (begin >= data && begin + part.size() <= data + size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    FanotifyDecoder decoder({data, size});
    FanotifyRecord record;
    std::size_t count = 0;
    while (decoder.next(record)) {
        require(++count <= size, "every record takes some bytes");
        for (const HandleView& handle :
             {record.object, record.directory, record.old_directory, record.new_directory}) {
            require(is_within(handle.bytes, data, size), "handles lie in the buffer");
            require(handle.bytes.size() <= 128, "handles fit the kernel's structure");
        }
        for (std::string_view name : {record.name, record.old_name, record.new_name})
            require(is_within(name, data, size), "names lie in the buffer");
        if (record.is_unusable || record.is_overflow) continue;
        for (std::string_view name : {record.name, record.old_name, record.new_name})
            require(name.size() <= 255 && name != ".." && name.find('/') == name.npos &&
                        name.find('\0') == name.npos,
                    "names are components");
        if ((record.mask & (FAN_CREATE | FAN_DELETE | FAN_MOVE)) != 0)
            require(!record.directory.empty() && !record.is_about_directory_itself(),
                    "an entry has a name");
        if ((record.mask & FAN_RENAME) != 0)
            require(!record.old_directory.empty() && !record.new_directory.empty() &&
                        !record.old_name.empty() && !record.new_name.empty(),
                    "a rename has two sides");
    }
    return 0;
}
