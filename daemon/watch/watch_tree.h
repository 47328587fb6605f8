// WatchTree knows for each watch descriptor of inotify which directory it is, and where that is
// now. Directories hang by parent pointers: a rename moves one of them, whatever lies below, and
// paths are composed on demand. Pure; not thread-safe: its watcher locks.
//
// A directory is either a root, or in its place below another one, or adrift: taken out of its
// place by a rename whose other side is not known yet (or never comes). One without a watch has
// watch -1. Watches that were removed are remembered until the kernel says that no more of their
// records come.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/watch/handle.h"

namespace backup {

class WatchTree {
  public:
    using Node = std::uint32_t;
    static constexpr Node kNone = ~Node{0};
    static constexpr int kUnwatched = -1;

    struct Directory {
        Node parent = kNone, first_child = kNone, next = kNone, previous = kNone;
        int watch = kUnwatched;
        bool is_root = false, is_used = false;
        // Adrift because another one was found in its place, which was `last_parent` and `name`.
        bool was_displaced = false;
        Node last_parent = kNone;
        // Where it is was found by looking, and records from before that look may still come: until
        // this many readings of the queue are processed, no record may be trusted about its past.
        std::uint64_t doubtful_until = 0;
        std::uint32_t visited = 0;  // the last walk that found it
        // For the owner: when it was first seen adrift, and the reading that must find nothing.
        std::int64_t adrift_since = 0;
        std::uint64_t adrift_reading = 0;
        std::string name;  // a root: its path
        ObjectHandle handle;
    };

    WatchTree();
    WatchTree(const WatchTree&) = delete;
    WatchTree& operator=(const WatchTree&) = delete;

    Node add_root(std::string path, int watch, ObjectHandle handle);
    // Whatever had that place is adrift afterwards.
    Node add(Node parent, std::string_view name, int watch, ObjectHandle handle);
    // The same for one that exists. False, and nothing done: `parent` lies below it.
    bool place(Node node, Node parent, std::string_view name);
    void set_adrift(Node node);
    void set_watch(Node node, int watch);
    // With everything below it. Calls back with each watch that is to be removed.
    void remove(Node node, const std::function<void(int watch)>& removed);
    // The kernel's word that nothing more comes of a watch. True: it was a live one, and its
    // directory has none now.
    bool forget_watch(int watch);

    const Directory& at(Node node) const { return nodes_[node]; }
    Directory& at(Node node) { return nodes_[node]; }
    Node by_watch(int watch) const;
    bool is_dead(int watch) const { return dead_.contains(watch); }
    Node by_handle(std::string_view handle) const;
    Node child(Node parent, std::string_view name) const;
    // Which directory lost this place to another one, and has not been seen since.
    Node displaced(Node parent, std::string_view name) const;
    bool is_adrift(Node node) const {
        return nodes_[node].parent == kNone && !nodes_[node].is_root;
    }
    // Nothing: it, or one above it, is adrift.
    std::optional<std::string> path(Node node) const;
    std::vector<Node> children(Node node) const;
    const std::unordered_set<Node>& adrift() const { return adrift_; }
    void each(const std::function<void(Node)>& visit) const;

    std::uint64_t size() const { return used_; }
    std::uint64_t unwatched() const { return unwatched_; }

  private:
    struct Place {
        Node parent;
        std::string_view name;
    };
    struct PlaceHash {
        using is_transparent = void;
        const std::vector<Directory>* nodes;
        std::size_t operator()(const Place& place) const noexcept;
        std::size_t operator()(Node node) const noexcept;
    };
    struct PlaceEqual {
        using is_transparent = void;
        const std::vector<Directory>* nodes;
        Place of(Node node) const { return {(*nodes)[node].parent, (*nodes)[node].name}; }
        static Place of(const Place& place) { return place; }
        template <typename A, typename B>
        bool operator()(const A& a, const B& b) const {
            const Place left = of(a), right = of(b);
            return left.parent == right.parent && left.name == right.name;
        }
    };
    struct HandleHash {
        using is_transparent = void;
        const std::vector<Directory>* nodes;
        std::size_t operator()(std::string_view handle) const noexcept;
        std::size_t operator()(Node node) const noexcept;
    };
    struct HandleEqual {
        using is_transparent = void;
        const std::vector<Directory>* nodes;
        std::string_view of(Node node) const { return (*nodes)[node].handle; }
        static std::string_view of(std::string_view handle) { return handle; }
        template <typename A, typename B>
        bool operator()(const A& a, const B& b) const {
            return of(a) == of(b);
        }
    };

    Node make(int watch, ObjectHandle handle);
    void hang(Node node, Node parent, std::string_view name);
    void unhang(Node node);

    std::vector<Directory> nodes_;
    std::vector<Node> free_;
    std::uint64_t used_ = 0, unwatched_ = 0;
    std::unordered_set<Node, PlaceHash, PlaceEqual> places_;
    std::unordered_set<Node, HandleHash, HandleEqual> handles_;
    std::unordered_map<int, Node> watches_;
    std::unordered_set<int> dead_;
    std::unordered_set<Node> adrift_;
};

}  // namespace backup
