// What is asked about sets, and the answers.
#include <algorithm>

#include "daemon/guard/guard.h"
#include "daemon/jobs/guarded_run.h"
#include "daemon/jobs/lifecycle.h"
#include "daemon/jobs/service.h"

namespace backup {

namespace {

struct AnswerTask {
    RepositoryPool& pool;
    GuardBook& book;
    const Clock& clock;
    Tracker* tracker;
    RepositoryPolicy repository;
    BackupSet set;
    bool approve;

    // True: the set is to be backed up now.
    Result<bool> operator()() const {
        const GuardRecord record = book.of(set.id);
        if (!record.is_open())
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "nothing is asked about set '" + set.id + "'");
        if (record.change.is_open()) TRY(settle(record.change));
        const bool may_go_on = record.source.is_open() || record.change.answer == "rejected";
        if (approve && record.source.is_open() && tracker != nullptr)
            tracker->accept_absence(set.id);
        TRY(book.change(set.id, [&](GuardRecord& now) {
            now = approve ? backup::approve(now, clock.now()) : backup::reject(now, clock.now());
        }));
        // A run that was reviewed before the answer may have made its revision since.
        if (!approve && record.change.is_open()) TRY(settle(record.change));
        return approve && may_go_on;
    }

    // Approved: the revision from before need not be pinned any more. Rejected: those from after it
    // go to the trash, so that the newest one is the clean one.
    Result<> settle(const GuardQuestion& change) const {
        const bool was_rejected = change.answer == "rejected";
        if (approve && (was_rejected || !change.pins)) return {};
        RepositoryHandle opened = TRY(pool.open(set.repository));
        const SetOnHost on_host = line_of(set);
        const auto revisions = all_revisions(TRY(opened->repository->list_revisions()));
        const auto clean = clean_revision(revisions, on_host, change);
        ReviseTask task{set, {}, {}, deleting_of(*opened, repository), tracker};
        if (approve) {
            if (clean && clean->tags.is_pinned) task.revisions.push_back(clean->id());
            task.change.pin = false;
        } else {
            if (!clean)
                return Error(ErrorKind::conflict, ErrorCode::conflict,
                             "revision " + std::to_string(change.clean_number) +
                                 " from before the change is not there any more: nothing was "
                                 "moved to the trash");
            if (clean->is_trashed())
                return Error(ErrorKind::conflict, ErrorCode::conflict,
                             "revision " + std::to_string(change.clean_number) +
                                 " from before the change is in the trash: `backupctl trash "
                                 "restore " +
                                 clean->id().short_hex() +
                                 "`, then reject; nothing was moved to the trash");
            task.revisions = made_since(revisions, on_host, *clean);
            task.change.trash = std::optional(clock.now());
        }
        if (!task.revisions.empty()) TRY(revise_revisions(*opened->repository, task, {}));
        return {};
    }
};

}  // namespace

void Service::answer_guard(const std::string& id, bool approve, std::uint32_t uid,
                           std::function<void(Result<const Job*>)> done) {
    auto set = find_set(id);
    if (!set.ok()) return done(std::move(set).error());
    auto repository = policy_->repositories.find((*set)->repository);
    if (repository == policy_->repositories.end())
        return done(Error(ErrorKind::not_found, ErrorCode::no_such_repository,
                          "there is no repository '" + (*set)->repository + "'"));
    AnswerTask task{pool_, guards_, clock_, tracker_.get(), repository->second, **set, approve};
    io_.run(std::move(task),
            [this, id, uid, name = repository->first, done = std::move(done)](Result<bool> runs) {
                if (!runs.ok()) return done(std::move(runs).error());
                refresh_repository(name);
                if (!*runs) return done(nullptr);
                start_backup(id, {.uid = uid}, done);
            });
}

// Each question is told once; what is shown follows.
void Service::guard_changed(const std::string& set) {
    const GuardRecord now = guards_.of(set);
    const GuardRecord before = std::exchange(guards_told_[set], now);
    const auto is_new = [](const GuardQuestion& question, const GuardQuestion& told) {
        return question.is_open() && (question.kind != told.kind || question.since != told.since);
    };
    for (auto [question, told] :
         {std::pair{&now.source, &before.source}, std::pair{&now.change, &before.change},
          std::pair{&now.line, &before.line}}) {
        if (!is_new(*question, *told)) continue;
        events_.add(LogLevel::warning, "set '" + set + "' waits for an answer (" + question->kind +
                                           "): backupctl status " + set);
        if (listener_ != nullptr) listener_->guard_asked(set, question->kind);
    }
    if (listener_ != nullptr) {
        listener_->set_changed(set);
        listener_->any_changed();
    }
    tick_later();
}

}  // namespace backup
