#include "daemon/history/records.h"

#include <cstring>

namespace backup::history {

namespace {

void append_be32(std::string& to, std::uint32_t value) {
    for (int shift : {24, 16, 8, 0}) to += static_cast<char>(value >> shift);
}

template <typename IdType>
void append_id(std::string& to, const IdType& id) {
    to += as_text(id.bytes);
}
template <typename IdType>
bool take_id(std::string_view& from, IdType& id) {
    if (from.size() < id.bytes.size()) return false;
    std::memcpy(id.bytes.data(), from.data(), id.bytes.size());
    from.remove_prefix(id.bytes.size());
    return true;
}

void append_time(std::string& to, Timestamp time) {
    append_varint(to, static_cast<std::uint64_t>(time.time_since_epoch().count()));
}
bool take_time(std::string_view& from, Timestamp& time) {
    std::uint64_t count = 0;
    if (!take_varint(from, count)) return false;
    time = Timestamp(Duration(static_cast<std::int64_t>(count)));
    return true;
}

bool take32(std::string_view& from, std::uint32_t& value) {
    std::uint64_t number = 0;
    if (!take_varint(from, number) || number > UINT32_MAX) return false;
    value = static_cast<std::uint32_t>(number);
    return true;
}

}  // namespace

std::string number_key(char kind, LineId line) {
    std::string key(1, kind);
    append_be32(key, line);
    return key;
}

std::string number_key(char kind, LineId line, std::uint32_t number) {
    std::string key = number_key(kind, line);
    append_be32(key, number);
    return key;
}

std::string name_key(LineId line, DirectoryId directory, std::string_view name) {
    std::string key = number_key('n', line, directory);
    key += name;
    return key;
}

std::string older_prefix(LineId line, DirectoryId directory, std::string_view name) {
    std::string key = number_key('v', line, directory);
    key += name;
    key += '\0';
    return key;
}

std::string older_key(LineId line, DirectoryId directory, std::string_view name, Ordinal first) {
    std::string key = older_prefix(line, directory, name);
    append_be32(key, ~first);
    return key;
}

std::uint32_t load_be32(std::string_view from) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(from[i]);
    return value;
}

std::string encode(const LineRecord& record) {
    std::string value;
    for (std::uint64_t number :
         {std::uint64_t{record.id}, std::uint64_t{record.fed}, std::uint64_t{record.next},
          std::uint64_t{record.next_directory}, record.last_number, record.gone})
        append_varint(value, number);
    append_time(value, record.last_time);
    return value;
}

bool decode(std::string_view value, LineRecord& record) {
    return take32(value, record.id) && take32(value, record.fed) && take32(value, record.next) &&
           take32(value, record.next_directory) && take_varint(value, record.last_number) &&
           take_varint(value, record.gone) && take_time(value, record.last_time) && value.empty();
}

std::string encode(const RevisionRecord& record) {
    std::string value;
    append_id(value, record.identity);
    append_id(value, record.id);
    append_varint(value, record.number);
    append_varint(value, record.hidden ? 1 : 0);
    append_time(value, record.time);
    return value;
}

bool decode(std::string_view value, RevisionRecord& record) {
    std::uint64_t hidden = 0;
    if (!take_id(value, record.identity) || !take_id(value, record.id) ||
        !take_varint(value, record.number) || !take_varint(value, hidden) ||
        !take_time(value, record.time))
        return false;
    record.hidden = hidden != 0;
    return value.empty();
}

std::string encode(const DirectoryRecord& record) {
    std::string value;
    append_varint(value, record.parent);
    append_varint(value, record.tree ? 1 : 0);
    if (record.tree) append_id(value, *record.tree);
    value += record.name;
    return value;
}

bool decode(std::string_view value, DirectoryRecord& record) {
    std::uint64_t has_tree = 0;
    if (!take32(value, record.parent) || !take_varint(value, has_tree)) return false;
    record.tree.reset();
    if (has_tree != 0) {
        BlobId tree;
        if (!take_id(value, tree)) return false;
        record.tree = tree;
    }
    record.name = value;
    return true;
}

void encode(std::string& to, const NameRecord& record) {
    to.clear();
    append_varint(to, record.directory);
    append_varint(to, record.older);
    append_version(to, record.version);
}

bool decode(std::string_view value, NameRecord& record) {
    return take32(value, record.directory) && take32(value, record.older) &&
           take_version(value, record.version) && value.empty();
}

bool decode(std::string_view value, Version& version) {
    return take_version(value, version) && value.empty();
}

Error damaged() {
    return Error(ErrorKind::corrupt, "the index of history holds something else than it should");
}

}  // namespace backup::history
