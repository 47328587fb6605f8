#include "daemon/ipc/job_object.h"

#include <algorithm>

#include <systemd/sd-bus.h>

#include "daemon/ipc/journal_streams.h"

namespace backup {

namespace {

// Of a job that still runs: the exceptions so far. Of one that has ended everything is in the
// store.
struct Report {
    StateStore& store;
    std::uint64_t job;
    std::shared_ptr<const ExceptionLog> live;

    Result<> operator()(LineWriter& lines) const {
        JsonLine line;
        Result<> written;
        TRY(store.each_line(job, [&](const JobLine& kept) {
            put_job_line(line, kept);
            written = lines.write(line);
            return written.ok();
        }));
        TRY(written);
        if (!live) return {};
        for (const Exception& exception : live->list()) {
            put_job_line(
                line, {Timestamp{}, "exception", "warning", exception.path,
                       std::string(to_string(exception.error.kind())), exception.error.message()});
            TRY(lines.write(line));
        }
        return {};
    }
};

}  // namespace

void put_job_line(JsonLine& line, const JobLine& of) {
    line.text("type", of.type);
    if (of.type == "exception") {
        line.name("path", of.object).text("kind", of.kind).text("message", of.message);
    } else if (of.type == "plan") {
        line.text("action", of.level).name("path", of.object);
        line.number("bytes", std::strtoull(of.message.c_str(), nullptr, 10));
    } else if (of.type == "finding") {
        line.text("severity", of.level).text("object", of.object).text("message", of.message);
    } else {
        line.text("time", format_rfc3339(of.time)).text("level", of.level);
        line.text("message", of.message);
    }
}

JobObject::JobObject(Served& served, const Job& job)
    : served_(served), job_(job), path_(wire::job_path(job.id())) {}

const Interface& JobObject::interface() {
    static Interface table("Job");
    static bool once = [] {
        table.method("Cancel", "a{sv}", "options", "", "", Access::requester, &JobObject::cancel)
            .method("GetReport", "a{sv}", "options", "h", "stream", Access::requester,
                    &JobObject::get_report)
            .signal("Finished", "sssa{sv}", "result,error_name,message,details");
        for (const char* name : {"Kind", "Trigger"}) table.property(name, "s", Changes::constant);
        table.property("Id", "t", Changes::constant)
            .property("Object", "o", Changes::constant)
            .property("RequestedByUid", "u", Changes::constant)
            .property("StartedUSec", "t", Changes::constant)
            .property("State", "s")
            .property("Phase", "s")
            .property("Progress", "d")
            .property("ErrorCount", "u")
            .property("Details", "a{sv}");
        for (const char* name :
             {"EndedUSec", "BytesDone", "BytesTotal", "ItemsDone", "ItemsTotal", "RateBytes",
              "ExpectedEndUSec", "StalledSinceUSec", "FirstByteUSec"})
            table.property(name, "t");
        for (const char* name : {"Result", "ErrorName", "Message", "Revision"})
            table.property(name, "s");
        return true;
    }();
    (void)once;
    return table;
}

// Reports of what gives files back to him name his files; those of other jobs anybody's.
bool JobObject::is_own(std::uint32_t uid, std::string_view method) const {
    const JobRecord& record = job_.record();
    return record.uid == uid && (method != "GetReport" || is_his(record, uid));
}

wire::Value JobObject::property(std::string_view name) const {
    const JobRecord& record = job_.record();
    const Progress& progress = job_.progress();
    std::uint64_t bytes_done = progress.bytes_done, bytes_total = progress.bytes_total;
    if (name == "Id") return record.id;
    if (name == "Kind") return record.kind;
    if (name == "Trigger") return record.trigger;
    if (name == "Object")
        return wire::ObjectPath{record.set.empty() ? wire::repository_path(record.repository)
                                                   : wire::set_path(record.set)};
    if (name == "RequestedByUid") return record.uid;
    if (name == "StartedUSec") return to_usec(record.begin);
    if (name == "EndedUSec") return job_.is_done() && record.end ? to_usec(*record.end) : 0;
    if (name == "State") return to_string(job_.state());
    if (name == "Phase") return to_string(progress.phase.load());
    if (name == "Progress") {
        if (job_.is_done()) return 1.0;
        if (bytes_total == 0) return -1.0;
        return std::min(1.0, static_cast<double>(bytes_done) / static_cast<double>(bytes_total));
    }
    if (name == "BytesDone") return bytes_done;
    if (name == "BytesTotal") return bytes_total;
    if (name == "ItemsDone") return progress.items_done.load();
    if (name == "ItemsTotal") return progress.items_total.load();
    if (name == "RateBytes") return job_.rate();
    if (name == "ExpectedEndUSec") return job_.expected_end() ? to_usec(*job_.expected_end()) : 0;
    if (name == "StalledSinceUSec")
        return !job_.is_done() && job_.stalled_since() ? to_usec(*job_.stalled_since()) : 0;
    if (name == "FirstByteUSec") return progress.first_byte_usec.load();
    if (name == "ErrorCount") return static_cast<std::uint32_t>(progress.exceptions.load());
    if (!job_.is_done()) {
        if (name == "Details") return wire::Dict{};
        return std::string(name == "Revision" && record.kind != "backup" ? record.revision : "");
    }
    if (name == "Result") return record.outcome;
    if (name == "ErrorName") return wire::full_error_name(record.error_name);
    if (name == "Message") return message();
    if (name == "Revision") return record.revision;
    return details();
}

// Everybody on the system bus may read it: the sentence itself, which may name files, stays in the
// report.
std::string JobObject::message() const {
    const JobRecord& record = job_.record();
    if (!served_.on_system_bus() || record.message.empty()) return record.message;
    return (record.error_name.empty() ? record.outcome : record.error_name) + ": `backupctl log " +
           std::to_string(record.id) + "` says more";
}

wire::Dict JobObject::details() const {
    const JobRecord& record = job_.record();
    wire::Dict details = {{"revision", record.revision}, {"seconds", job_.seconds()}};
    for (const auto& [word, count] : record.counts) details.push_back({word, count});
    return details;
}

void JobObject::tell_end() {
    const JobRecord& record = job_.record();
    served_.bus.emit(
        path_, interface().name(), "Finished",
        {record.outcome, wire::full_error_name(record.error_name), message(), details()});
}

Result<> JobObject::cancel(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    TRY(served_.service.jobs().cancel(job_.id()));
    call->reply();
    return {};
}

Result<> JobObject::get_report(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    UniqueFd stream = TRY(served_.streams.start(
        call->uid(), Report{served_.service.store(), job_.id(), job_.exceptions()}));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

}  // namespace backup
