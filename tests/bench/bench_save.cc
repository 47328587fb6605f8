// How fast blobs go into a repository that forgets them: dedup, compression, sealing, verification,
// packing. Prints MB of plaintext per second of processor time, and the ratio to SHA-256 of the
// same bytes in the same threads, because machines differ.
//
//   bench_save [threads] [MiB per case]
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <time.h>

#include "daemon/repository/repository.h"

namespace {

using namespace backup;

// Swallows packs; keeps the small files that a repository needs to work.
class Void final : public Backend {
  public:
    BackendProperties properties() const override { return {2, true, "void:"}; }
    Result<> put(const Handle& handle, ByteView content) override {
        if (handle.type == FileType::pack) return {};
        std::lock_guard lock(mutex_);
        files_.emplace_back(handle, to_bytes(content));
        return {};
    }
    Result<Bytes> get(const Handle& handle, ByteRange) override {
        std::lock_guard lock(mutex_);
        for (const auto& [name, content] : files_)
            if (name.type == handle.type &&
                (name.id == handle.id || handle.type == FileType::config))
                return content;
        return Error(ErrorKind::not_found, handle.text());
    }
    Result<FileInfo> stat(const Handle& handle) override {
        Bytes content = TRY(get(handle, {}));
        return FileInfo{handle.id, content.size()};
    }
    Result<> list(FileType type, const std::function<void(const FileInfo&)>& each) override {
        std::lock_guard lock(mutex_);
        for (const auto& [name, content] : files_)
            if (name.type == type) each({name.id, content.size()});
        return {};
    }
    Result<> remove_lock(const LockId& id) override {
        std::lock_guard lock(mutex_);
        std::erase_if(files_, [&](const auto& file) {
            return file.first.type == FileType::lock && file.first.id.bytes == id.bytes;
        });
        return {};
    }
    Result<> create() override { return {}; }

  private:
    std::mutex mutex_;  // guards files_
    std::vector<std::pair<Handle, Bytes>> files_;
};

struct Random {
    std::uint64_t state = 88172645463325252ULL;
    std::uint64_t next() {
        state ^= state << 13;
        state ^= state >> 7;
        return state ^= state << 17;
    }
};

// Words of a small vocabulary: compresses about 3 to 1, as sources and logs do.
void fill_text(Bytes& out, Random& random) {
    std::size_t at = 0;
    while (at < out.size()) {
        std::uint64_t word = random.next() % 3000 * 2654435761U;
        std::size_t length = 3 + word % 7;
        for (std::size_t i = 0; i < length && at < out.size(); ++i, word /= 26)
            out[at++] = static_cast<std::uint8_t>('a' + word % 26);
        if (at < out.size()) out[at++] = random.next() % 12 == 0 ? '\n' : ' ';
    }
}
void fill_noise(Bytes& out, Random& random) {
    for (std::size_t at = 0; at + 8 <= out.size(); at += 8) {
        std::uint64_t word = random.next();
        std::memcpy(out.data() + at, &word, 8);
    }
}

// Processor time of all threads: what others do on the machine does not count.
double seconds(const std::function<void()>& work) {
    auto used = [] {
        timespec now{};
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
    };
    const double begin = used();
    work();
    return used() - begin;
}
void in_threads(unsigned threads, const std::function<void(unsigned)>& work) {
    std::vector<std::jthread> all;
    for (unsigned i = 0; i < threads; ++i) all.emplace_back(work, i);
}

}  // namespace

int main(int argc, char** argv) {
    const unsigned threads = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 2;
    const std::size_t total = (argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 256) << 20;
    SystemClock clock;
    const std::string password = "bench";
    Void place;
    auto repository = Repository::init(place, as_bytes(password), {.clock = &clock}, {1024, 8, 1});
    if (!repository.ok()) return std::printf("%s\n", repository.error().message().c_str()), 1;

    std::printf("%-7s %-9s %-7s %9s %9s %7s %7s\n", "content", "blob", "verify", "save MB/s",
                "SHA MB/s", "ratio", "stored");
    for (bool is_text : {true, false}) {
        for (std::size_t blob : {std::size_t{2048}, std::size_t{16384}, std::size_t{1} << 20}) {
            // Each thread changes its blobs at one place, so that none is known and filling costs
            // nothing.
            Bytes source(std::min<std::size_t>(total, std::size_t{64} << 20));
            Random random;
            is_text ? fill_text(source, random) : fill_noise(source, random);
            const std::size_t per_thread = total / threads / blob;
            auto each_blob = [&](unsigned thread, const std::function<void(ByteView)>& use) {
                Bytes copy(blob);
                for (std::size_t i = 0; i < per_thread; ++i) {
                    std::size_t at = (i * blob + thread * 4099) % (source.size() - blob);
                    std::memcpy(copy.data(), source.data() + at, blob);
                    std::uint64_t mark = i * 64 + thread;
                    std::memcpy(copy.data(), &mark, sizeof mark);
                    use(copy);
                }
            };
            std::atomic<std::uint64_t> sink{0};
            double hashing = seconds([&] {
                in_threads(threads, [&](unsigned thread) {
                    each_blob(thread, [&](ByteView data) { sink += blob_id(data).bytes[0]; });
                });
            });
            for (bool verify : {false, true}) {
                auto session = (*repository)->start_write({.verify_before_upload = verify}, {});
                if (!session.ok()) return std::printf("%s\n", session.error().message().c_str()), 1;
                double saving = seconds([&] {
                    in_threads(threads, [&](unsigned thread) {
                        each_blob(thread, [&](ByteView data) {
                            if (!(*session)->save(BlobType::data, data).ok()) std::abort();
                        });
                    });
                    if (!(*session)->checkpoint().ok()) std::abort();
                });
                auto counters = (*session)->counters();
                const double bytes = static_cast<double>(per_thread * threads * blob);
                std::printf("%-7s %-9zu %-7s %9.0f %9.0f %7.2f %7.2f\n", is_text ? "text" : "noise",
                            blob, verify ? "yes" : "no", bytes / saving / 1e6,
                            bytes / hashing / 1e6, hashing / saving,
                            static_cast<double>(counters.bytes_stored) / bytes);
                // The same blobs again: the index must not know them.
                session->reset();
                repository = Repository::init(*new Void, as_bytes(password), {.clock = &clock},
                                              {1024, 8, 1});
            }
        }
    }
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::printf("peak memory %ld MiB\n", usage.ru_maxrss / 1024);
}
