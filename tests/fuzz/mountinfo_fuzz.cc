// Mount tables: any text is read or refused, and every question about what was read has an answer.
#include "daemon/watch/mount_table.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 8192) return 0;
    const auto table = MountTable::parse(as_text({data, size}));
    if (!table.ok()) return 0;
    for (const Mount& mount : table->mounts()) {
        require(!mount.place.empty() && mount.place.front() == '/', "a place is absolute");
        const Mount* found = table->find(mount.place);
        require(found == nullptr || found->place.size() <= mount.place.size(),
                "what is found is at or above");
        for (const Mount* below : table->below(mount.place))
            require(below->place.size() > mount.place.size(), "strictly below");
    }
    return 0;
}
