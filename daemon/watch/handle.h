// ObjectHandle is the identity of an object within one volume: what name_to_handle_at(2) gives,
// inode and generation, as bytes. Unlike an inode number it is never used again for another object,
// and unlike a path it stays when the object or a directory above it is renamed.
//
//   one byte: 'h' a kernel handle (then its type, one byte, and its bytes)
//             'i' where the file system gives none: device and inode, 8 bytes each, little-endian
//
// A plain value; compared byte by byte; means nothing on another volume.
#pragma once

#include <string>

namespace backup {

using ObjectHandle = std::string;

}  // namespace backup
