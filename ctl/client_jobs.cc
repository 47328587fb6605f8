// Jobs under the client's eyes: their signals, and waiting for them.
#include <algorithm>
#include <cstdlib>

#include <poll.h>

#include "ctl/client_connection.h"

namespace backup {

namespace {

void update(JobView& view, const Dict& changes) {
    auto text = [&](const char* key, std::string& into) {
        if (changes.has(key)) into = changes.text(key);
    };
    auto number = [&](const char* key, std::uint64_t& into) {
        if (changes.has(key)) into = changes.number(key);
    };
    number("Id", view.id);
    text("Kind", view.kind);
    text("Trigger", view.trigger);
    text("Object", view.target);
    text("State", view.state);
    text("Phase", view.phase);
    if (changes.has("Progress")) view.progress = changes.real("Progress");
    number("BytesDone", view.bytes_done);
    number("BytesTotal", view.bytes_total);
    number("ItemsDone", view.items_done);
    number("ItemsTotal", view.items_total);
    number("RateBytes", view.rate_bytes);
    number("StartedUSec", view.started_usec);
    number("EndedUSec", view.ended_usec);
    number("ExpectedEndUSec", view.expected_end_usec);
    number("ErrorCount", view.errors);
    text("Result", view.result);
    text("ErrorName", view.error_name);
    text("Message", view.message);
    text("Revision", view.revision);
}

}  // namespace

int Client::Impl::on_properties(sd_bus_message* m, void* self, sd_bus_error*) {
    auto& impl = *static_cast<Impl*>(self);
    const char* path = sd_bus_message_get_path(m);
    auto it = path == nullptr ? impl.jobs.end() : impl.jobs.find(path);
    const char* interface = nullptr;
    if (it == impl.jobs.end() || sd_bus_message_read_basic(m, 's', &interface) <= 0) return 0;
    Dict changes;
    if (std::string(interface) != std::string(kName) + ".Job" || !read_dict(m, changes)) return 0;
    update(it->second, changes);
    impl.changed = true;
    return 0;
}

int Client::Impl::on_finished(sd_bus_message* m, void* self, sd_bus_error*) {
    auto& impl = *static_cast<Impl*>(self);
    const char* path = sd_bus_message_get_path(m);
    const char *result = nullptr, *error_name = nullptr, *message = nullptr;
    if (path == nullptr || sd_bus_message_read(m, "sss", &result, &error_name, &message) <= 0)
        return 0;
    // May come before follow() asked: remembered, for it is said once.
    JobView& view = impl.jobs[path];
    view.object = path;
    Dict details;
    if (read_dict(m, details)) view.details = details;
    view.result = result;
    view.error_name = error_name;
    view.message = message;
    if (details.has("revision")) view.revision = details.text("revision");
    view.state = "done";
    view.finished = true;
    view.daemon_gone = false;
    impl.changed = true;
    return 0;
}

int Client::Impl::on_owner(sd_bus_message* m, void* self, sd_bus_error*) {
    const char *name = nullptr, *before = nullptr, *after = nullptr;
    if (sd_bus_message_read(m, "sss", &name, &before, &after) <= 0) return 0;
    // Restarted under our eyes counts, too: the new one knows nothing of the old one's runs.
    if (std::string_view(name) != kName) return 0;
    auto& impl = *static_cast<Impl*>(self);
    if (*before != '\0') impl.lost();
    if (*after != '\0') impl.daemon_gone = false;
    return 0;
}

namespace {
// A job whose object is gone, or never was, is an unknown object to the bus.
Error no_such_job(Error error, const std::string& object) {
    if (error.code() != ErrorCode::unsupported && error.code() != ErrorCode::none) return error;
    return {ErrorKind::not_found, ErrorCode::no_such_job,
            "no job " + Client::name_of_object(object) +
                " is running or has ended lately\nall of them: backupctl jobs"};
}
}  // namespace

Result<> Client::cancel(const std::string& job) {
    auto reply = impl_->ours(job, "Job", "Cancel", no_options, kPatient);
    if (!reply.ok()) return no_such_job(std::move(reply).error(), job);
    return {};
}
Result<UniqueFd> Client::job_report(const std::string& job) {
    auto reply = impl_->ours(job, "Job", "GetReport", no_options);
    if (!reply.ok()) return no_such_job(std::move(reply).error(), job);
    return read_fd(*reply);
}

Result<> Client::watch_jobs() {
    std::string sender = "type='signal',sender='" + std::string(kName) + "',";
    std::string jobs = "path_namespace='" + kManager + "/job',";
    const std::pair<std::string, sd_bus_message_handler_t> matches[] = {
        {sender + jobs + "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
         Impl::on_properties},
        {sender + jobs + "interface='" + kName + ".Job',member='Finished'", Impl::on_finished},
        {"type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
         "member='NameOwnerChanged',arg0='" +
             std::string(kName) + "'",
         Impl::on_owner},
    };
    for (const auto& [rule, handler] : matches) {
        int r = sd_bus_add_match(impl_->bus.get(), nullptr, rule.c_str(), handler, impl_.get());
        if (r < 0)
            return Error::from_errno(-r, "listen to backupd")
                .with_code(ErrorCode::daemon_unreachable);
    }
    return {};
}

Result<JobView> Client::follow(const std::string& job) {
    Message reply{nullptr};
    std::string interface = std::string(kName) + ".Job";
    auto answer = impl_->call(job, "org.freedesktop.DBus.Properties", "GetAll", [&](auto* m) {
        return sd_bus_message_append(m, "s", interface.c_str()) >= 0;
    });
    auto known = impl_->jobs.find(job);
    bool seen_end = known != impl_->jobs.end() && known->second.finished;
    if (!answer.ok()) {
        if (seen_end) return known->second;
        if (answer.error().code() == ErrorCode::daemon_unreachable) {
            // Gone between its promise and this question: the job is known by its number only.
            JobView& view = impl_->jobs[job];
            view.object = job;
            view.id = std::strtoull(job.c_str() + job.rfind('/') + 1, nullptr, 10);
            view.daemon_gone = true;
            return view;
        }
        return no_such_job(std::move(answer).error(), job);
    }
    Dict dict;
    std::map<std::string, Dict> nested;
    if (!read_dict(answer->get(), dict, &nested)) return garbled();
    JobView& view = impl_->jobs[job];
    view.object = job;
    update(view, dict);
    if (auto details = nested.find("Details"); details != nested.end() && !details->second.empty())
        view.details = details->second;
    if (view.state == "done") view.finished = true;
    if (impl_->daemon_gone && !view.finished) view.daemon_gone = true;
    return view;
}

const JobView& Client::view(const std::string& job) const {
    return impl_->jobs.at(job);
}

void Client::forget(const std::string& job) {
    impl_->jobs.erase(job);
}

WaitEnd Client::wait(std::chrono::milliseconds most, int interrupt_fd) {
    auto deadline = std::chrono::steady_clock::now() + most;
    impl_->changed = false;
    while (true) {
        int r = 0;
        while ((r = sd_bus_process(impl_->bus.get(), nullptr)) > 0) {
        }
        if (r < 0 && !impl_->bus_gone) {
            impl_->bus_gone = true;
            impl_->lost();
        }
        if (impl_->changed) return WaitEnd::changed;
        auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return WaitEnd::timeout;
        int events = sd_bus_get_events(impl_->bus.get());
        struct pollfd fds[2] = {
            {sd_bus_get_fd(impl_->bus.get()), static_cast<short>(events < 0 ? 0 : events), 0},
            {interrupt_fd, POLLIN, 0}};
        r = ::poll(fds, 2, static_cast<int>(std::min<std::int64_t>(left.count() + 1, 1'000'000)));
        if (r > 0 && (fds[1].revents & POLLIN) != 0) return WaitEnd::interrupted;
    }
}

}  // namespace backup
