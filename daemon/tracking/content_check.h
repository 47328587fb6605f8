// check_content() reads a file and compares it with what a revision has of it, blob by blob. Slow
// on purpose, and no descriptor stays open between blobs: the file system can be unmounted
// meanwhile. Blocking.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "daemon/repository/repository.h"
#include "daemon/repository/tree.h"
#include "daemon/tracking/tracked_set.h"

namespace backup {

enum class ContentAnswer : std::uint8_t {
    same,
    differs,
    unknown,  // it is not the file that was asked for any more, or cannot be compared
};

// `seen`: how the file looked; it must look so all the time. `rest` is called after each blob with
// the time that it took.
ContentAnswer check_content(const std::string& path, const HeldState& seen, const Node& node,
                            const BlobSource& blobs, const std::function<void(Duration took)>& rest,
                            std::stop_token stop);

// Which files' content is read in a pass: `percent` of them, others in each pass, and all of them
// in turn.
bool is_in_share(std::uint64_t inode, std::uint64_t pass, unsigned percent);

}  // namespace backup
