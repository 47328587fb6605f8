#include "daemon/jobs/lifecycle.h"

#include <algorithm>

namespace backup {

namespace {

JobOutcome failed(Error error) {
    JobOutcome outcome;
    outcome.error = std::move(error);
    return outcome;
}

std::string name_of(const Revision& revision) {
    return revision.tags.set + "/" + std::to_string(revision.tags.number);
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

Result<std::vector<RevisionId>> named_revisions(const std::vector<Revision>& revisions,
                                                const ForgetTask& task) {
    const SetOnHost on_host{task.set.id, host_of(task.set)};
    std::vector<RevisionId> ids;
    for (const std::string& text : task.revisions) {
        Revision revision = TRY(resolve_revision(revisions, on_host, text));
        if (!belongs_to(revision, on_host))
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "revision " + revision.id().short_hex() + " is not one of set '" +
                             task.set.id + "' on this machine: it is left alone");
        if (revision.tags.is_pinned)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         name_of(revision) + " is pinned: `backupctl unpin " + name_of(revision) +
                             "` first; nothing was forgotten");
        ids.push_back(revision.id());
    }
    return ids;
}

Result<JobOutcome> forget(RepositoryPool& pool, const Clock& clock, const ForgetTask& task,
                          JobContext& job) {
    RepositoryHandle opened = TRY(pool.open(task.set.repository));
    Repository& repository = *opened->repository;
    const std::vector<Revision> revisions = all_revisions(TRY(repository.list_revisions()));
    JobOutcome outcome;
    std::vector<RevisionId> ids;
    std::uint64_t kept = 0;
    if (task.by_policy) {
        for (const RetentionDecision& decision :
             plan_retention(revisions, task.set, clock.now(), task.frozen)) {
            const std::string name = task.set.id + "/" + std::to_string(decision.item.number);
            outcome.findings.push_back(
                {clock.now(), "finding", "info", name, "",
                 decision.keep ? "kept: " + joined(decision.rules) : "forgotten: no rule keeps it"});
            if (decision.keep)
                ++kept;
            else
                ids.push_back(decision.item.id);
        }
    } else {
        ids = TRY(named_revisions(revisions, task));
    }
    if (!ids.empty()) {
        ReviseTask revise{.repository = task.set.repository,
                          .set = task.set,
                          .revisions = ids,
                          .change = {},
                          .deleting = deleting_of(*opened, task.repository),
                          .tracker = task.tracker};
        revise.change.trash = std::optional(clock.now());
        TRY(revise_revisions(repository, revise, job.stop));
    }
    outcome.counts = {{"forgotten", ids.size()}, {"kept", kept}};
    job.message(LogLevel::info, "moved " + std::to_string(ids.size()) +
                                    (ids.size() == 1 ? " revision" : " revisions") +
                                    " of set '" + task.set.id + "' to the trash");
    return outcome;
}

}  // namespace

std::vector<RetentionDecision> plan_retention(const std::vector<Revision>& revisions,
                                              const BackupSet& set, Timestamp now,
                                              const std::string& frozen) {
    const SetOnHost on_host{set.id, host_of(set)};
    std::vector<RetentionItem> items;
    for (const Revision& revision : revisions) {
        if (!belongs_to(revision, on_host) || revision.is_trashed()) continue;
        const Snapshot& snapshot = revision.snapshot();
        items.push_back({.id = revision.id(),
                         .number = revision.tags.number,
                         .time = snapshot.time,
                         .time_text = snapshot.time_text,
                         .is_pinned = revision.tags.is_pinned,
                         .exceptions = revision.tags.exceptions,
                         .tags = revision.tags.others});
    }
    return decide_retention(std::move(items), set.keep, now, frozen);
}

DeletingBackend* deleting_of(const OpenRepository& opened, const RepositoryPolicy& policy) {
    return policy.append_only ? nullptr : opened.storage.deleting;
}

Result<std::vector<RevisedRevision>> revise_revisions(Repository& repository,
                                                      const ReviseTask& task,
                                                      std::stop_token stop) {
    auto revised =
        TRY(revise(repository, task.deleting, task.revisions, task.change, std::move(stop)));
    if (task.tracker != nullptr)
        for (const RevisedRevision& one : revised)
            if (one.before != one.after.id)
                task.tracker->revision_rewritten(task.set.id, one.before, one.after.id);
    return revised;
}

JobBody forget_body(RepositoryPool& pool, const Clock& clock, ForgetTask task) {
    return [&pool, &clock, task = std::move(task)](JobContext& job) {
        auto outcome = forget(pool, clock, task, job);
        return outcome.ok() ? std::move(*outcome) : failed(std::move(outcome).error());
    };
}

}  // namespace backup
