// The floor under a first backup: walks a tree, cuts, hashes (SHA-256), compresses (zstd 3), seals
// and writes packs with fsync, and nothing else. No index, no trees, no look for what is known, no
// second look at what was encoded, no repository that anybody could read.
//
//   bench_floor SOURCE TARGET [threads]
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/repository/blob.h"
#include "daemon/repository/chunker.h"
#include "daemon/repository/compression.h"
#include "daemon/repository/crypto.h"

namespace backup {
namespace {

constexpr std::size_t kPackBytes = std::size_t{16} << 20;
constexpr std::size_t kReadAtOnce = std::size_t{1} << 20;
constexpr std::uint64_t kPolynomial = 0x3DA3358B4DC173;

[[noreturn]] void die(const std::string& what) {
    std::perror(what.c_str());
    std::exit(1);
}

struct File {
    std::string path;
    std::uint64_t bytes;
};

void collect(const std::string& directory, std::vector<File>& files) {
    DIR* opened = ::opendir(directory.c_str());
    if (opened == nullptr) die(directory);
    while (const dirent* entry = ::readdir(opened)) {
        const std::string name = entry->d_name;
        if (name == "." || name == "..") continue;
        std::string path = directory + "/" + name;
        struct stat status {};
        if (::lstat(path.c_str(), &status) != 0) die(path);
        if (S_ISDIR(status.st_mode))
            collect(path, files);
        else if (S_ISREG(status.st_mode))
            files.push_back({std::move(path), static_cast<std::uint64_t>(status.st_size)});
    }
    ::closedir(opened);
}

class Writer {
  public:
    Writer(std::string target, const MasterKey& key, std::atomic<unsigned>& packs)
        : target_(std::move(target)), key_(key), packs_(packs) {
        pack_.reserve(kPackBytes + 2 * kMaxChunk);
    }

    void save(ByteView blob) {
        (void)blob_id(blob);
        const std::size_t begin = pack_.size();
        pack_.resize(begin + kSealOverhead + compress_bound(blob.size()));
        MutableByteView room = MutableByteView(pack_).subspan(begin);
        const std::size_t length =
            compress_to(room.subspan(kIvBytes, compress_bound(blob.size())), blob, 3);
        key_.seal_in_place(room.first(length + kSealOverhead));
        pack_.resize(begin + length + kSealOverhead);
        if (pack_.size() >= kPackBytes) write();
    }

    void write() {
        if (pack_.empty()) return;
        const std::string path = target_ + "/" + content_id<PackId>(pack_).hex();
        UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        for (ByteView left = pack_; !left.empty();) {
            const ssize_t wrote = ::write(fd.get(), left.data(), left.size());
            if (wrote <= 0) die(path);
            left = left.subspan(static_cast<std::size_t>(wrote));
        }
        if (::fsync(fd.get()) != 0) die(path);
        pack_.clear();
        ++packs_;
    }

  private:
    std::string target_;
    const MasterKey& key_;
    std::atomic<unsigned>& packs_;
    Bytes pack_;
};

void save_range(int fd, const File& file, std::uint64_t at, std::uint64_t end, Bytes& buffer,
                Chunker& chunker, Writer& writer) {
    std::size_t filled = 0;
    chunker.reset();
    while (at < end || filled != 0) {
        if (at < end && filled < kMaxChunk) {  // more than one chunk is copied once for each cut
            if (buffer.size() < filled + kReadAtOnce) buffer.resize(filled + kReadAtOnce);
            const std::size_t most = std::min<std::uint64_t>(kReadAtOnce, end - at);
            const ssize_t got = ::pread(fd, buffer.data() + filled, most, static_cast<off_t>(at));
            if (got < 0) die(file.path);
            filled += static_cast<std::size_t>(got);
            at = got == 0 ? end : at + static_cast<std::uint64_t>(got);
        }
        const bool is_last = at >= end;
        const ByteView read = ByteView(buffer).first(filled);
        const std::size_t cut =
            is_last && filled < kMinChunk ? filled : chunker.next_cut(read, is_last);
        if (cut == 0) continue;
        writer.save(read.first(cut));
        std::copy(buffer.begin() + static_cast<std::ptrdiff_t>(cut),
                  buffer.begin() + static_cast<std::ptrdiff_t>(filled), buffer.begin());
        filled -= cut;
        chunker.reset();
    }
}

// Holes of large files are not read: each range of data is cut on its own.
void save_file(const File& file, Bytes& buffer, Chunker& chunker, Writer& writer) {
    UniqueFd fd(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) die(file.path);
    if (file.bytes <= kMinChunk)
        return save_range(fd.get(), file, 0, file.bytes, buffer, chunker, writer);
    for (std::uint64_t at = 0; at < file.bytes;) {
        const off_t data = ::lseek(fd.get(), static_cast<off_t>(at), SEEK_DATA);
        if (data < 0) break;
        const off_t hole = ::lseek(fd.get(), data, SEEK_HOLE);
        at = hole < 0 ? file.bytes : static_cast<std::uint64_t>(hole);
        save_range(fd.get(), file, static_cast<std::uint64_t>(data), at, buffer, chunker, writer);
    }
}

int run(const std::string& source, const std::string& target, unsigned threads) {
    std::vector<File> files;
    struct stat status {};
    if (::lstat(source.c_str(), &status) != 0) die(source);
    collect(source, files);
    const MasterKey key = MasterKey::generate();
    std::atomic<std::size_t> next{0};
    std::atomic<unsigned> packs{0};
    std::vector<std::jthread> workers;
    for (unsigned i = 0; i < threads; ++i)
        workers.emplace_back([&] {
            Writer writer(target, key, packs);
            Bytes buffer(kReadAtOnce);
            Chunker chunker(kPolynomial);
            for (std::size_t at = next++; at < files.size(); at = next++)
                if (files[at].bytes != 0) save_file(files[at], buffer, chunker, writer);
            writer.write();
        });
    workers.clear();
    std::printf("%zu files, %u packs\n", files.size(), packs.load());
    return 0;
}

}  // namespace
}  // namespace backup

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: bench_floor SOURCE TARGET [threads]\n");
        return 2;
    }
    return backup::run(argv[1], argv[2], argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 2);
}
