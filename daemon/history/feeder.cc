#include "daemon/history/feeder.h"

#include <algorithm>

#include "common/failpoint.h"
#include "daemon/repository/tree_scanner.h"

namespace backup::history {

namespace {

enum class Order { sorted, unsorted, damaged };

// Before anything is changed: whether all of it can be read.
Order order_of(ByteView json) {
    TreeScanner scanner(json);
    for (;;) {
        auto node = scanner.next([](const Error&) {});
        if (!node.ok()) return Order::damaged;
        if (*node == nullptr) break;
    }
    return scanner.out_of_order() ? Order::unsorted : Order::sorted;
}

}  // namespace

Feeder::Feeder(HistoryStore& store, const std::string& line_key, LineRecord& line, Ordinal ordinal,
               BlobSource& blobs, HistoryStore::Batch& batch, const Options& options,
               std::stop_token stop)
    : store_(store),
      line_key_(line_key),
      line_(line),
      ordinal_(ordinal),
      blobs_(blobs),
      batch_(batch),
      options_(options),
      stop_(std::move(stop)) {}

Result<> Feeder::run(const BlobId& tree) {
    DirectoryRecord root;
    bool is_new = false;
    {
        HistoryStore::View view(store_);
        is_new = !TRY(view.get(number_key('d', line_.id, kRoot), value_));
    }
    if (!is_new && !decode(value_, root)) return damaged();
    if (root.tree == tree) return {};
    TRY(enter(kRoot, is_new, std::move(root), tree));
    while (!stack_.empty()) {
        Frame& top = stack_.back();
        if (top.children.empty()) {
            const bool is_whole = top.is_whole;
            if (is_whole) {
                top.record.tree = top.tree;
                batch_.put(number_key('d', line_.id, top.id), encode(top.record));
            }
            stack_.pop_back();
            if (!is_whole && !stack_.empty()) stack_.back().is_whole = false;
            TRY(flush_if_full());
            continue;
        }
        Child child = std::move(top.children.front());
        top.children.pop_front();
        TRY(enter(child.id, child.is_new, {top.id, std::move(child.name), std::nullopt},
                  child.tree));
    }
    return {};
}

Result<> Feeder::enter(DirectoryId id, bool is_new, DirectoryRecord record, const BlobId& tree) {
    if (stop_.stop_requested())
        return Error(ErrorKind::cancelled, ErrorCode::cancelled, "feeding was stopped");
    record.tree.reset();
    batch_.put(number_key('d', line_.id, id), encode(record));
    stack_.push_back({id, std::move(record), tree, {}, true});
    Result<Bytes> json = blobs_.load({BlobType::tree, tree});
    if (!json.ok() && json.error().kind() != ErrorKind::corrupt &&
        json.error().kind() != ErrorKind::not_found)
        return std::move(json).error();
    if (!json.ok()) {
        ++damaged_directories_;
        stack_.back().is_whole = false;
        return {};
    }
    return read_entries(stack_.back(), is_new, *json);
}

Result<> Feeder::read_entries(Frame& frame, bool is_new, ByteView json) {
    const Order order = order_of(json);
    if (order == Order::damaged) {
        ++damaged_directories_;
        frame.is_whole = false;
        return {};
    }
    HistoryStore::View view(store_);
    std::optional<HistoryStore::Cursor> known;
    if (!is_new) known.emplace(view.cursor(number_key('n', line_.id, frame.id)));
    HistoryStore::Cursor* cursor = known ? &*known : nullptr;

    struct Owned {
        std::string name;
        Entry entry;
    };
    std::vector<Owned> unsorted;  // no program that we know writes such a tree
    TreeScanner scanner(json);
    for (;;) {
        const RawNode* node = TRY(scanner.next([](const Error&) {}));
        if (node == nullptr) break;
        auto version = TRY(version_of(*node, scanner, ordinal_));
        Entry entry{node->name, std::move(version), node->subtree()};
        if (order == Order::sorted)
            TRY(merge(frame, is_new, view, cursor, entry));
        else
            unsorted.push_back({std::string(node->name), entry});
    }
    std::ranges::sort(unsorted, {}, &Owned::name);
    for (Owned& one : unsorted) {
        one.entry.name = one.name;
        TRY(merge(frame, is_new, view, cursor, one.entry));
    }
    for (; cursor != nullptr && cursor->valid(); cursor->next()) {
        NameRecord record;
        if (!decode(cursor->value(), record)) return damaged();
        TRY(vanish(frame.id, cursor->key(), record));
    }
    if (cursor != nullptr) TRY(cursor->status());
    return {};
}

Result<> Feeder::merge(Frame& frame, bool is_new, const HistoryStore::View& view,
                       HistoryStore::Cursor* known, const Entry& entry) {
    if (is_new) return take(frame, view, entry, nullptr);
    NameRecord record;
    for (; known->valid() && known->key() < entry.name; known->next()) {
        if (!decode(known->value(), record)) return damaged();
        TRY(vanish(frame.id, known->key(), record));
    }
    if (!known->valid() || known->key() != entry.name) return take(frame, view, entry, nullptr);
    if (!decode(known->value(), record)) return damaged();
    known->next();
    return take(frame, view, entry, &record);
}

Result<> Feeder::take(Frame& frame, const HistoryStore::View& view, const Entry& entry,
                      NameRecord* known) {
    const bool is_directory = entry.version.kind == 'd';
    NameRecord record;
    bool differs = known == nullptr;
    if (known != nullptr) {
        record = *known;
        Version& before = record.version;
        if (!before.is_open() || !same_version(before, entry.version)) {
            differs = true;
            if (before.is_open()) {
                if (before.kind == 'd' && !is_directory) TRY(close_below(record.directory));
                before.last = ordinal_ - 1;
            }
            value_.clear();
            append_version(value_, before);
            batch_.put(older_key(line_.id, frame.id, entry.name, before.first), value_);
            ++record.older;
        }
    }
    if (differs) record.version = entry.version;
    if (is_directory) {
        const bool is_new = record.directory == 0;
        if (is_new) {
            record.directory = line_.next_directory++;
            differs = true;
        } else {
            DirectoryRecord directory;
            if (!TRY(view.get(number_key('d', line_.id, record.directory), value_)) ||
                !decode(value_, directory))
                return damaged();
            if (directory.tree == entry.tree) {
                if (differs) put(frame.id, entry.name, record);
                return flush_if_full();
            }
        }
        frame.children.push_back({record.directory, is_new, std::string(entry.name), entry.tree});
        if (is_new) {
            const DirectoryRecord made{frame.id, std::string(entry.name), std::nullopt};
            batch_.put(number_key('d', line_.id, record.directory), encode(made));
        }
    }
    if (differs) put(frame.id, entry.name, record);
    return flush_if_full();
}

Result<> Feeder::vanish(DirectoryId directory, std::string_view name, NameRecord record) {
    if (!record.version.is_open()) return {};
    if (record.version.kind == 'd') TRY(close_below(record.directory));
    record.version.last = ordinal_ - 1;
    put(directory, name, record);
    return flush_if_full();
}

// From the leaves up: as long as a directory's name is open, something below it may be.
Result<> Feeder::close_below(DirectoryId directory) {
    HistoryStore::View view(store_);
    std::vector<DirectoryId> directories = {directory};
    NameRecord record;
    for (std::size_t i = 0; i < directories.size(); ++i) {
        auto cursor = view.cursor(number_key('n', line_.id, directories[i]));
        for (; cursor.valid(); cursor.next()) {
            if (!decode(cursor.value(), record)) return damaged();
            if (record.version.is_open() && record.version.kind == 'd')
                directories.push_back(record.directory);
        }
        TRY(cursor.status());
        if (stop_.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "feeding was stopped");
    }
    for (auto at = directories.rbegin(); at != directories.rend(); ++at)
        TRY(close_entries(view, *at));
    return {};
}

Result<> Feeder::close_entries(const HistoryStore::View& view, DirectoryId directory) {
    DirectoryRecord gone;
    if (!TRY(view.get(number_key('d', line_.id, directory), value_)) || !decode(value_, gone))
        return damaged();
    gone.tree.reset();
    batch_.put(number_key('d', line_.id, directory), encode(gone));
    NameRecord record;
    auto cursor = view.cursor(number_key('n', line_.id, directory));
    for (; cursor.valid(); cursor.next()) {
        if (!decode(cursor.value(), record)) return damaged();
        if (!record.version.is_open()) continue;
        record.version.last = ordinal_ - 1;
        put(directory, cursor.key(), record);
        TRY(flush_if_full());
    }
    return cursor.status();
}

void Feeder::put(DirectoryId directory, std::string_view name, const NameRecord& record) {
    encode(value_, record);
    batch_.put(name_key(line_.id, directory, name), value_);
}

Result<> Feeder::flush_if_full() {
    if (batch_.bytes() < options_.batch_bytes) return {};
    if (stop_.stop_requested())
        return Error(ErrorKind::cancelled, ErrorCode::cancelled, "feeding was stopped");
    batch_.put(line_key_, encode(line_));
    TRY(store_.write(batch_));
    (void)failpoint("history.batch");
    if (options_.after_batch) options_.after_batch();
    return {};
}

}  // namespace backup::history
