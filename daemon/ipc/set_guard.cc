// What is asked about a set, and the answer.
#include <systemd/sd-bus.h>

#include "daemon/ipc/set_object.h"

namespace backup {

namespace {

wire::Dict question_dict(const GuardQuestion& question) {
    return {{"kind", question.kind},
            {"answer", question.answer},
            {"since", to_usec(question.since)},
            {"answered", to_usec(question.answered)},
            {"message", question.message},
            {"holds", question.holds || question.answer == "rejected"},
            {"job", question.job},
            {"clean-revision", question.clean},
            {"clean-number", question.clean_number},
            {"pinned", question.pins}};
}

}  // namespace

Result<> SetObject::get_guard(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    const GuardRecord record = served_.service.guard(id_);
    std::vector<wire::Dict> questions;
    for (const GuardQuestion* question : record.questions())
        if (question->is_open()) questions.push_back(question_dict(*question));
    call->reply_with([&](sd_bus_message* message) {
        int r = sd_bus_message_open_container(message, 'a', "a{sv}");
        for (const wire::Dict& question : questions)
            if (r >= 0) r = wire::append_dict(message, question);
        return r < 0 ? r : sd_bus_message_close_container(message);
    });
    return {};
}

Result<> SetObject::answer_guard(std::shared_ptr<Call> call) {
    const std::string answer = TRY(call->string());
    TRY(call->no_options());
    if (answer != "approve" && answer != "reject")
        return invalid_argument("answer: approve or reject");
    served_.service.answer_guard(
        id_, answer == "approve", call->uid(), [call](Result<const Job*> job) {
            if (!job.ok()) return call->fail(job.error());
            call->reply({*job != nullptr ? job_object(**job) : wire::ObjectPath{"/"}});
        });
    return {};
}

std::string SetObject::guard_word() const {
    const GuardRecord record = served_.service.guard(id_);
    for (const GuardQuestion* question : record.questions())
        if (question->is_open()) return question->kind;
    return "";
}

std::uint64_t SetObject::guard_since() const {
    const GuardRecord record = served_.service.guard(id_);
    for (const GuardQuestion* question : record.questions())
        if (question->is_open()) return to_usec(question->since);
    return 0;
}

}  // namespace backup
