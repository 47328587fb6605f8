// ScratchFolder is an empty folder of our own that goes with this, whatever was made in it: trees
// of any depth, directories that nobody may enter. Removing is done with descriptors and follows no
// link. One thread.
#pragma once

#include <string>

#include "common/result.h"
#include "common/unique_fd.h"

namespace backup {

class ScratchFolder {
  public:
    // PARENT/NAME; what is there already goes first.
    static Result<ScratchFolder> make(const std::string& parent, const std::string& name);
    ScratchFolder(ScratchFolder&& other) noexcept = default;
    ScratchFolder& operator=(ScratchFolder&&) = delete;
    ~ScratchFolder();

    int fd() const { return fd_.get(); }
    // Everything in `parent`.
    static void clear(const std::string& parent);

  private:
    ScratchFolder(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

    std::string path_;
    UniqueFd fd_;
};

}  // namespace backup
