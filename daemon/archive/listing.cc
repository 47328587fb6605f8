#include "daemon/archive/listing.h"

#include <algorithm>
#include <cstring>

#include <dirent.h>

namespace backup {

int Listing::read(Fs& fs, int directory) {
    names_.clear();
    if (blocks_.size() > 32) {
        blocks_.resize(1);
        names_.shrink_to_fit();
    }
    std::size_t block = 0, used = 0;
    for (;;) {
        // The kernel fills whole records: what is left of a block serves as long as a few fit.
        if (block < blocks_.size() && kBlock - used < 4096) {
            ++block;
            used = 0;
        }
        if (block == blocks_.size())
            blocks_.push_back(std::unique_ptr<std::uint8_t[]>(new std::uint8_t[kBlock]));
        std::uint8_t* at = blocks_[block].get() + used;
        ssize_t size = fs.list(directory, {at, kBlock - used});
        if (size < 0) return static_cast<int>(size);
        if (size == 0) break;
        for (ssize_t offset = 0; offset < size;) {
            auto* record = reinterpret_cast<const dirent64*>(at + offset);
            offset += record->d_reclen;
            std::string_view name(record->d_name);
            if (name == "." || name == "..") continue;
            names_.push_back(
                {record->d_name, static_cast<std::uint16_t>(name.size()), record->d_type});
        }
        used += static_cast<std::size_t>(size);
    }
    std::sort(names_.begin(), names_.end(),
              [](const ListedName& a, const ListedName& b) { return a.name() < b.name(); });
    // A directory that changes while it is listed may show a name twice.
    auto same = [](const ListedName& a, const ListedName& b) { return a.name() == b.name(); };
    names_.erase(std::unique(names_.begin(), names_.end(), same), names_.end());
    return 0;
}

}  // namespace backup
