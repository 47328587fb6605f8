// What the bus objects share, and the helpers they have in common. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "common/log.h"
#include "daemon/access/told_error.h"
#include "daemon/ipc/bus.h"
#include "daemon/ipc/stream.h"
#include "daemon/jobs/catalog.h"
#include "daemon/jobs/service.h"
#include "daemon/tracking/tracker.h"

namespace backup {

struct Served {
    Bus& bus;
    Service& service;
    StreamSet& streams;
    bool on_system_bus() const { return bus.scope() == Scope::system; }
    // nullptr: changes are not tracked.
    Tracker* tracker() const { return service.tracker(); }
    TrackingStatus tracking(const std::string& set) const {
        Tracker* known = tracker();
        return known != nullptr ? known->status(set) : TrackingStatus{};
    }
};

// A function of its own: in a lambda clang 14 looks at both branches.
template <typename T, typename Reply>
void reply_with(Result<T>& result, Call& call, Reply& reply) {
    if constexpr (std::is_void_v<T>)
        reply(call);
    else
        reply(call, std::move(*result));
}

// Runs `work` (returning Result<T>) on an I/O thread and answers the call with what `reply` makes
// of the value.
template <typename Work, typename Reply>
void answer_later(Served& served, std::shared_ptr<Call> call, Work work, Reply reply) {
    served.service.io().run(std::move(work), [call, reply = std::move(reply)](auto result) mutable {
        if (!result.ok()) return call->fail(result.error());
        reply_with(result, *call, reply);
    });
}

// A stream that anybody may ask for: how it fails is told as far as it is the caller's business.
template <typename Body>
Result<UniqueFd> start_stream(Served& served, const Call& call, Body body) {
    return served.streams.start(
        call.uid(),
        [caller = call.caller(), body = std::move(body)](LineWriter& lines) -> Result<> {
            Result<> done = body(lines);
            if (done.ok()) return done;
            const Error told = told_to(caller, done.error());
            if (told.message() != done.error().message())
                log_warning("a stream for uid " + std::to_string(caller.uid) + ": " +
                            done.error().message());
            return told;
        });
}

// Each path is looked for before the call is answered, by threads that all calls share.
constexpr std::size_t kMostPaths = 1000;  // of people other than root
inline Result<> check_count(const Call& call, const std::vector<std::string>& paths) {
    if (call.caller().sees_all || paths.size() <= kMostPaths) return {};
    return Error(ErrorKind::conflict, ErrorCode::limits_exceeded,
                 "at most " + std::to_string(kMostPaths) +
                     " paths at once: name the directories that have them");
}

inline wire::ObjectPath job_object(const Job& job) {
    return {wire::job_path(job.id())};
}

// Answers with the job's path, or with why there is none.
inline std::function<void(Result<const Job*>)> answer_with_job(std::shared_ptr<Call> call) {
    return [call](Result<const Job*> job) {
        if (!job.ok()) return call->fail(job.error());
        call->reply({job_object(**job)});
    };
}

inline std::function<void(Result<>)> answer_when_done(std::shared_ptr<Call> call) {
    return [call](Result<> done) {
        if (!done.ok()) return call->fail(done.error());
        call->reply();
    };
}

inline Error invalid_argument(std::string message) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, std::move(message));
}

}  // namespace backup
