// The persistent form: from the state to records and back.
#include <algorithm>
#include <utility>

#include "daemon/queue/queue_state.h"

namespace backup::queue {

namespace {

std::string value_of(const VolumeMarks& volume) {
    return encode_everything(volume.everything, volume.everything_reason);
}

RecordKind kind_of(Whole which) {
    switch (which) {
        case Whole::itself:
            return RecordKind::itself;
        case Whole::listing:
            return RecordKind::listing;
        case Whole::subtree:
            return RecordKind::subtree;
    }
    return RecordKind::subtree;
}

Error missing(const char* what) {
    return Error(ErrorKind::corrupt, std::string("the stored queue of changes: ") + what);
}

}  // namespace

void QueueState::put(std::vector<QueueRecord>& out, bool& is_stored, std::string key,
                     std::string value) {
    if (!is_stored) {
        ++stored_;
        stored_sum_ += checksum_of_key(key);
    }
    is_stored = true;
    out.push_back({std::move(key), std::move(value)});
}

void QueueState::put_mark(std::vector<QueueRecord>& out, Mark& mark, std::string key,
                          std::string value) {
    bool is_stored = mark.is_stored;
    put(out, is_stored, std::move(key), std::move(value));
    mark.is_stored = 1;
    mark.is_fresh = 0;
}

bool QueueState::has_records() const {
    return is_header_fresh_;
}

std::vector<QueueRecord> QueueState::take_records(Generation generation) {
    std::vector<QueueRecord> out;
    if (!is_header_fresh_) return out;
    out.reserve(removed_.size() + 16);
    for (std::string& key : removed_) out.push_back({std::move(key), std::nullopt});
    removed_ = {};
    for (auto& [id, volume] : books_) put_volume(out, id, volume);
    out.push_back(
        {encode_key(RecordKind::header, 0),
         encode_header({generation, stored_, stored_sum_, newest_.value_or(Timestamp{})})});
    is_header_fresh_ = false;
    return out;
}

void QueueState::put_volume(std::vector<QueueRecord>& out, const VolumeId& id, Volume& volume) {
    VolumeMarks& marks = volume.marks;
    if (!volume.is_stored)
        put(out, volume.is_stored, encode_key(RecordKind::volume, volume.number), id);
    for (const ObjectHandle& handle : volume.fresh_directories) {
        auto found = marks.directories.find(handle);
        if (found == marks.directories.end()) continue;
        for (auto& [name, mark] : found->second.names)
            if (mark.is_fresh)
                put_mark(out, mark, encode_key(RecordKind::name, volume.number, handle, name),
                         encode_mark(mark));
        for (Whole which : DirectoryMarks::kWholes) {
            Mark* mark = found->second.whole(which);
            if (mark != nullptr && mark->is_fresh)
                put_mark(out, *mark, encode_key(kind_of(which), volume.number, handle),
                         encode_mark(*mark));
        }
    }
    for (const ObjectHandle& handle : volume.fresh_objects) {
        auto found = marks.objects.find(handle);
        if (found != marks.objects.end() && found->second.is_fresh)
            put_mark(out, found->second, encode_key(RecordKind::object, volume.number, handle),
                     encode_mark(found->second));
    }
    for (const ObjectHandle& handle : volume.fresh_origins) {
        auto found = marks.origins.find(handle);
        if (found == marks.origins.end() || !found->second.is_fresh) continue;
        put(out, found->second.is_stored, encode_key(RecordKind::origin, volume.number, handle),
            encode_origin(found->second));
        found->second.is_fresh = false;
    }
    if (marks.has_everything() && marks.everything.is_fresh)
        put_mark(out, marks.everything, encode_key(RecordKind::everything, volume.number),
                 value_of(marks));
    if (volume.left_scope_fresh)
        put(out, volume.left_scope_stored, encode_key(RecordKind::left_scope, volume.number),
            encode_generation(marks.left_scope));
    volume.left_scope_fresh = false;
    volume.fresh_directories = {};
    volume.fresh_objects = {};
    volume.fresh_origins = {};
}

std::vector<QueueRecord> QueueState::all_records(Generation generation) {
    removed_ = {};
    stored_ = stored_sum_ = 0;
    auto renew = [](Mark& mark) {
        mark.is_fresh = 1;
        mark.is_stored = 0;
    };
    for (auto& [id, volume] : books_) {
        volume.is_stored = volume.left_scope_stored = false;
        volume.left_scope_fresh = volume.marks.left_scope != 0;
        renew(volume.marks.everything);
        for (auto& [handle, directory] : volume.marks.directories) {
            volume.fresh_directories.insert(handle);
            for (auto& [name, mark] : directory.names) renew(mark);
            for (Whole which : DirectoryMarks::kWholes)
                if (Mark* mark = directory.whole(which)) renew(*mark);
        }
        for (auto& [handle, mark] : volume.marks.objects) {
            volume.fresh_objects.insert(handle);
            renew(mark);
        }
        for (auto& [handle, origin] : volume.marks.origins) {
            volume.fresh_origins.insert(handle);
            origin.is_fresh = true;
            origin.is_stored = false;
        }
    }
    is_header_fresh_ = true;
    return take_records(generation);
}

Result<std::optional<Generation>> QueueState::load(const std::vector<QueueRecord>& records) {
    std::optional<QueueHeader> header;
    std::vector<std::pair<RecordKey, std::string_view>> decoded;
    std::map<std::uint16_t, Volume*> by_number;
    for (const QueueRecord& record : records) {
        if (record.key.starts_with(kForeignRecord)) continue;
        if (!record.value) return missing("a record without a value");
        RecordKey key = TRY(decode_key(record.key));
        if (key.kind == RecordKind::header) {
            if (header) return missing("two headers");
            header = TRY(decode_header(*record.value));
            continue;
        }
        ++stored_;
        stored_sum_ += checksum_of_key(record.key);
        if (key.kind != RecordKind::volume) {
            decoded.emplace_back(std::move(key), *record.value);
            continue;
        }
        if (by_number.count(key.volume) != 0 || books_.count(*record.value) != 0)
            return missing("a volume twice");
        Volume& made = volume(*record.value);
        made.number = key.volume;
        made.is_stored = true;
        by_number[key.volume] = &made;
    }
    if (!header) {
        if (stored_ != 0) return missing("the header is gone");
        is_header_fresh_ = false;
        return std::optional<Generation>();
    }
    if (header->records != stored_ || header->sum != stored_sum_)
        return missing("it has not all records that it was left with");
    Generation newest = 0;
    for (const auto& [key, value] : decoded) TRY(load_record(key, value, by_number, newest));
    if (newest > header->generation) return missing("a mark is newer than the header");
    newest_ = header->newest;
    is_header_fresh_ = false;
    return std::optional<Generation>(header->generation);
}

Result<> QueueState::load_record(const RecordKey& key, std::string_view value,
                                 std::map<std::uint16_t, Volume*>& by_number, Generation& newest) {
    auto found = by_number.find(key.volume);
    if (found == by_number.end()) return missing("a mark of no volume");
    Volume& volume = *found->second;
    VolumeMarks& marks = volume.marks;
    auto take = [&](Mark& place, Mark mark) -> Result<> {
        if (place.generation != 0) return missing("a mark twice");
        newest = std::max<Generation>(newest, mark.generation);
        place = mark;
        place.is_stored = 1;
        ++count_;
        return {};
    };
    is_oldest_known_ = false;
    switch (key.kind) {
        case RecordKind::header:
        case RecordKind::volume:
            return {};
        case RecordKind::name:
            return take(marks.directories[key.handle].names.at(key.name), TRY(decode_mark(value)));
        case RecordKind::itself:
            return take(marks.directories[key.handle].make(Whole::itself), TRY(decode_mark(value)));
        case RecordKind::listing:
            return take(marks.directories[key.handle].make(Whole::listing),
                        TRY(decode_mark(value)));
        case RecordKind::subtree:
            return take(marks.directories[key.handle].make(Whole::subtree),
                        TRY(decode_mark(value)));
        case RecordKind::object:
            return take(marks.objects[key.handle], TRY(decode_mark(value)));
        case RecordKind::everything:
            return take(marks.everything, TRY(decode_everything(value, marks.everything_reason)));
        case RecordKind::left_scope:
            if (marks.left_scope != 0) return missing("a mark twice");
            marks.left_scope = TRY(decode_generation(value));
            newest = std::max(newest, marks.left_scope);
            volume.left_scope_stored = true;
            return {};
        case RecordKind::origin: {
            auto [at, is_new] = marks.origins.try_emplace(key.handle, TRY(decode_origin(value)));
            if (!is_new) return missing("an origin twice");
            newest = std::max(newest, at->second.generation);
            at->second.is_stored = true;
            ++origins_;
            return {};
        }
    }
    return {};
}

}  // namespace backup::queue
