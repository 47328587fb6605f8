#include "daemon/repository/index_table.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/repository/crypto.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::array<char, 16> kMagic = {'b', 'a', 'c', 'k', 'u', 'p', 'd', ' ',
                                         'b', 'l', 'o', 'b', 'i', 'd', 'x', '\n'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kByteOrder = 0x01020304;
constexpr unsigned kLeastBits = 8, kMostBits = 22;  // shards are bytes; 16 MiB of fan-out
constexpr std::uint64_t kEntriesForEach = 64;
constexpr std::size_t kPiece = std::size_t{1} << 20;  // a multiple of 32, as the sum wants it
constexpr std::uint64_t kMostEntries = UINT32_MAX - 1;

struct Header {
    std::array<char, 16> magic = kMagic;
    std::uint32_t version = kVersion;
    std::uint32_t byte_order = kByteOrder;
    BlobId repository;
    std::uint64_t entries = 0;
    std::uint32_t bits = 0, packs = 0, sources = 0, zero = 0;
    std::uint64_t source_bytes = 0;
    std::uint64_t body_sum = 0;
    std::uint64_t header_sum = 0;

    std::uint64_t own_sum() const {
        return plaintext_sum(
            {reinterpret_cast<const std::uint8_t*>(this), offsetof(Header, header_sum)});
    }
};
static_assert(sizeof(Header) == 104 && offsetof(Header, header_sum) == 96);

struct PackOnDisk {
    PackId id;
    std::uint32_t listed = 0;
};
static_assert(sizeof(PackOnDisk) == 36);

constexpr std::size_t fan_bytes(unsigned bits) {
    return ((std::size_t{1} << bits) + 1) * sizeof(std::uint32_t);
}

std::uint32_t leading(const BlobId& id, unsigned bits) {
    const std::uint32_t word = std::uint32_t{id.bytes[0]} << 24 | std::uint32_t{id.bytes[1]} << 16 |
                               std::uint32_t{id.bytes[2]} << 8 | id.bytes[3];
    return word >> (32 - bits);
}

BlobId name_of(const std::string& repository_id) {
    return BlobId{sha256(as_bytes(repository_id))};
}

Error unfit(const std::string& why) {
    return {ErrorKind::corrupt, "the local copy of the index " + why};
}

Result<> read_exactly(int fd, void* to, std::size_t size, std::uint64_t offset) {
    auto* at = static_cast<std::uint8_t*>(to);
    while (size > 0) {
        const ssize_t got = pread(fd, at, size, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return Error::from_errno(errno, "read the local copy of the index");
        if (got == 0) return unfit("is shorter than it was");
        at += got;
        offset += static_cast<std::uint64_t>(got);
        size -= static_cast<std::size_t>(got);
    }
    return {};
}

Result<> write_exactly(int fd, const void* from, std::size_t size, std::uint64_t offset) {
    const auto* at = static_cast<const std::uint8_t*>(from);
    while (size > 0) {
        const ssize_t put = pwrite(fd, at, size, static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return Error::from_errno(errno, "write the local copy of the index");
        at += put;
        offset += static_cast<std::uint64_t>(put);
        size -= static_cast<std::size_t>(put);
    }
    return {};
}

Result<Header> read_header(int fd, std::uint64_t file_bytes, const std::string& repository_id) {
    if (file_bytes < kPage) return unfit("is shorter than its header");
    Header header;
    TRY(read_exactly(fd, &header, sizeof header, 0));
    if (header.magic != kMagic) return unfit("is another kind of file");
    if (header.version != kVersion) return unfit("has another version");
    if (header.byte_order != kByteOrder) return unfit("was written by another kind of machine");
    if (header.header_sum != header.own_sum()) return unfit("has a damaged header");
    if (header.repository != name_of(repository_id)) return unfit("is of another repository");
    // Each bounded before they are multiplied.
    if (header.entries > kMostEntries || header.bits < kLeastBits || header.bits > kMostBits ||
        header.source_bytes > file_bytes)
        return unfit("has a header that makes no sense");
    const std::uint64_t expected = kPage + header.entries * sizeof(IndexEntry) +
                                   fan_bytes(header.bits) + header.packs * sizeof(PackOnDisk) +
                                   header.source_bytes;
    if (expected != file_bytes) return unfit("has another length than it should have");
    return header;
}

// The rest of the file in order, as one stream that is summed on its way.
class Body {
  public:
    Body(int fd, std::uint64_t end) : fd_(fd), end_(end), buffer_(kPiece) {}

    Result<> take(void* to, std::size_t size) {
        auto* at = static_cast<std::uint8_t*>(to);
        while (size > 0) {
            if (used_ == filled_) TRY(fill());
            const std::size_t step = std::min(size, filled_ - used_);
            std::memcpy(at, buffer_.data() + used_, step);
            used_ += step;
            at += step;
            size -= step;
        }
        return {};
    }
    std::uint64_t sum() const { return sum_.finish(); }

  private:
    Result<> fill() {
        filled_ = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, end_ - offset_));
        if (filled_ == 0) return unfit("is shorter than it says");
        used_ = 0;
        TRY(read_exactly(fd_, buffer_.data(), filled_, offset_));
        offset_ += filled_;
        sum_.update(ByteView(buffer_).first(filled_));
        return {};
    }

    const int fd_;
    const std::uint64_t end_;
    std::uint64_t offset_ = kPage;
    Bytes buffer_;
    std::size_t used_ = 0, filled_ = 0;
    PlaintextSum sum_;
};

