// Pieces that follow each other in a file, brought together in memory: written past the page cache,
// 4 MiB at once are done much sooner than four times one, which is what a common chunk has. What
// copying costs is a tenth of what hashing the same bytes does. One thread, one run of a pack.
#pragma once

#include <vector>

#include "common/bytes.h"
#include "daemon/restore/restore_plan.h"

namespace backup {

class JoinedPieces {
  public:
    JoinedPieces() = default;
    JoinedPieces(const JoinedPieces&) = delete;
    JoinedPieces& operator=(const JoinedPieces&) = delete;

    // False, and nothing is taken, when it belongs elsewhere or there is no room for it. The piece
    // has to outlive this.
    bool take(const Piece& piece, ByteView content);
    // To be written where the first one begins; aligned in memory as in the file. Valid until the
    // next take().
    ByteView content() const;
    const std::vector<const Piece*>& pieces() const { return pieces_; }
    void clear();

  private:
    std::vector<const Piece*> pieces_;
    std::size_t lead_ = 0, length_ = 0;
};

}  // namespace backup
