// What interrupted backups left: their part of state_codec.h.
#include "daemon/state/fields.h"
#include "daemon/state/state_codec.h"

namespace backup::state {

namespace {

std::string encode_half_file(const HalfFileRecord& record) {
    FieldWriter writer;
    writer.text(1, record.path);
    writer.number(2, record.inode);
    writer.number(3, record.size);
    writer.number(4, static_cast<std::uint64_t>(record.mtime_seconds));
    writer.number(5, record.mtime_nanoseconds);
    writer.number(6, static_cast<std::uint64_t>(record.ctime_seconds));
    writer.number(7, record.ctime_nanoseconds);
    writer.number(8, record.bytes);
    writer.text(9, record.chunks);
    return writer.take();
}

Result<HalfFileRecord> decode_half_file(std::string_view value) {
    HalfFileRecord record;
    FieldReader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(record.path);
                break;
            case 2:
                record.inode = reader.number();
                break;
            case 3:
                record.size = reader.number();
                break;
            case 4:
                record.mtime_seconds = static_cast<std::int64_t>(reader.number());
                break;
            case 5:
                record.mtime_nanoseconds = static_cast<std::uint32_t>(reader.number());
                break;
            case 6:
                record.ctime_seconds = static_cast<std::int64_t>(reader.number());
                break;
            case 7:
                record.ctime_nanoseconds = static_cast<std::uint32_t>(reader.number());
                break;
            case 8:
                record.bytes = reader.number();
                break;
            case 9:
                reader.text(record.chunks);
                break;
        }
    }
    return checked(reader, std::move(record), "half file");
}

}  // namespace

std::string encode(const CheckpointRecord& record) {
    FieldWriter writer;
    writer.text(1, record.repository_id);
    writer.text(2, record.tree);
    writer.number(3, record.job);
    writer.time(4, record.begin);
    writer.time(5, record.kept);
    writer.text(6, record.trigger);
    writer.number(7, record.files);
    writer.number(8, record.bytes);
    for (const std::string& path : record.unsettled) writer.text(9, path);
    for (const HalfFileRecord& half : record.half) writer.text(10, encode_half_file(half));
    return writer.take();
}

Result<CheckpointRecord> decode_checkpoint(std::string_view value) {
    CheckpointRecord record;
    FieldReader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(record.repository_id);
                break;
            case 2:
                reader.text(record.tree);
                break;
            case 3:
                record.job = reader.number();
                break;
            case 4:
                record.begin = reader.time();
                break;
            case 5:
                record.kept = reader.time();
                break;
            case 6:
                reader.text(record.trigger);
                break;
            case 7:
                record.files = reader.number();
                break;
            case 8:
                record.bytes = reader.number();
                break;
            case 9:
                reader.text(record.unsettled.emplace_back());
                break;
            case 10:
                record.half.push_back(TRY(decode_half_file(reader.bytes())));
                break;
        }
    }
    return checked(reader, std::move(record), "checkpoint");
}

}  // namespace backup::state
