#include "daemon/archive/change_signs.h"

#include <algorithm>
#include <array>

namespace backup {

namespace {

std::uint64_t mix(std::uint64_t value) {
    value ^= value >> 33;
    value *= 0xff51afd7ed558ccd;
    value ^= value >> 33;
    value *= 0xc4ceb9fe1a85ec53;
    return value ^ (value >> 33);
}

// FNV-1a.
std::uint64_t digest(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return mix(hash);
}

constexpr std::uint64_t kNameBits = 0xffffffff;

struct Beginning {
    std::size_t at;
    std::string_view bytes;
};
// First bytes of formats whose content is compressed already, from their specifications.
constexpr std::array kCompressed = {
    Beginning{0, "\x1f\x8b"},  // gzip
    Beginning{0, "BZh"},       // bzip2
    Beginning{0,
              "\xfd"
              "7zXZ"},                   // xz
    Beginning{0, "\x28\xb5\x2f\xfd"},    // zstd
    Beginning{0, "\x04\x22\x4d\x18"},    // lz4
    Beginning{0, "PK\x03\x04"},          // zip: office documents, packages
    Beginning{0, "7z\xbc\xaf\x27\x1c"},  // 7z
    Beginning{0, "Rar!"},                // rar
    Beginning{0, "\xff\xd8\xff"},        // jpeg
    Beginning{0, "\x89PNG"},             // png
    Beginning{0, "GIF8"},                // gif
    Beginning{8, "WEBP"},                // webp
    Beginning{4, "ftyp"},                // mp4, heic, avif
    Beginning{0, "\x1a\x45\xdf\xa3"},    // matroska, webm
    Beginning{0, "OggS"},                // ogg, opus
    Beginning{0, "fLaC"},                // flac
    Beginning{0, "ID3"},                 // mp3
    Beginning{0, "\xff\xfb"},            // mp3
    Beginning{0, "%PDF"},                // pdf
    Beginning{0, "PACK"},                // git packs
    Beginning{0, "wOF2"},                // fonts of the web
};

}  // namespace

FileMark file_mark(std::uint64_t inode, std::string_view name) {
    return (mix(inode) & ~kNameBits) | (digest(name) & kNameBits);
}

MatchedMarks match_marks(std::vector<FileMark> gone, std::vector<FileMark> came) {
    MatchedMarks matched;
    // In two passes over sorted lists: the same object first, then the same name.
    std::vector<FileMark> gone_names, came_names;
    std::ranges::sort(gone);
    std::ranges::sort(came);
    auto a = gone.begin(), b = came.begin();
    auto object = [](FileMark mark) { return mark >> 32; };
    while (a != gone.end() || b != came.end()) {
        if (b == came.end() || (a != gone.end() && object(*a) < object(*b))) {
            gone_names.push_back(*a++ & kNameBits);
        } else if (a == gone.end() || object(*b) < object(*a)) {
            came_names.push_back(*b++ & kNameBits);
        } else {
            ++((*a & kNameBits) == (*b & kNameBits) ? matched.moved : matched.renamed);
            ++a;
            ++b;
        }
    }
    std::ranges::sort(gone_names);
    std::ranges::sort(came_names);
    a = gone_names.begin();
    b = came_names.begin();
    while (a != gone_names.end() && b != came_names.end()) {
        if (*a < *b) {
            ++a;
        } else if (*b < *a) {
            ++b;
        } else {
            ++matched.moved;
            ++a;
            ++b;
        }
    }
    return matched;
}

bool is_compressed_format(ByteView begin) {
    const std::string_view text = as_text(begin);
    return std::ranges::any_of(kCompressed, [&](const Beginning& known) {
        return text.size() >= known.at && text.substr(known.at).starts_with(known.bytes);
    });
}

Texture texture_of(std::uint64_t plain, std::uint64_t stored, ByteView begin) {
    if (plain < kLeastTexture || stored == 0) return Texture::unknown;
    // What encryption makes of anything cannot be compressed at all; sealing adds 32 bytes.
    if (stored < plain - plain / 50) return Texture::orderly;
    return is_compressed_format(begin) ? Texture::orderly : Texture::opaque;
}

bool was_compressed(const BlobSource& source, const BlobId& id) {
    auto found = source.locate({BlobType::data, id});
    if (!found || found->uncompressed_length < kLeastTexture) return false;
    return found->length < found->uncompressed_length - found->uncompressed_length / 10;
}

void ChangeWitness::note_read(std::uint64_t inode, std::string_view name, const RawNode* before,
                              bool is_same, Texture texture, const BlobSource& source) {
    const bool was_file = before != nullptr && before->type == NodeType::file;
    const bool was_orderly = was_file && !is_same && before->content_count() > 0 &&
                             was_compressed(source, before->content_id(0));
    note_read(inode, name, was_file, is_same, was_orderly, texture);
}

void ChangeWitness::note_read(std::uint64_t inode, std::string_view name, bool was_file,
                              bool is_same, bool was_orderly, Texture texture) {
    if (!was_file) {
        ++signs_.files_new;
        if (came_.size() < kMostFileMarks) came_.push_back(file_mark(inode, name));
        if (texture == Texture::opaque) ++signs_.new_opaque;
        return;
    }
    if (is_same) return;
    ++signs_.rewritten;
    if (!was_orderly || texture == Texture::unknown) return;
    ++signs_.could_turn;
    if (texture == Texture::opaque) ++signs_.turned;
}

void ChangeWitness::merge(const ChangeWitness& other) {
    signs_.files_new += other.signs_.files_new;
    signs_.rewritten += other.signs_.rewritten;
    signs_.could_turn += other.signs_.could_turn;
    signs_.turned += other.signs_.turned;
    signs_.new_opaque += other.signs_.new_opaque;
    came_.insert(came_.end(), other.came_.begin(), other.came_.end());
}

}  // namespace backup
