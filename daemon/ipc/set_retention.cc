// What stays and what goes: pins, rules, the trash.
#include <systemd/sd-bus.h>

#include "daemon/ipc/revisions.h"
#include "daemon/ipc/set_object.h"
#include "daemon/jobs/lifecycle.h"

namespace backup {

namespace {

// What the rules would do, revision by revision.
struct RetentionListing {
    RepositoryPool& pool;
    const Clock& clock;
    BackupSet set;
    const GuardBook& guards;
    const Tracker* tracker;

    Result<> operator()(LineWriter& lines) const {
        RepositoryHandle opened = TRY(pool.open(set.repository));
        const auto revisions = all_revisions(TRY(opened->repository->list_revisions()));
        JsonLine line;
        for (const RetentionDecision& decision : plan_retention(
                 revisions, set, clock.now(), frozen_now(set, guards, tracker, lines.stop()))) {
            std::string rules;
            for (const std::string& rule : decision.rules)
                rules += (rules.empty() ? "" : ", ") + rule;
            line.text("id", decision.item.id.hex())
                .number("number", decision.item.number)
                .number("time", to_usec(decision.item.time))
                .boolean("keep", decision.keep)
                .text("rules", rules);
            TRY(lines.write(line));
        }
        return {};
    }
};

Result<RepositoryPolicy> repository_of(Served& served, const BackupSet& set) {
    const auto& all = served.service.policy().repositories;
    auto found = all.find(set.repository);
    if (found != all.end()) return found->second;
    return Error(ErrorKind::not_found, ErrorCode::no_such_repository,
                 "there is no repository '" + set.repository + "'");
}

void start_forgetting(Served& served, ForgetTask task, const std::shared_ptr<Call>& call) {
    JobRequest request;
    request.kind = "forget";
    request.set = task.set.id;
    request.repository = task.set.repository;
    request.mode = task.by_policy ? "policy" : "named";
    request.uid = call->uid();
    request.body = forget_body(served.service.pool(), served.service.clock(), std::move(task));
    served.service.jobs().start(std::move(request), answer_with_job(call));
}

}  // namespace

Result<> SetObject::pin_revision(std::shared_ptr<Call> call) {
    std::string text = TRY(call->string());
    bool pinned = TRY(call->boolean());
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id_));
    auto work = [&pool = served_.service.pool(), set, text, pinned,
                 repository = TRY(repository_of(served_, set)),
                 tracker = served_.tracker()]() -> Result<std::string> {
        FoundRevision found = TRY(find_revision(pool, set, text));
        ReviseTask task{set,
                        {found.revision.id()},
                        {.pin = pinned, .trash = std::nullopt},
                        deleting_of(*found.repository, repository),
                        tracker};
        if (!belongs_to(found.revision, line_of(set))) task.tracker = nullptr;
        // A pin takes it out of the trash: it is to stay.
        if (pinned) task.change.trash = std::optional<Timestamp>();
        auto revised = TRY(revise_revisions(*found.repository->repository, task, {}));
        return revised.front().after.id.hex();
    };
    answer_later(
        served_, call, std::move(work),
        [&service = served_.service, name = set.repository](Call& answer, std::string revision) {
            service.refresh_repository(name);
            answer.reply({revision});
        });
    return {};
}

Result<> SetObject::delete_revisions(std::shared_ptr<Call> call) {
    std::vector<std::string> revisions = TRY(call->strings());
    TRY(call->no_options());
    if (revisions.empty()) return invalid_argument("revisions: none are named");
    BackupSet set = *TRY(served_.service.find_set(id_));
    ForgetTask task{.repository = TRY(repository_of(served_, set)),
                    .set = set,
                    .by_policy = false,
                    .revisions = std::move(revisions),
                    .guards = nullptr,
                    .tracker = served_.tracker()};
    start_forgetting(served_, std::move(task), call);
    return {};
}

Result<> SetObject::apply_retention(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id_));
    ForgetTask task{.repository = TRY(repository_of(served_, set)),
                    .set = set,
                    .by_policy = true,
                    .revisions = {},
                    .guards = &served_.service.guards(),
                    .tracker = served_.tracker()};
    start_forgetting(served_, std::move(task), call);
    return {};
}

Result<> SetObject::plan_retention(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id_));
    RetentionListing listing{served_.service.pool(), served_.service.clock(), set,
                             served_.service.guards(), served_.tracker()};
    UniqueFd stream = TRY(served_.streams.start(call->uid(), std::move(listing)));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

Result<> SetObject::restore_trash(std::shared_ptr<Call> call) {
    std::vector<std::string> texts = TRY(call->strings());
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id_));
    auto work = [&pool = served_.service.pool(), set, texts,
                 repository = TRY(repository_of(served_, set)),
                 tracker = served_.tracker()]() -> Result<std::uint32_t> {
        RepositoryHandle opened = TRY(pool.open(set.repository));
        const auto revisions = all_revisions(TRY(opened->repository->list_revisions()));
        ReviseTask task{set, {}, {}, deleting_of(*opened, repository), tracker};
        task.change.trash = std::optional<Timestamp>();
        for (const std::string& text : texts) {
            Revision found = TRY(resolve_revision(revisions, line_of(set), text));
            if (found.is_trashed()) task.revisions.push_back(found.id());
        }
        if (!task.revisions.empty()) TRY(revise_revisions(*opened->repository, task, {}));
        return static_cast<std::uint32_t>(task.revisions.size());
    };
    answer_later(
        served_, call, std::move(work),
        [&service = served_.service, name = set.repository](Call& answer, std::uint32_t restored) {
            service.refresh_repository(name);
            answer.reply({restored});
        });
    return {};
}

}  // namespace backup
