#include "daemon/history/line.h"

#include <algorithm>

namespace backup::history {

namespace {

constexpr std::size_t kMostBatchBytes = std::size_t{1} << 20;

Error stopped() {
    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
}

std::string_view change_of(const Version* before, const Version& after) {
    if (before == nullptr) return "created";
    if (before->kind != after.kind) return "kind";
    return same_content(*before, after) ? "metadata" : "content";
}

}  // namespace

Result<std::optional<LineRecord>> read_line(const HistoryStore::View& view, const LineName& name) {
    std::string value;
    if (!TRY(view.get("l" + name.key(), value))) return std::optional<LineRecord>();
    LineRecord record;
    if (!decode(value, record)) return damaged();
    return std::optional(record);
}

Result<std::vector<FedRevision>> read_revisions(const HistoryStore::View& view,
                                                const LineRecord& line) {
    std::vector<FedRevision> revisions;
    auto cursor = view.cursor(number_key('r', line.id));
    for (; cursor.valid(); cursor.next()) {
        FedRevision revision;
        if (cursor.key().size() != 4 || !decode(cursor.value(), revision.record)) return damaged();
        revision.ordinal = load_be32(cursor.key());
        if (revision.ordinal <= line.fed) revisions.push_back(std::move(revision));
    }
    TRY(cursor.status());
    return revisions;
}

RevisionPoint VisibleLine::point(std::size_t position) const {
    const RevisionRecord& one = revisions[position].record;
    return {one.id, one.number, one.time};
}

std::vector<PathVersion> VisibleLine::dated(const std::vector<Stretch>& stretches) const {
    std::vector<PathVersion> versions;
    const Version* before = nullptr;
    for (const Stretch& stretch : stretches) {
        PathVersion version{stretch.deleted,     stretch.version,     point(stretch.first),
                            point(stretch.last), stretch.revisions(), "deleted"};
        if (!stretch.deleted) version.change = change_of(before, stretch.version);
        before = stretch.deleted ? nullptr : &stretch.version;
        versions.push_back(std::move(version));
    }
    return versions;
}

Result<std::optional<VisibleLine>> visible_line(const HistoryStore::View& view,
                                                const LineName& name) {
    auto record = TRY(read_line(view, name));
    if (!record) return std::optional<VisibleLine>();
    auto revisions = TRY(read_revisions(view, *record));
    VisibleLine line{*record, std::move(revisions), {}};
    std::erase_if(line.revisions, [](const FedRevision& one) { return one.record.hidden; });
    for (const FedRevision& one : line.revisions) line.ordinals.push_back(one.ordinal);
    return std::optional(std::move(line));
}

Result<std::vector<Version>> versions_of(HistoryStore::Cursor& older, DirectoryId directory,
                                         std::string_view name, const NameRecord& newest) {
    std::vector<Version> versions = {newest.version};
    if (newest.older > 0) {
        // The cursor's prefix is the kind and the line.
        const std::string prefix = older_prefix(0, directory, name).substr(5);
        older.seek(prefix);
        for (; older.valid() && older.key().starts_with(prefix); older.next()) {
            Version version;
            if (!decode(older.value(), version)) return damaged();
            versions.push_back(version);
        }
        TRY(older.status());
    }
    std::ranges::reverse(versions);
    return versions;
}

namespace {

// Of directories that no revision has any more: their names and numbers, the deepest first. What is
// below them went before, for it was there no longer than they were.
Result<> clear_directories(HistoryStore& store, const HistoryStore::View& view, LineId line,
                           const std::vector<DirectoryId>& gone) {
    HistoryStore::Batch batch;
    std::string value;
    for (auto at = gone.rbegin(); at != gone.rend(); ++at) {
        DirectoryRecord record;
        const std::string key = number_key('d', line, *at);
        if (!TRY(view.get(key, value)) || !decode(value, record)) return damaged();
        batch.remove(name_key(line, record.parent, record.name));
        batch.remove(key);
        if (batch.bytes() > kMostBatchBytes) TRY(store.write(batch));
    }
    return store.write(batch);
}

}  // namespace

Result<> sweep(HistoryStore& store, const LineRecord& line, const std::stop_token& stop) {
    HistoryStore::View view(store);
    std::vector<Ordinal> there;
    for (const FedRevision& one : TRY(read_revisions(view, line))) there.push_back(one.ordinal);
    const auto is_needed = [&](const Version& version) {
        if (version.is_open()) return true;
        auto at = std::ranges::lower_bound(there, version.first);
        return at != there.end() && *at <= version.last;
    };
    HistoryStore::Batch batch;
    std::vector<DirectoryId> gone;
    auto names = view.cursor(number_key('n', line.id));
    auto older = view.cursor(number_key('v', line.id));
    std::string value;
    for (; names.valid(); names.next()) {
        if (stop.stop_requested()) return stopped();
        NameRecord record;
        if (names.key().size() < 5 || !decode(names.value(), record)) return damaged();
        const DirectoryId directory = load_be32(names.key());
        const std::string_view name = names.key().substr(4);
        std::uint32_t left = 0;
        if (record.older > 0) {
            auto versions = TRY(versions_of(older, directory, name, record));
            versions.pop_back();  // the newest, which stands with the name
            for (const Version& version : versions) {
                if (is_needed(version))
                    ++left;
                else
                    batch.remove(older_key(line.id, directory, name, version.first));
            }
        }
        const bool is_gone = left == 0 && !is_needed(record.version);
        // A directory's name stays until what is below it is gone.
        if (is_gone && record.directory != 0) gone.push_back(record.directory);
        if (is_gone && record.directory == 0) {
            batch.remove(name_key(line.id, directory, name));
        } else if (left != record.older) {
            record.older = left;
            encode(value, record);
            batch.put(name_key(line.id, directory, name), value);
        }
        if (batch.bytes() > kMostBatchBytes) TRY(store.write(batch));
    }
    TRY(names.status());
    TRY(store.write(batch));
    return clear_directories(store, view, line.id, gone);
}

Result<> clear_given_up(HistoryStore& store, const std::stop_token& stop) {
    HistoryStore::View view(store);
    HistoryStore::Batch batch;
    auto given_up = view.cursor("x");
    for (; given_up.valid(); given_up.next()) {
        const std::string line(given_up.key());
        for (char kind : {'r', 'd', 'n', 'v'}) {
            const std::string prefix = kind + line;
            auto cursor = view.cursor(prefix);
            for (; cursor.valid(); cursor.next()) {
                if (stop.stop_requested()) return stopped();
                batch.remove(prefix + std::string(cursor.key()));
                if (batch.bytes() > kMostBatchBytes) TRY(store.write(batch));
            }
            TRY(cursor.status());
        }
        batch.remove("x" + line);
        TRY(store.write(batch));
    }
    return given_up.status();
}

}  // namespace backup::history
