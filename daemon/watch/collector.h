// Collector coalesces what a reader saw until somebody takes it: one entry for each name, one
// relist for a directory with too many of them, directory moves in their order. Bounded: more
// entries than `most_entries` that nobody takes become one `lost`. Pure; not thread-safe: its
// watcher locks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "daemon/watch/watcher.h"

namespace backup {

struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
        return std::hash<std::string_view>{}(text);
    }
};
template <typename T>
using TextMap = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;

class Collector {
  public:
    struct Seen {
        bool content = false;
        bool closed = false;
        std::string object;  // see WatchBatch::Name
    };
    explicit Collector(std::size_t most_names, std::size_t most_entries = 2'000'000)
        : most_names_(most_names), most_entries_(most_entries) {}

    void name(std::string_view directory, std::string_view name, const Seen& seen);
    void move(WatchBatch::DirectoryMove move);
    void directory(std::string_view handle) { insert(directories_, handle); }
    void object(std::string_view handle) { insert(objects_, handle); }
    void relist(std::string_view directory);
    // The first reason stays; what was collected is kept, for moves tell where directories are.
    void lose(std::string_view reason);
    // For ever: every batch from now on says so.
    void gone() { gone_ = true; }
    void count(std::uint64_t records) { records_ += records; }

    bool empty() const;
    WatchBatch take();
    // Exchanges what was collected with an empty collector; `gone` stays in both.
    void swap(Collector& empty);

  private:
    struct Directory {
        TextMap<Seen> names;
        bool relist = false;
    };
    using Handles = std::unordered_set<std::string, TextHash, std::equal_to<>>;

    Directory& directory_of(std::string_view handle);
    void insert(Handles& set, std::string_view handle);
    void forget_names(Directory& entry);
    void grow();

    std::size_t most_names_, most_entries_, entries_ = 0;
    TextMap<Directory> names_;
    // Records come in runs of one directory.
    Directory* last_ = nullptr;
    std::string last_handle_;
    std::vector<WatchBatch::DirectoryMove> moves_;
    Handles directories_, objects_;
    std::string lost_;
    bool gone_ = false;
    std::uint64_t records_ = 0;
};

}  // namespace backup
