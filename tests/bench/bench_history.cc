// The index of history with a million paths and 500 revisions: what feeding costs, and how long
// `history` and `find` take, with the folder just opened and in use. The trees are made as they are
// asked for: 100 directories of 100 directories of 100 files; each revision changes 20 files in
// each of 20 directories.
//
//     bench_history [FOLDER [REVISIONS]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/history/history_fixture.h"

namespace {

using namespace backup;
using history_test::Object;

constexpr std::uint32_t kFan = 100;

// Which directories changed when; the trees of any revision follow from it.
class MadeTrees final : public BlobSource {
  public:
    MadeTrees() : changes_(kFan * kFan) {}

    void change(std::uint32_t revision) {
        for (std::uint32_t i = 0; i < 20; ++i)
            changes_[(revision * 7919u + i * 613u) % changes_.size()].push_back(revision);
        revision_ = revision;
    }
    BlobId root() const { return id(0, 0, revision_); }

    Result<Bytes> load(const BlobHandle& handle) override {
        std::uint32_t level = 0, number = 0, revision = 0;
        std::memcpy(&level, handle.id.bytes.data() + 8, 4);
        std::memcpy(&number, handle.id.bytes.data() + 12, 4);
        std::memcpy(&revision, handle.id.bytes.data() + 16, 4);
        Object directory;
        std::vector<Node> nodes;
        for (std::uint32_t i = 0; i < kFan; ++i) {
            char name[32];
            Node node;
            node.uid = node.gid = 1000;
            node.user = node.group = "ada";
            node.links = 1;
            node.inode = 1000 + i;
            if (level < 2) {
                std::snprintf(name, sizeof name, "%s-%02u", level == 0 ? "area" : "folder", i);
                node.type = NodeType::dir;
                node.mode = go_mode(040755);
                const std::uint32_t below = level == 0 ? i : number * kFan + i;
                node.subtree = id(level + 1, below, last_change(level + 1, below));
                node.mtime = {1'700'000'000, 0};
            } else {
                std::snprintf(name, sizeof name, "document-%06u-%02u.odt", number, i);
                const std::uint32_t changed = file_change(number, i);
                node.mode = go_mode(0644);
                node.type = NodeType::file;
                node.has_content = true;
                node.size = 1000 + changed;
                node.content = {id(9, number * kFan + i, changed)};
                node.mtime = {1'700'000'000 + std::int64_t{changed} * 3600, 123};
            }
            node.atime = node.ctime = node.mtime;
            node.name = name;
            nodes.push_back(std::move(node));
        }
        return encode_tree(nodes, encoder_);
    }
    Result<> check(const BlobHandle&) override { return {}; }
    bool contains(const BlobHandle&) const override { return true; }
    std::optional<BlobLocation> locate(const BlobHandle&) const override { return std::nullopt; }
    Result<> load_from_pack(const PackId&, std::span<const Wanted>, const EachBlob&) override {
        return {};
    }

  private:
    static BlobId id(std::uint32_t level, std::uint32_t number, std::uint32_t revision) {
        BlobId made;
        std::uint64_t spread = (level * 1'000'003ull + number) * 0x9e3779b97f4a7c15 + revision;
        std::memcpy(made.bytes.data(), &spread, 8);
        std::memcpy(made.bytes.data() + 8, &level, 4);
        std::memcpy(made.bytes.data() + 12, &number, 4);
        std::memcpy(made.bytes.data() + 16, &revision, 4);
        made.bytes[31] = 1;
        return made;
    }
    std::uint32_t last_change(std::uint32_t level, std::uint32_t number) const {
        if (level == 2) return changes_[number].empty() ? 0 : changes_[number].back();
        std::uint32_t last = 0;
        for (std::uint32_t i = 0; i < kFan; ++i)
            last = std::max(last, last_change(2, number * kFan + i));
        return last;
    }
    std::uint32_t file_change(std::uint32_t directory, std::uint32_t file) const {
        const auto& changed = changes_[directory];
        for (auto at = changed.rbegin(); at != changed.rend(); ++at)
            if ((file + *at) % 5 == 0) return *at;
        return 0;
    }

    std::vector<std::vector<std::uint32_t>> changes_;
    std::uint32_t revision_ = 0;
    TreeEncoder encoder_{GoRules::go122, Zone::from_tz("UTC")};
};

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
        .count();
}

// What the page cache knows of the folder is dropped, as far as an unprivileged program can.
void make_cold(const std::string& folder) {
    ::sync();
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
        const int fd = ::open(file.path().c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        ::close(fd);
    }
}

template <typename Work>
void measure(const char* what, double limit, HistoryIndex& index, const std::string& folder,
             Work work) {
    index.rest();
    make_cold(folder);
    const auto cold = std::chrono::steady_clock::now();
    const std::size_t found = work();
    const double first = milliseconds_since(cold);
    std::vector<double> warm;
    for (int i = 0; i < 5; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        (void)work();
        warm.push_back(milliseconds_since(begin));
    }
    std::ranges::sort(warm);
    std::printf("%-34s cold %8.2f ms   warm %8.2f ms   found %8zu   limit %5.0f ms: %s\n", what,
                first, warm[2], found, limit, first < limit ? "kept" : "MISSED");
}

}  // namespace

int main(int argc, char** argv) {
    const std::string base = argc > 1 ? argv[1] : "/tmp/backupd-bench-history";
    const std::uint32_t revisions = argc > 2 ? static_cast<std::uint32_t>(std::atoi(argv[2])) : 500;
    std::filesystem::remove_all(base);
    std::filesystem::create_directories(base);
    const std::string folder = base + "/history";
    const LineName line{"repository", "host", "home", {}};
    {
        HistoryIndex index(folder);
        MadeTrees trees;
        std::vector<LineRevision> known;
        const auto begin = std::chrono::steady_clock::now();
        double first = 0;
        for (std::uint32_t number = 1; number <= revisions; ++number) {
            if (number > 1) trees.change(number);
            known.push_back(history_test::revision(number, trees.root()));
            auto fed = index.update(line, known, trees, {});
            if (!fed.ok()) {
                std::fprintf(stderr, "%s\n", fed.error().message().c_str());
                return 1;
            }
            if (number == 1) first = milliseconds_since(begin);
        }
        const double rest = milliseconds_since(begin) - first;
        std::uint64_t bytes = 0;
        for (const auto& file : std::filesystem::directory_iterator(folder))
            bytes += file.file_size();
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        std::printf("feeding 1,000,000 paths: %.1f s; then %.2f ms for each of %u revisions\n",
                    first / 1000, rest / std::max(1u, revisions - 1), revisions - 1);
        std::printf("folder %.1f MB, peak of the process %.1f MB\n",
                    static_cast<double>(bytes) / 1e6, static_cast<double>(usage.ru_maxrss) / 1e3);
    }
    HistoryIndex index(folder);
    const auto versions = [&](const char* path) {
        return [&index, &line, path]() -> std::size_t {
            auto found = index.versions(line, Path::parse(path).value());
            return found.ok() ? found->size() : 0;
        };
    };
    const auto find = [&](HistoryQuery query, std::string_view part) {
        return [&index, &line, query, part]() mutable -> std::size_t {
            std::size_t count = 0;
            query.wants = [part](std::string_view name, bool, const auto&) {
                return name.find(part) != std::string_view::npos;
            };
            (void)index.find(line, query,
                             [&](const FoundPath&) -> Result<> { return ++count, Result<>(); }, {});
            return count;
        };
    };
    const auto since = history_test::revision(revisions - 10, {}).time;
    measure("history of a file", 300, index, folder,
            versions("/area-33/folder-33/document-003333-33.odt"));
    measure("history of a changed file", 300, index, folder,
            versions("/area-00/folder-00/document-000000-01.odt"));
    measure("history of nothing", 300, index, folder, versions("/area-33/nothing"));
    measure("find by name, one", 1000, index, folder, find({}, "document-004711-42.odt"));
    measure("find by name, ten thousand", 1000, index, folder, find({}, "-42.odt"));
    measure("find by name, since", 1000, index, folder, find({.since = since}, "-42.odt"));
    measure("find below a directory", 1000, index, folder,
            find({.below = Path::parse("/area-42").value()}, ".odt"));
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::printf("peak of the process %.1f MB\n", static_cast<double>(usage.ru_maxrss) / 1e3);
    index.rest();
    std::filesystem::remove_all(base);
}
