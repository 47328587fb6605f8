// What a run noticed about the kind of changes that it found: how many files lost their content's
// order, how many went, how many only have another name. Counted while the walk runs, without a
// look at anything that the run does not read anyway; judged by daemon/guard. One ChangeWitness per
// worker, then merged; not thread-safe.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "daemon/repository/blob_sink.h"
#include "daemon/repository/blob_source.h"
#include "daemon/repository/tree_scanner.h"

namespace backup {

struct ChangeSigns {
    std::uint64_t files_before = 0, files_now = 0;  // of the parent revision, of this one
    std::uint64_t files_new = 0;
    std::uint64_t rewritten = 0;  // other content under the same name
    // Not there any more: neither under another name (`renamed`) nor elsewhere under the same one
    // (`moved`).
    std::uint64_t removed = 0, renamed = 0, moved = 0;
    // Of the rewritten: those whose content the parent revision could compress, and of these the
    // ones that can be compressed no longer.
    std::uint64_t could_turn = 0, turned = 0;
    // Of the new: content that cannot be compressed and is of no well-known compressed format.
    std::uint64_t new_opaque = 0;
};

// A file by a digest of its inode (upper half) and of its name (lower half).
using FileMark = std::uint64_t;
FileMark file_mark(std::uint64_t inode, std::string_view name);
// More are not kept: then fewer moves are recognised.
inline constexpr std::size_t kMostFileMarks = std::size_t{2} << 20;

struct MatchedMarks {
    std::uint64_t renamed = 0;  // the same inode, another name
    std::uint64_t moved = 0;    // the same name
};
// Pairs what went with what came, each at most once.
MatchedMarks match_marks(std::vector<FileMark> gone, std::vector<FileMark> came);

// How content looks to whoever wants to compress it.
enum class Texture : std::uint8_t {
    unknown,  // too short, or nothing was stored
    orderly,  // it can be compressed, or its first bytes are those of a compressed format
    opaque,
};
// Shorter content tells nothing.
inline constexpr std::uint64_t kLeastTexture = 512;
// `stored`: sealed bytes of the new blobs, `plain`: their plaintext. `begin`: how the file begins.
Texture texture_of(std::uint64_t plain, std::uint64_t stored, ByteView begin);
bool is_compressed_format(ByteView begin);

class ChangeWitness {
  public:
    // A file was read and stored; `before`: what the parent revision has under its name.
    // `is_same`: with the same content.
    void note_read(std::uint64_t inode, std::string_view name, const RawNode* before, bool is_same,
                   Texture texture, const BlobSource& source);
    void note_read(std::uint64_t inode, std::string_view name, bool was_file, bool is_same,
                   bool was_orderly, Texture texture);

    void merge(const ChangeWitness& other);
    const ChangeSigns& signs() const { return signs_; }
    std::vector<FileMark> take_came() { return std::move(came_); }

  private:
    ChangeSigns signs_;
    std::vector<FileMark> came_;
};

// Whether the repository holds the content compressed; from the index alone.
bool was_compressed(const BlobSource& source, const BlobId& id);

}  // namespace backup
