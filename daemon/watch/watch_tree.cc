#include "daemon/watch/watch_tree.h"

#include <algorithm>
#include <utility>

namespace backup {

std::size_t WatchTree::PlaceHash::operator()(const Place& place) const noexcept {
    return std::hash<std::string_view>{}(place.name) ^ (place.parent * 0x9e3779b97f4a7c15ULL);
}
std::size_t WatchTree::PlaceHash::operator()(Node node) const noexcept {
    return (*this)(Place{(*nodes)[node].parent, (*nodes)[node].name});
}
std::size_t WatchTree::HandleHash::operator()(std::string_view handle) const noexcept {
    return std::hash<std::string_view>{}(handle);
}
std::size_t WatchTree::HandleHash::operator()(Node node) const noexcept {
    return (*this)(std::string_view((*nodes)[node].handle));
}

WatchTree::WatchTree()
    : places_(16, PlaceHash{&nodes_}, PlaceEqual{&nodes_}),
      handles_(16, HandleHash{&nodes_}, HandleEqual{&nodes_}) {}

WatchTree::Node WatchTree::make(int watch, ObjectHandle handle) {
    Node node = kNone;
    if (free_.empty()) {
        node = static_cast<Node>(nodes_.size());
        nodes_.emplace_back();
    } else {
        node = free_.back();
        free_.pop_back();
    }
    Directory& directory = nodes_[node];
    directory.is_used = true;
    directory.handle = std::move(handle);
    handles_.insert(node);
    ++used_;
    ++unwatched_;
    set_watch(node, watch);
    return node;
}

WatchTree::Node WatchTree::add_root(std::string path, int watch, ObjectHandle handle) {
    const Node node = make(watch, std::move(handle));
    nodes_[node].is_root = true;
    nodes_[node].name = std::move(path);
    return node;
}

WatchTree::Node WatchTree::add(Node parent, std::string_view name, int watch, ObjectHandle handle) {
    const Node node = make(watch, std::move(handle));
    hang(node, parent, name);
    return node;
}

bool WatchTree::place(Node node, Node parent, std::string_view name) {
    for (Node above = parent; above != kNone; above = nodes_[above].parent)
        if (above == node) return false;
    if (nodes_[node].is_root) return false;
    if (nodes_[node].parent == parent && nodes_[node].name == name) return true;
    if (!is_adrift(node)) unhang(node);
    hang(node, parent, name);
    return true;
}

void WatchTree::hang(Node node, Node parent, std::string_view name) {
    const Node before = child(parent, name);
    if (before != kNone) {
        unhang(before);
        nodes_[before].was_displaced = true;
    }
    Directory& directory = nodes_[node];
    directory.was_displaced = false;
    directory.parent = parent;
    directory.name = name;
    directory.previous = kNone;
    directory.next = nodes_[parent].first_child;
    if (directory.next != kNone) nodes_[directory.next].previous = node;
    nodes_[parent].first_child = node;
    places_.insert(node);
    adrift_.erase(node);
}

void WatchTree::unhang(Node node) {
    places_.erase(node);
    Directory& directory = nodes_[node];
    if (directory.previous != kNone)
        nodes_[directory.previous].next = directory.next;
    else
        nodes_[directory.parent].first_child = directory.next;
    if (directory.next != kNone) nodes_[directory.next].previous = directory.previous;
    directory.last_parent = directory.parent;
    directory.parent = directory.next = directory.previous = kNone;
    directory.adrift_since = 0;
    directory.adrift_reading = 0;
    adrift_.insert(node);
}

void WatchTree::set_adrift(Node node) {
    if (!nodes_[node].is_root && !is_adrift(node)) unhang(node);
}

void WatchTree::set_watch(Node node, int watch) {
    Directory& directory = nodes_[node];
    if (directory.watch == watch) return;
    if (directory.watch == kUnwatched)
        --unwatched_;
    else
        watches_.erase(directory.watch);
    directory.watch = watch;
    if (watch == kUnwatched)
        ++unwatched_;
    else
        watches_[watch] = node;
}

void WatchTree::remove(Node top, const std::function<void(int watch)>& removed) {
    if (!nodes_[top].is_root && !is_adrift(top)) unhang(top);
    // Not recursive: trees may be deeper than our stack.
    std::vector<Node> open{top};
    while (!open.empty()) {
        const Node node = open.back();
        open.pop_back();
        for (Node below = nodes_[node].first_child; below != kNone; below = nodes_[below].next) {
            places_.erase(below);
            open.push_back(below);
        }
        if (nodes_[node].watch != kUnwatched) {
            dead_.insert(nodes_[node].watch);
            removed(nodes_[node].watch);
            set_watch(node, kUnwatched);
        }
        --unwatched_;
        --used_;
        // Two directories of one handle: only one of them is in the set.
        const auto found = handles_.find(node);
        if (found != handles_.end() && *found == node) handles_.erase(found);
        nodes_[node] = Directory{};
        adrift_.erase(node);
        free_.push_back(node);
    }
}

bool WatchTree::forget_watch(int watch) {
    dead_.erase(watch);
    const auto found = watches_.find(watch);
    if (found == watches_.end()) return false;
    set_watch(found->second, kUnwatched);
    return true;
}

WatchTree::Node WatchTree::by_watch(int watch) const {
    const auto found = watches_.find(watch);
    return found == watches_.end() ? kNone : found->second;
}

WatchTree::Node WatchTree::by_handle(std::string_view handle) const {
    const auto found = handles_.find(handle);
    return found == handles_.end() ? kNone : *found;
}

WatchTree::Node WatchTree::child(Node parent, std::string_view name) const {
    const auto found = places_.find(Place{parent, name});
    return found == places_.end() ? kNone : *found;
}

WatchTree::Node WatchTree::displaced(Node parent, std::string_view name) const {
    for (const Node node : adrift_) {
        const Directory& directory = nodes_[node];
        if (directory.was_displaced && directory.last_parent == parent && directory.name == name)
            return node;
    }
    return kNone;
}

std::optional<std::string> WatchTree::path(Node node) const {
    std::vector<Node> way;
    std::size_t length = 0;
    for (; node != kNone; node = nodes_[node].parent) {
        way.push_back(node);
        length += nodes_[node].name.size() + 1;
    }
    const Directory& root = nodes_[way.back()];
    if (!root.is_root) return std::nullopt;
    std::string path;
    path.reserve(length);
    if (root.name != "/" || way.size() == 1) path = root.name;
    for (auto step = way.rbegin() + 1; step != way.rend(); ++step) {
        path += '/';
        path += nodes_[*step].name;
    }
    return path;
}

std::vector<WatchTree::Node> WatchTree::children(Node node) const {
    std::vector<Node> found;
    for (Node below = nodes_[node].first_child; below != kNone; below = nodes_[below].next)
        found.push_back(below);
    return found;
}

void WatchTree::each(const std::function<void(Node)>& visit) const {
    for (Node node = 0; node < nodes_.size(); ++node)
        if (nodes_[node].is_used) visit(node);
}

}  // namespace backup
