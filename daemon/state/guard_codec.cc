// The guards' part of state_codec.h.
#include "daemon/state/fields.h"
#include "daemon/state/state_codec.h"

namespace backup::state {

namespace {

// A question is a sequence of fields within a field.
std::string encode_question(const GuardQuestion& question) {
    FieldWriter writer;
    writer.text(1, question.kind);
    writer.text(2, question.answer);
    writer.time(3, question.since);
    writer.time(4, question.answered);
    writer.text(5, question.message);
    writer.number(6, question.job);
    writer.number(7, question.lost);
    writer.text(8, question.clean);
    writer.number(9, question.clean_number);
    writer.number(10, question.pins ? 1 : 0);
    writer.number(11, question.holds ? 1 : 0);
    return writer.take();
}

Result<GuardQuestion> decode_question(std::string_view value) {
    GuardQuestion question;
    FieldReader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(question.kind);
                break;
            case 2:
                reader.text(question.answer);
                break;
            case 3:
                question.since = reader.time();
                break;
            case 4:
                question.answered = reader.time();
                break;
            case 5:
                reader.text(question.message);
                break;
            case 6:
                question.job = reader.number();
                break;
            case 7:
                question.lost = reader.number();
                break;
            case 8:
                reader.text(question.clean);
                break;
            case 9:
                question.clean_number = reader.number();
                break;
            case 10:
                question.pins = reader.number() != 0;
                break;
            case 11:
                question.holds = reader.number() != 0;
                break;
        }
    }
    return checked(reader, std::move(question), "question");
}

}  // namespace

std::string encode(const GuardRecord& record) {
    FieldWriter writer;
    writer.text(1, encode_question(record.source));
    writer.text(2, encode_question(record.change));
    writer.time(3, record.window_begin);
    writer.number(4, record.window_opaque);
    writer.number(5, record.window_could);
    writer.text(6, record.window_clean);
    writer.number(7, record.window_number);
    writer.text(8, encode_question(record.line));
    writer.number(9, record.line_known);
    return writer.take();
}

Result<GuardRecord> decode_guard(std::string_view value) {
    GuardRecord record;
    std::string source, change, line;
    FieldReader reader(value);
    while (reader.next()) {
        switch (reader.tag()) {
            case 1:
                reader.text(source);
                break;
            case 2:
                reader.text(change);
                break;
            case 3:
                record.window_begin = reader.time();
                break;
            case 4:
                record.window_opaque = reader.number();
                break;
            case 5:
                record.window_could = reader.number();
                break;
            case 6:
                reader.text(record.window_clean);
                break;
            case 7:
                record.window_number = reader.number();
                break;
            case 8:
                reader.text(line);
                break;
            case 9:
                record.line_known = reader.number();
                break;
        }
    }
    record.source = TRY(decode_question(source));
    record.change = TRY(decode_question(change));
    record.line = TRY(decode_question(line));
    return checked(reader, std::move(record), "guard");
}

}  // namespace backup::state
