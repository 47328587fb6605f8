// What the kernel writes into the buffer of an event queue, taken apart: fanotify groups that
// report by handle, and inotify. Pure; views point into the buffer. Bytes are never trusted: what
// does not add up is `unusable`, and whoever reads treats it as lost records.
//
// Formats: fanotify(7), inotify(7), linux/fanotify.h. Integers in the machine's order, records not
// aligned as far as we are concerned.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "daemon/watch/handle.h"

namespace backup {

// A kernel handle inside a record. `type` 0 and no bytes: there is none.
struct HandleView {
    std::uint8_t type = 0;
    std::string_view bytes;

    bool empty() const { return bytes.empty(); }
    ObjectHandle handle() const {
        ObjectHandle text;
        assign_to(text);
        return text;
    }
    void assign_to(ObjectHandle& text) const {
        text.assign({'h', static_cast<char>(type)});
        text.append(bytes);
    }
};

struct FanotifyRecord {
    std::uint64_t mask = 0;
    std::int32_t pid = 0;
    bool is_overflow = false;
    // The record cannot be understood, or lacks what its mask promises.
    bool is_unusable = false;
    // The object itself: of a file always (with REPORT_FID), of a directory that was made, removed
    // or renamed only with TARGET_FID.
    HandleView object;
    // A name in a directory. Name "." (or none): the directory itself.
    HandleView directory;
    std::string_view name;
    // FAN_RENAME.
    HandleView old_directory, new_directory;
    std::string_view old_name, new_name;

    bool is_about_directory_itself() const {
        return !directory.empty() && (name.empty() || name == ".");
    }
};

class FanotifyDecoder {
  public:
    explicit FanotifyDecoder(ByteView buffer) : rest_(buffer) {}
    // False: the end. A record whose length cannot be trusted is the last one, and unusable.
    bool next(FanotifyRecord& record);

  private:
    ByteView rest_;
};

struct InotifyRecord {
    std::int32_t watch = -1;
    std::uint32_t mask = 0, cookie = 0;
    std::string_view name;  // empty: the watched directory itself
    bool is_overflow = false;
    bool is_unusable = false;
};

class InotifyDecoder {
  public:
    explicit InotifyDecoder(ByteView buffer) : rest_(buffer) {}
    bool next(InotifyRecord& record);

  private:
    ByteView rest_;
};

}  // namespace backup
