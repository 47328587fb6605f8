// What comparing an unchanged directory with its parent revision costs per node: scanning the
// parent, writing what stat says, comparing, copying the node. Also the parts alone, decoding in
// full, and excluding by name. No system calls.
//
//   bench_tree [nodes]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include <sys/stat.h>
#include <time.h>

#include "daemon/policy/matcher.h"
#include "daemon/repository/tree_encoder.h"
#include "daemon/repository/tree_scanner.h"

namespace {

using namespace backup;

double cpu_seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

// Processor time, the best of five.
template <typename Work>
double seconds(Work work) {
    double best = 1e9;
    for (int round = 0; round < 5; ++round) {
        const double begin = cpu_seconds();
        work();
        best = std::min(best, cpu_seconds() - begin);
    }
    return best;
}

struct Entry {
    std::string name;
    struct statx status {};
    BlobId content;
};

std::vector<Entry> make_entries(std::size_t count) {
    std::mt19937_64 random(1);
    std::vector<Entry> entries(count);
    for (std::size_t i = 0; i < count; ++i) {
        Entry& entry = entries[i];
        char name[64];
        std::snprintf(name, sizeof name, "%08zu-photo-of-something.jpg", i);
        entry.name = name;
        entry.status.stx_mode = S_IFREG | 0644;
        entry.status.stx_size = random() % 5000000;
        entry.status.stx_ino = 10000000 + random() % 10000000;
        entry.status.stx_nlink = 1;
        entry.status.stx_uid = entry.status.stx_gid = 1000;
        entry.status.stx_dev_major = 254;
        // Written over years, not in the order of their names.
        entry.status.stx_mtime = {1500000000 + static_cast<std::int64_t>(random() % 200000000),
                                  static_cast<std::uint32_t>(random() % 1000000000), 0};
        entry.status.stx_ctime = {1700000000 + static_cast<std::int64_t>(random() % 3000000),
                                  static_cast<std::uint32_t>(random() % 1000000000), 0};
        for (auto& byte : entry.content.bytes) byte = static_cast<std::uint8_t>(random());
    }
    return entries;
}

NodeFields fields(const Entry& entry) {
    NodeFields node = fields_from(entry.status, entry.name);
    node.user = "somebody";
    node.group = "somebody";
    return node;
}

}  // namespace

int main(int count, char** arguments) {
    const std::size_t nodes = count > 1 ? std::strtoul(arguments[1], nullptr, 10) : 150000;
    const auto entries = make_entries(nodes);
    TreeEncoder encoder(GoRules::go122, Zone::from_tz("Europe/Berlin"));
    const auto per_node = [&](const char* what, double time) {
        std::printf("%-34s %6.0f ns per node, %5.2f s for 1,500,000\n", what,
                    time / static_cast<double>(nodes) * 1e9,
                    time / static_cast<double>(nodes) * 1.5e6);
    };
    Bytes parent;
    const double writing = seconds([&] {
        encoder.begin();
        for (const Entry& entry : entries) {
            NodeFields node = fields(entry);
            node.content = {&entry.content, 1};
            if (!encoder.add(node)) std::abort();
        }
        parent = to_bytes(encoder.finish());
    });
    std::size_t same = 0;
    const double comparing = seconds([&] {
        same = 0;
        encoder.begin();
        TreeScanner scanner(parent);
        for (const Entry& entry : entries) {
            const RawNode* before = *scanner.next();
            const NodeFields now = fields(entry);
            if (before->name == now.name && encoder.same_head(now, *before) &&
                !before->content_id(0).is_null()) {
                ++same;
                if (!encoder.add_raw(*before)) std::abort();
            }
        }
        encoder.finish();
    });
    const double scanning = seconds([&] {
        TreeScanner scanner(parent);
        while (*scanner.next() != nullptr) {
        }
    });
    const double decoding = seconds([&] {
        std::size_t seen = 0;
        const auto done = visit_tree(parent, [&](Node&) -> Result<> {
            ++seen;
            return {};
        });
        if (!done.ok() || seen != nodes) std::abort();
    });
    const auto matcher = Matcher::compile({"*.o",           "*.tmp",          "*~",
                                           "*.pyc",         ".cache/",        "node_modules/",
                                           "__pycache__/",  "core",           "Trash",
                                           ".Trash-*",      "/home/*/.cache", "/var/tmp",
                                           "/var/cache/**", "*.swp",          "lost+found/",
                                           ".thumbnails/",  "/proc",          "/sys",
                                           "/dev",          "!keep.tmp"});
    std::size_t excluded = 0;
    std::vector<std::string> paths;
    for (const Entry& entry : entries)
        paths.push_back("/home/somebody/pictures/2026/summer/" + entry.name);
    const double matching = seconds([&] {
        for (std::size_t i = 0; i < nodes; ++i)
            excluded += matcher->excludes(paths[i], entries[i].name, false);
    });
    Bytes copy(parent.size());
    const double copying = seconds([&] { std::memcpy(copy.data(), parent.data(), parent.size()); });

    std::printf("%zu nodes, %.1f MB of tree\n", nodes, static_cast<double>(parent.size()) / 1e6);
    per_node("compare with parent, copy", comparing);
    per_node("  of that: scan the parent", scanning);
    per_node("write new nodes", writing);
    per_node("decode in full", decoding);
    per_node("exclude by 20 patterns", matching);
    std::printf("compare/memcpy %.1f\n", comparing / copying);
    if (same != nodes || excluded != 0) std::printf("THE NODES DIFFER\n");
}
