// The index of 1.5 million blobs in a local repository: loaded from its index files, and from the
// local copy; lookups in either; what a small run costs beside its syncs; memory at rest. Prints
// ratios.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include <malloc.h>
#include <time.h>

#include "daemon/backend/backend.h"
#include "daemon/repository/index_file.h"
#include "daemon/repository/repository.h"
#include "daemon/repository/unpacked.h"

namespace {

using namespace backup;

constexpr std::uint32_t kBlobs = 1'500'000, kBlobsInPack = 2'000, kBlobsInFile = 50'000;
constexpr KeyCost kQuickKey{1024, 8, 1};

BlobId id(std::uint64_t number) {
    BlobId made;
    for (std::size_t i = 0; i < 4; ++i) {
        std::uint64_t word = (number * 4 + i + 1) * 0x9e3779b97f4a7c15;
        word = (word ^ (word >> 32)) * 0xd6e8feb86659fd93;
        word ^= word >> 32;
        std::memcpy(made.bytes.data() + 8 * i, &word, 8);
    }
    return made;
}

double now() {
    timespec at{};
    clock_gettime(CLOCK_MONOTONIC, &at);
    return static_cast<double>(at.tv_sec) * 1e3 + static_cast<double>(at.tv_nsec) * 1e-6;
}

template <typename T>
T must(Result<T> result) {
    if (result.ok()) return std::move(result).value();
    std::fprintf(stderr, "%s\n", result.error().message().c_str());
    std::exit(1);
}
void must(Result<> result) {
    if (result.ok()) return;
    std::fprintf(stderr, "%s\n", result.error().message().c_str());
    std::exit(1);
}

void print_memory(const char* when) {
    std::ifstream status("/proc/self/status");
    std::string line, text;
    while (std::getline(status, line))
        if (line.starts_with("RssAnon") || line.starts_with("RssFile"))
            text += " " + line.substr(0, 8) +
                    std::to_string(std::atol(line.substr(8).c_str()) / 1024) + " MiB";
    std::printf("memory %-14s%s\n", when, text.c_str());
}

void fill(Repository& repository) {
    for (std::uint32_t first = 0; first < kBlobs; first += kBlobsInFile) {
        IndexEncoder encoder;
        for (std::uint32_t at = first; at < first + kBlobsInFile; at += kBlobsInPack) {
            std::vector<PackedBlob> blobs;
            for (std::uint32_t i = 0; i < kBlobsInPack; ++i)
                blobs.push_back({BlobType::data, id(at + i), i * 4096, 4096, 8000});
            encoder.add_pack(retag<struct PackTag>(id(kBlobs * 2 + at)), blobs);
        }
        UnpackedFile file = must(make_unpacked(repository.master_key(), 2, encoder.finish()));
        must(repository.backend().put({FileType::index, file.id}, file.sealed));
    }
    for (int i = 0; i < 1000; ++i) {
        Snapshot snapshot;
        snapshot.time = Timestamp(std::chrono::seconds(1'700'000'000 + i));
        snapshot.tree = id(1);
        snapshot.paths = {"/some/where"};
        snapshot.hostname = "here";
        UnpackedFile file =
            must(make_unpacked(repository.master_key(), 2, as_bytes(encode_snapshot(snapshot))));
        must(repository.backend().put({FileType::snapshot, file.id}, file.sealed));
    }
}

double lookups(Repository& repository, std::uint32_t count) {
    const double begin = now();
    std::uint32_t found = 0;
    for (std::uint64_t i = 0; i < count; ++i)
        found += repository.blobs().contains({BlobType::data, id(i * 7919 % kBlobs)}) ? 1 : 0;
    if (found != count) std::abort();
    return now() - begin;
}

void small_run(Repository& repository, int number) {
    const double begin = now();
    must(repository.list_revisions());
    const double listed = now();
    auto session = must(repository.start_write({}, {}));
    const double started = now();
    lookups(repository, 40);
    const double looked = now();
    const std::string text = "content " + std::to_string(number);
    must(session->save(BlobType::data, as_bytes(text)));
    const std::string tree =
        "{\"nodes\":[]}\n" + std::string(static_cast<std::size_t>(number), ' ');
    Snapshot snapshot;
    snapshot.tree = must(session->save(BlobType::tree, as_bytes(tree))).id;
    snapshot.paths = {"/some/where"};
    must(session->commit(snapshot));
    const double committed = now();
    session.reset();
    std::printf(
        "small run: revisions %.2f ms, start %.2f ms, 40 lookups %.2f ms, commit %.2f ms, end "
        "%.2f ms, all %.2f ms\n",
        listed - begin, started - listed, looked - started, committed - looked, now() - committed,
        now() - begin);
}

}  // namespace

int main(int argc, char** argv) {
    ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
    const std::string base = argc > 1 ? argv[1] : "/tmp";
    std::string folder = base + "/bench-index-XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) return 1;
    OpenedBackend storage = must(open_backend(folder + "/repository"));
    SystemClock clock;
    RepositoryOptions options{.clock = &clock};
    fill(*must(Repository::init(*storage.backend, as_bytes("bench"), options, kQuickKey)));

    auto open = [&] {
        return must(Repository::open(*storage.backend, as_bytes("bench"), options));
    };
    double load = 0, in_memory = 0;
    {
        auto repository = open();
        const double begin = now();
        must(repository->refresh_index({}));
        load = now() - begin;
        in_memory = lookups(*repository, kBlobs);
        print_memory("all loaded");
    }
    ::malloc_trim(0);
    options.index_folder = folder + "/index";
    {
        auto repository = open();
        must(repository->refresh_index({}));
        const double begin = now();
        repository->rest();
        std::printf("write the copy %.0f ms, of loading the index %.2f\n", now() - begin,
                    (now() - begin) / load);
        print_memory("after writing");
    }
    ::malloc_trim(0);
    print_memory("closed");
    auto repository = open();
    double begin = now();
    must(repository->refresh_index({}));
    const double open_copy = now() - begin;
    std::printf("load %.0f ms, open the copy %.0f ms: ratio %.3f\n", load, open_copy,
                open_copy / load);
    print_memory("copy opened");
    const double mapped = lookups(*repository, kBlobs);
    std::printf("lookup in memory %.0f ns, mapped %.0f ns: ratio %.2f\n", in_memory * 1e6 / kBlobs,
                mapped * 1e6 / kBlobs, mapped / in_memory);
    print_memory("all looked up");
    repository->rest();
    ::malloc_trim(0);
    print_memory("at rest");
    begin = now();
    must(repository->list_revisions());
    std::printf("1,000 revisions, first listing %.1f ms\n", now() - begin);
    for (int i = 0; i < 5; ++i) small_run(*repository, i);
    print_memory("after 5 runs");
    begin = now();
    repository->rest();
    ::malloc_trim(0);
    std::printf("rest %.2f ms\n", now() - begin);
    print_memory("at rest");
    repository.reset();
    std::filesystem::remove_all(folder);
}