Result<> check_entries(Body& body, const Header& header, std::vector<bool>& pack_is_named) {
    std::vector<IndexEntry> piece;
    IndexEntry last;
    for (std::uint64_t done = 0; done < header.entries;) {
        piece.resize(std::min<std::uint64_t>(header.entries - done, 4096));
        TRY(body.take(piece.data(), piece.size() * sizeof(IndexEntry)));
        for (const IndexEntry& entry : piece) {
            if (entry.number() >= header.packs || entry.is_relied_on() || entry.length == 0 ||
                (done != 0 && !is_before(last, entry)))
                return unfit("has an entry that makes no sense");
            pack_is_named[entry.number()] = true;
            last = entry;
            ++done;
        }
    }
    return {};
}

Result<> check_fan_out(Body& body, const Header& header) {
    std::vector<std::uint32_t> fan(fan_bytes(header.bits) / sizeof(std::uint32_t));
    TRY(body.take(fan.data(), fan_bytes(header.bits)));
    if (fan.front() != 0 || fan.back() != header.entries || !std::ranges::is_sorted(fan))
        return unfit("has a fan-out that makes no sense");
    return {};
}

Result<IndexTable::Directory> read_directory(Body& body, const Header& header) {
    IndexTable::Directory directory;
    directory.packs.resize(header.packs);
    for (IndexTable::Pack& pack : directory.packs) {
        PackOnDisk stored;
        TRY(body.take(&stored, sizeof stored));
        pack = {stored.id, stored.listed};
    }
    std::uint64_t left = header.source_bytes;
    for (std::uint32_t i = 0; i < header.sources; ++i) {
        constexpr std::size_t kHead = IndexId::kSize + sizeof(std::uint32_t);
        IndexTable::Source source;
        std::uint32_t packs = 0;
        if (left < kHead) return unfit("has too few sources");
        TRY(body.take(source.id.bytes.data(), IndexId::kSize));
        TRY(body.take(&packs, sizeof packs));
        left -= kHead;
        if (packs > left / sizeof(PackNumber)) return unfit("has too few sources");
        left -= packs * sizeof(PackNumber);
        source.packs.resize(packs);
        TRY(body.take(source.packs.data(), packs * sizeof(PackNumber)));
        for (PackNumber pack : source.packs)
            if (pack >= header.packs || directory.packs[pack].listed == 0)
                return unfit("has a source that makes no sense");
        directory.sources.push_back(std::move(source));
    }
    if (left != 0) return unfit("has too many sources");
    return directory;
}

}  // namespace

