// Looks at what is already in the target: never writes, never follows a symbolic link. Thread-safe.
#pragma once

#include <functional>
#include <span>
#include <stop_token>
#include <string>

#include <sys/stat.h>

#include "daemon/repository/blob_source.h"
#include "daemon/restore/conflict.h"
#include "daemon/restore/restore_plan.h"

namespace backup {

struct Look {
    Existing existing;
    // Which object it was, to recognise it again.
    dev_t device = 0;
    ino_t inode = 0;
    struct stat status {};
};

// How the content of files is compared. `trust` takes equal size and mtime for equal content;
// `hash` reads the file whenever the size is right and compares chunk by chunk with the ids of the
// plan: nothing is fetched.
enum class ContentCheck : std::uint8_t { trust, hash };

// `is_known_right`: a file with this stat was found to have the content already. None: not asked.
Result<Look> look_at(int directory_fd, const std::string& name, const PlanObject& object,
                     const RestoreBatch& batch, const BlobSource& blobs, ContentCheck check,
                     const std::stop_token& stop,
                     const std::function<bool(const struct stat&)>& is_known_right = {});

// True when the file behind `fd` consists of exactly these blobs.
Result<bool> has_content(int fd, std::span<const BlobId> blobs, const BlobSource& source,
                         const std::stop_token& stop);

}  // namespace backup
