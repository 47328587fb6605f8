// The guards' part of state_codec.h.
#include "daemon/state/fields.h"
#include "daemon/state/state_codec.h"

namespace backup::state {

// A question is a sequence of fields within a field.
void describe(auto& field, Of<GuardQuestion> auto& question) {
    field(1, question.kind);
    field(2, question.answer);
    field(3, question.since);
    field(4, question.answered);
    field(5, question.message);
    field(6, question.job);
    field(7, question.lost);
    field(8, question.clean);
    field(9, question.clean_number);
    field(10, question.pins);
    field(11, question.holds);
}

void describe(auto& field, Of<GuardRecord> auto& record) {
    field(1, record.source);
    field(2, record.change);
    field(3, record.window_begin);
    field(4, record.window_opaque);
    field(5, record.window_could);
    field(6, record.window_clean);
    field(7, record.window_number);
    field(8, record.line);
    field(9, record.line_known);
}

std::string encode(const GuardRecord& record) {
    return encode_fields(record);
}

Result<GuardRecord> decode_guard(std::string_view value) {
    return decode_fields<GuardRecord>(value, "guard");
}

}  // namespace backup::state
