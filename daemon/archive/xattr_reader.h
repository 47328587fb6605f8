// Reads all extended attributes of one object, in the order in which the file system lists them.
// One object per thread; what read() returns lives until the next call.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "daemon/repository/tree.h"
#include "daemon/runtime/fs.h"

namespace backup {

class XattrReader {
  public:
    explicit XattrReader(Fs& fs) : fs_(fs) {}

    // Attributes that cannot be read are left out and are in failures(). None at all where the
    // file system knows no attributes.
    std::span<const ExtendedAttribute> read(int fd);
    std::span<const ExtendedAttribute> read_at(int directory, const char* name, bool follow);

    struct Failure {
        std::string attribute;  // empty: the list itself could not be read
        int error;              // EILSEQ: a name that the format cannot hold; it is stored damaged
    };
    const std::vector<Failure>& failures() const { return failures_; }

  private:
    template <typename List, typename Get>
    std::span<const ExtendedAttribute> read_with(List list, Get get);

    Fs& fs_;
    Bytes names_;
    std::vector<ExtendedAttribute> found_;
    std::vector<Failure> failures_;
};

}  // namespace backup