Result<IndexTable::Opened> IndexTable::open(const std::string& path,
                                            const std::string& repository_id) {
    UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) return Error::from_errno(errno, "open the local copy of the index");
    struct stat info {};
    if (fstat(file.get(), &info) != 0)
        return Error::from_errno(errno, "look at the local copy of the index");
    if (!S_ISREG(info.st_mode)) return unfit("is no file");
    const auto bytes = static_cast<std::uint64_t>(info.st_size);
    const Header header = TRY(read_header(file.get(), bytes, repository_id));

    Body body(file.get(), bytes);
    std::vector<bool> pack_is_named(header.packs);
    TRY(check_entries(body, header, pack_is_named));
    TRY(check_fan_out(body, header));
    Directory directory = TRY(read_directory(body, header));
    if (body.sum() != header.body_sum) return unfit("is damaged");
    for (std::size_t i = 0; i < pack_is_named.size(); ++i)
        if (pack_is_named[i] && directory.packs[i].listed == 0)
            return unfit("names a pack that no index file lists");
    return Opened{
        TRY(map(file.get(), bytes, static_cast<std::uint32_t>(header.entries), header.bits)),
        std::move(directory)};
}

Result<std::shared_ptr<const IndexTable>> IndexTable::map(int fd, std::size_t bytes,
                                                          std::uint32_t entries, unsigned bits) {
    void* data = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) return Error::from_errno(errno, "map the local copy of the index");
    // Ids are hashes: what lies beside is not what is asked for next.
    madvise(data, bytes, MADV_RANDOM);
    std::shared_ptr<IndexTable> table(new IndexTable);
    table->data_ = static_cast<std::uint8_t*>(data);
    table->bytes_ = bytes;
    table->entries_ = entries;
    table->bits_ = bits;
    const std::uint8_t* first = table->data_ + kPage;
    table->first_ = reinterpret_cast<const IndexEntry*>(first);
    table->fan_ =
        reinterpret_cast<const std::uint32_t*>(first + std::size_t{entries} * sizeof(IndexEntry));
    return std::shared_ptr<const IndexTable>(std::move(table));
}

IndexTable::~IndexTable() {
    munmap(data_, bytes_);
}

IndexTable::Range IndexTable::starting_with(std::uint8_t byte) const {
    const unsigned shift = bits_ - kLeastBits;
    return {fan_[std::size_t{byte} << shift], fan_[(std::size_t{byte} + 1) << shift]};
}

std::uint32_t IndexTable::find(const BlobId& id) const {
    const std::uint32_t value = leading(id, bits_);
    const IndexEntry* end = first_ + fan_[value + 1];
    const IndexEntry* found = std::lower_bound(
        first_ + fan_[value], end, id, [](const IndexEntry& entry, const BlobId& wanted) {
            return std::memcmp(entry.id.bytes.data(), wanted.bytes.data(), BlobId::kSize) < 0;
        });
    return found != end && found->id == id ? static_cast<std::uint32_t>(found - first_) : entries_;
}

std::uint32_t IndexTable::find_copy(const IndexEntry& copy) const {
    for (std::uint32_t at = find(copy.id); at < entries_ && first_[at].id == copy.id; ++at)
        if (first_[at].is_same_copy(copy)) return at;
    return entries_;
}

void IndexTable::drop_pages() const {
    madvise(data_, bytes_, MADV_DONTNEED);
}

