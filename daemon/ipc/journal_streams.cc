#include "daemon/ipc/journal_streams.h"

#include "common/path.h"
#include "common/wire.h"
#include "daemon/jobs/job.h"

namespace backup {

namespace {

constexpr std::size_t kRecordsAtOnce = 256;

void put_record(JsonLine& line, const JobRecord& record, const std::string& state) {
    line.number("id", record.id)
        .text("kind", record.kind)
        .text("set", record.set)
        .text("repository", record.repository)
        .text("state", state)
        .text("outcome", record.outcome)
        .text("begin", format_rfc3339(record.begin))
        .text("end", record.end ? format_rfc3339(*record.end) : "")
        .text("trigger", record.trigger)
        .text("mode", record.mode)
        .number("uid", record.uid)
        .number("exceptions", record.exceptions)
        .text("error", wire::full_error_name(record.error_name))
        .text("message", record.message)
        .counts("counts", record.counts)
        .text("revision", record.revision)
        .text("parent", record.parent);
}

void put_message(JsonLine& line, Timestamp time, std::string_view level, std::string_view message,
                 std::uint64_t job) {
    line.text("time", format_rfc3339(time)).text("level", level).text("message", message);
    if (job == 0)
        line.null("job");
    else
        line.number("job", job);
}

Error not_his(std::uint64_t job) {
    return {ErrorKind::denied, ErrorCode::access_denied,
            "job " + std::to_string(job) + " is for administrators"};
}

}  // namespace

bool is_his(const JobRecord& record, std::uint32_t uid) {
    return record.uid == uid && (record.kind == "restore" || record.kind == "export");
}

Result<> JobHistory::operator()(LineWriter& lines) const {
    JsonLine line;
    auto put = [&](const JobRecord& record) {
        // Jobs begin and end after `live` was taken: the end record is what tells.
        auto state = live.find(record.id);
        put_record(line, record,
                   record.end            ? "done"
                   : state != live.end() ? state->second
                                         : to_string(JobState::running));
        return lines.write(line);
    };
    if (only) {
        auto record = TRY(store.job(*only));
        if (record && of && !is_his(*record, *of)) return not_his(*only);
        if (!record)
            return Error(ErrorKind::not_found, ErrorCode::no_such_job,
                         "there is no job " + std::to_string(*only));
        return put(*record);
    }
    std::uint64_t before = 0;
    for (;;) {
        std::vector<JobRecord> records = TRY(store.jobs(kRecordsAtOnce, before));
        for (const JobRecord& record : records) {
            if (since && record.begin < *since) return {};
            if (of && !is_his(record, *of)) continue;
            if (limit != 0 && lines.count() >= limit) return {};
            TRY(put(record));
        }
        if (records.size() < kRecordsAtOnce) return {};
        before = records.back().id;
    }
}

Result<> LogReader::kept_lines(LineWriter& lines) const {
    if (!TRY(store.job(*job)))
        return Error(ErrorKind::not_found, ErrorCode::no_such_job,
                     "there is no job " + std::to_string(*job));
    JsonLine line;
    Result<> written;
    TRY(store.each_line(*job, [&](const JobLine& kept) {
        if (since && kept.time < *since) return true;
        std::string message = kept.message;
        if (!kept.object.empty()) message = printable(kept.object) + ": " + message;
        put_message(line, kept.time, kept.level, message, *job);
        written = lines.write(line);
        return written.ok();
    }));
    return written;
}

Result<> LogReader::new_events(LineWriter& lines, std::uint64_t& last) const {
    JsonLine line;
    for (const Event& event : events.after(last)) {
        last = event.sequence;
        if (job && event.job != *job) continue;
        if (since && event.time < *since) continue;
        put_message(line, event.time, to_string(event.level), event.message, event.job);
        TRY(lines.write(line));
    }
    return {};
}

Result<> LogReader::operator()(LineWriter& lines) const {
    if (of) {
        if (!job)
            return Error(ErrorKind::denied, ErrorCode::access_denied,
                         "the daemon's log is for administrators: name a restore of yours");
        const auto record = TRY(store.job(*job));
        if (record && !is_his(*record, *of)) return not_his(*job);
    }
    // Of a job that runs the latest may not be in the store yet: then all comes from the events.
    std::uint64_t last = 0;
    if (job && !follow) return kept_lines(lines);
    TRY(new_events(lines, last));
    if (!follow) return {};
    for (;;) {
        bool ended = job && job_has_ended();  // asked first: what it said before its end is there
        TRY(new_events(lines, last));
        TRY(lines.flush());
        if (ended || lines.reader_gone()) return {};
        if (lines.stop().stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::shutting_down, "the daemon is stopping");
        events.wait_beyond(last, std::chrono::seconds(1), lines.stop());
    }
}

}  // namespace backup
