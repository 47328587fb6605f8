// What interrupted backups left: their part of state_codec.h.
#include "daemon/state/fields.h"
#include "daemon/state/state_codec.h"

namespace backup::state {

void describe(auto& field, Of<HalfFileRecord> auto& record) {
    field(1, record.path);
    field(2, record.inode);
    field(3, record.size);
    field(4, record.mtime_seconds);
    field(5, record.mtime_nanoseconds);
    field(6, record.ctime_seconds);
    field(7, record.ctime_nanoseconds);
    field(8, record.bytes);
    field(9, record.chunks);
}

void describe(auto& field, Of<CheckpointRecord> auto& record) {
    field(1, record.repository_id);
    field(2, record.tree);
    field(3, record.job);
    field(4, record.begin);
    field(5, record.kept);
    field(6, record.trigger);
    field(7, record.files);
    field(8, record.bytes);
    field(9, record.unsettled);
    field(10, record.half);
}

std::string encode(const CheckpointRecord& record) {
    return encode_fields(record);
}

Result<CheckpointRecord> decode_checkpoint(std::string_view value) {
    return decode_fields<CheckpointRecord>(value, "checkpoint");
}

}  // namespace backup::state