void IndexTable::drop_pages(Range range) const {
    const std::size_t begin =
        (kPage + std::size_t{range.begin} * sizeof(IndexEntry)) / kPage * kPage;
    const std::size_t end = (kPage + std::size_t{range.end} * sizeof(IndexEntry)) / kPage * kPage;
    if (end > begin) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

// ---- IndexTableWriter
// -------------------------------------------------------------------------------------------------

Result<std::unique_ptr<IndexTableWriter>> IndexTableWriter::create(const std::string& path,
                                                                   const std::string& repository_id,
                                                                   std::uint64_t most_entries) {
    const std::filesystem::path place(path);
    TRY(make_folders(place.parent_path().string()));
    std::unique_ptr<IndexTableWriter> writer(new IndexTableWriter);
    writer->path_ = path;
    writer->repository_ = name_of(repository_id);
    // Two may write at the same time: the last one stays, each maps its own.
    std::array<std::uint8_t, 8> random{};
    fill_random(random);
    writer->temporary_ = path + ".new-" + to_hex(random);
    writer->file_.reset(::open(writer->temporary_.c_str(),
                               O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!writer->file_) {
        const int problem = errno;
        writer->temporary_.clear();
        return Error::from_errno(problem, "write the local copy of the index");
    }
    writer->bits_ = kLeastBits;
    while (writer->bits_ < kMostBits && (most_entries >> writer->bits_) > kEntriesForEach)
        ++writer->bits_;
    writer->fan_.reserve((std::size_t{1} << writer->bits_) + 1);
    writer->buffer_.reserve(kPiece);
    writer->offset_ = kPage;
    return writer;
}

IndexTableWriter::~IndexTableWriter() {
    if (!temporary_.empty()) unlink(temporary_.c_str());
}

Result<> IndexTableWriter::write_out() {
    TRY(write_exactly(file_.get(), buffer_.data(), buffer_.size(), offset_));
    sum_.update(buffer_);
    offset_ += buffer_.size();
    buffer_.clear();
    return {};
}

Result<> IndexTableWriter::append(const void* data, std::size_t size) {
    const auto* at = static_cast<const std::uint8_t*>(data);
    while (size > 0) {
        const std::size_t step = std::min(size, kPiece - buffer_.size());
        backup::append(buffer_, {at, step});
        at += step;
        size -= step;
        if (buffer_.size() == kPiece) TRY(write_out());
    }
    return {};
}

Result<> IndexTableWriter::add(const IndexEntry& entry) {
    if (entries_ >= kMostEntries)
        return Error(ErrorKind::invalid, "too many blobs for a local copy of the index");
    const std::uint32_t value = leading(entry.id, bits_);
    while (fan_.size() <= value) fan_.push_back(static_cast<std::uint32_t>(entries_));
    IndexEntry clean = entry;
    clean.word &= ~IndexEntry::kReliedOnBit;
    ++entries_;
    return append(&clean, sizeof clean);
}

Result<std::shared_ptr<const IndexTable>> IndexTableWriter::finish(
    const IndexTable::Directory& directory) {
    while (fan_.size() <= std::size_t{1} << bits_)
        fan_.push_back(static_cast<std::uint32_t>(entries_));
    TRY(append(fan_.data(), fan_.size() * sizeof(std::uint32_t)));
    for (const IndexTable::Pack& pack : directory.packs) {
        const PackOnDisk stored{pack.id, pack.listed};
        TRY(append(&stored, sizeof stored));
    }
    Header header;
    for (const IndexTable::Source& source : directory.sources) {
        const auto packs = static_cast<std::uint32_t>(source.packs.size());
        TRY(append(source.id.bytes.data(), IndexId::kSize));
        TRY(append(&packs, sizeof packs));
        TRY(append(source.packs.data(), packs * sizeof(PackNumber)));
        header.source_bytes += IndexId::kSize + sizeof packs + packs * sizeof(PackNumber);
    }
    TRY(write_out());
    header.repository = repository_;
    header.entries = entries_;
    header.bits = bits_;
    header.packs = static_cast<std::uint32_t>(directory.packs.size());
    header.sources = static_cast<std::uint32_t>(directory.sources.size());
    header.body_sum = sum_.finish();
    header.header_sum = header.own_sum();
    TRY(write_exactly(file_.get(), &header, sizeof header, 0));

    const std::string what = "write the local copy of the index";
    if (fdatasync(file_.get()) != 0) return Error::from_errno(errno, what);
    auto table =
        TRY(IndexTable::map(file_.get(), offset_, static_cast<std::uint32_t>(entries_), bits_));
    if (rename(temporary_.c_str(), path_.c_str()) != 0) return Error::from_errno(errno, what);
    temporary_.clear();
    const std::string folder = std::filesystem::path(path_).parent_path().string();
    UniqueFd directory_fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory_fd) fsync(directory_fd.get());  // a lost rename leaves the old table, as good
    return table;
}

}  // namespace backup
