#include "daemon/restore/joined_pieces.h"

#include <cstring>

#include "common/direct_io.h"

namespace backup {

namespace {

constexpr std::size_t kMostJoined = std::size_t{4} << 20;

// Of the thread, for one run after the other; freed with it. Memory that nobody wrote to is none.
Bytes& buffer() {
    thread_local Bytes mine(kMostJoined + kDirectAlignment);
    return mine;
}

}  // namespace

bool JoinedPieces::take(const Piece& piece, ByteView content) {
    if (content.size() > kMostJoined - length_) return false;
    if (pieces_.empty())
        lead_ = piece.file_offset % kDirectAlignment;
    else if (piece.object != pieces_.front()->object ||
             piece.file_offset != pieces_.front()->file_offset + length_)
        return false;
    std::memcpy(buffer().data() + lead_ + length_, content.data(), content.size());
    length_ += content.size();
    pieces_.push_back(&piece);
    return true;
}

ByteView JoinedPieces::content() const {
    return ByteView(buffer()).subspan(lead_, length_);
}

void JoinedPieces::clear() {
    pieces_.clear();
    lead_ = length_ = 0;
}

}  // namespace backup
