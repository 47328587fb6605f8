#include "daemon/ipc/set_object.h"

#include <algorithm>
#include <array>

#include <systemd/sd-bus.h>
#include <unistd.h>

#include "common/path.h"
#include "daemon/ipc/past_sight.h"
#include "daemon/ipc/revisions.h"
#include "daemon/ipc/tracking_view.h"
#include "daemon/jobs/checkpoints.h"
#include "daemon/jobs/last_good.h"
#include "daemon/jobs/set_limits.h"
#include "daemon/jobs/tasks.h"

namespace backup {

namespace {

// What a run may be begun by; revisions of other kinds, which are treated otherwise, are not made
// by runs of a set.
constexpr std::array kTriggers = {"change", "schedule", "catchup", "user", "resume"};

struct Listed {
    Page page;
    std::optional<wire::Dict> incomplete;
};

std::uint64_t usec(const std::optional<Timestamp>& time) {
    return time ? to_usec(*time) : 0;
}

}  // namespace

Error explain_no_path(Error error, const FoundRevision& found, const std::string& path) {
    if (error.code() != ErrorCode::no_such_path) return error;
    const auto known = found.repository->repository->list_revisions();
    if (!known.ok()) return error;
    auto good = last_good(*found.repository->repository, all_revisions(*known), found.asked,
                          found.revision, path);
    if (!good.ok()) return error;
    const std::string where = name_of(found.revision, found.asked);
    if (*good) {
        const std::string name = name_of(**good, found.asked);
        return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                     printable(path) + " could not be read when " + where + " was made; " + name +
                         " is the last revision that has it: --revision " + name);
    }
    if (!is_missing(found.revision, path)) return error;
    return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                 printable(path) + " could not be read when " + where +
                     " was made, and no earlier revision has it");
}

Result<FoundRevision> find_revision(RepositoryPool& pool, const BackupSet& set,
                                    const std::string& text) {
    RepositoryHandle opened = TRY(pool.open(set.repository));
    std::vector<Revision> revisions = all_revisions(TRY(opened->repository->list_revisions()));
    Revision found = TRY(resolve_revision(revisions, line_of(set), text));
    return FoundRevision{std::move(opened), std::move(found), line_of(set)};
}

Result<FoundRevision> find_revision(RepositoryPool& pool, const BackupSet& set,
                                    const std::string& text, const AccessRule& rule) {
    FoundRevision found = TRY(find_revision(pool, set, text));
    if (rule.sees_all()) return found;
    if (!is_of_this_machine(found.revision.snapshot(), set))
        return Error(ErrorKind::denied, ErrorCode::access_denied,
                     "revisions of other machines are for administrators");
    if (!TRY(begins_at_root(*found.repository->repository, found.revision.snapshot())))
        return Error(ErrorKind::denied, ErrorCode::access_denied,
                     "a revision that does not say what is above its files is for administrators");
    return found;
}

Result<FoundNode> find_path(const FoundRevision& found, const std::string& path,
                            const AccessRule& rule) {
    auto node =
        find_node(*found.repository->repository, found.revision.snapshot().tree, path, rule);
    if (!node.ok() && rule.sees_all()) return explain_no_path(std::move(node).error(), found, path);
    return node;
}

Result<> may_open(const FoundNode& node, const AccessRule& rule) {
    if (rule.may_open(node.node)) return {};
    return Error(ErrorKind::denied, ErrorCode::access_denied,
                 "you could not have read " + printable(node.path) + " then");
}

namespace {

// What could not be read, and for each path the revision that has it last ("": none).
void add_missing(wire::Dict& details, const FoundRevision& found) {
    std::vector<wire::FileName> paths;
    std::vector<std::string> good;
    Repository& repository = *found.repository->repository;
    std::vector<Revision> revisions;
    if (!found.revision.tags.missing.empty())
        if (auto known = repository.list_revisions(); known.ok())
            revisions = all_revisions(std::move(*known));
    for (const std::string& path : found.revision.tags.missing) {
        auto version = last_good(repository, revisions, found.asked, found.revision, path);
        paths.push_back({path});
        good.push_back(version.ok() && *version ? name_of(**version, found.asked) : "");
    }
    details.push_back({"missing", std::move(paths)});
    details.push_back({"last-good", std::move(good)});
    details.push_back({"more-missing", found.revision.tags.more_missing});
}

// Of the paths that the revision was made of, those that he could have seen.
Result<wire::Dict> outline_for(const FoundRevision& found, const AccessRule& rule) {
    TRY(found.repository->repository->refresh_index({}));
    std::vector<wire::FileName> paths;
    for (const std::string& path : found.revision.snapshot().paths) {
        auto node = find_path(found, path, rule);
        if (node.ok())
            paths.push_back({path});
        else if (node.error().code() != ErrorCode::no_such_path)
            return std::move(node).error();
    }
    wire::Dict outline = revision_outline(found.revision);
    outline.push_back({"paths", std::move(paths)});
    return outline;
}

}  // namespace

SetObject::SetObject(Served& served, std::string id)
    : served_(served), id_(std::move(id)), path_(wire::set_path(id_)) {}

const Interface& SetObject::interface() {
    static Interface table("Set");
    static bool once = [] {
        const auto browse = Access::browse, start = Access::start_backup, manage = Access::manage,
                   remove = Access::remove;
        using Self = SetObject;
        table
            .method("GetConfiguration", "", "", "a{sv}t", "config,generation", manage,
                    &Self::get_configuration)
            .method("Configure", "a{sv}ta{sv}", "changes,generation,options", "t", "new_generation",
                    manage, &Self::configure)
            .method("StartBackup", "a{sv}", "options", "o", "job", start, &Self::start_backup)
            .method("ExplainSchedule", "a{sv}", "options", "a(sbs)", "conditions", Access::anyone,
                    &Self::explain_schedule)
            .method("GetSchedule", "a{sv}", "options", "aa{sv}", "conditions", Access::anyone,
                    &Self::get_schedule)
            .method("ListRevisions", "a{sv}", "options", "aa{sv}s", "revisions,next_page", browse,
                    &Self::list_revisions)
            .method("GetRevision", "sa{sv}", "revision,options", "a{sv}", "details", browse,
                    &Self::get_revision)
            .method("ListFiles", "saya{sv}", "revision,path,options", "h", "stream", browse,
                    &Self::list_files)
            .method("ListVersions", "aya{sv}", "path,options", "h", "stream", browse,
                    &Self::list_versions)
            .method("Find", "aya{sv}", "pattern,options", "h", "stream", browse, &Self::find)
            .method("Diff", "ssaya{sv}", "from,to,path,options", "h", "stream", browse, &Self::diff)
            .method("OpenFile", "saya{sv}", "revision,path,options", "hoa{sv}",
                    "content,job,attributes", browse, &Self::open_file)
            .method("ExportTree", "saaya{sv}", "revision,paths,options", "ho", "stream,job", browse,
                    &Self::export_tree)
            .method("Verify", "asa{sv}", "revisions,options", "o", "job", start, &Self::verify)
            .method("Drill", "aaya{sv}", "paths,options", "o", "job", start, &Self::drill)
            .method("PinRevision", "sba{sv}", "revision,pinned,options", "s", "id", manage,
                    &Self::pin_revision)
            .method("DeleteRevisions", "asa{sv}", "revisions,options", "o", "job", remove,
                    &Self::delete_revisions)
            .method("PlanRetention", "a{sv}", "options", "h", "stream", manage,
                    &Self::plan_retention)
            .method("ApplyRetention", "a{sv}", "options", "o", "job", remove,
                    &Self::apply_retention)
            .method("RestoreTrash", "asa{sv}", "revisions,options", "u", "restored", manage,
                    &Self::restore_trash)
            .method("ListQueue", "a{sv}", "options", "h", "stream", manage, &Self::list_queue)
            .method("GetTracking", "a{sv}", "options", "a{sv}aa{sv}", "tracking,volumes", manage,
                    &Self::get_tracking)
            .method("GetGuard", "a{sv}", "options", "aa{sv}", "questions", manage, &Self::get_guard)
            .method("AnswerGuard", "sa{sv}", "answer,options", "o", "job", manage,
                    &Self::answer_guard)
            .signal("RevisionCommitted", "so", "revision,job")
            .signal("GuardAsked", "s", "kind")
            .property("Id", "s", Changes::constant)
            .property("Title", "s")
            .property("Repository", "s")
            .property("OwnerUid", "u")
            .property("Enabled", "b")
            .property("State", "s")
            .property("Watching", "s")
            .property("Tracking", "s")
            .property("Gaps", "t")
            .property("PendingChanges", "t", Changes::silent)
            .property("PendingBytes", "t", Changes::silent)
            .property("OldestPendingUSec", "t")
            .property("BlockedBy", "as")
            .property("BlockedSinceUSec", "t")
            .property("DeferredSinceUSec", "t")
            .property("Guard", "s")
            .property("GuardSinceUSec", "t")
            .property("LastResult", "s")
            .property("LastAttemptUSec", "t")
            .property("LastSuccessUSec", "t")
            .property("ProtectedUntilUSec", "t")
            .property("UnprotectedItems", "t")
            .property("UnprotectedJob", "t")
            .property("LastFullUSec", "t")
            .property("FullDifferences", "t")
            .property("LimitsHit", "as")
            .property("LimitsNear", "as")
            .property("LeftOutItems", "t")
            .property("LeftOutBytes", "t")
            .property("LastDrillUSec", "t")
            .property("LastDrillResult", "s")
            .property("LastDrillJob", "t")
            .property("NextRunUSec", "t")
            .property("LatestRevision", "s")
            .property("RevisionCount", "u");
        return true;
    }();
    (void)once;
    return table;
}

wire::Value SetObject::property(std::string_view name) const {
    auto found = served_.service.find_set(id_);
    BackupSet gone;
    const BackupSet& set = found.ok() ? **found : gone;
    SetStatus status = served_.service.set_status(id_);
    if (name == "Id") return id_;
    if (name == "Title") return set.title;
    if (name == "Repository") return set.repository;
    if (name == "OwnerUid") return std::uint32_t{getuid()};
    if (name == "Enabled") return set.enabled;
    if (name == "State") return served_.service.set_state(set);
    if (name == "Watching") return watching_word(served_.tracking(id_));
    if (name == "Tracking") return to_string(served_.tracking(id_).state);
    if (name == "Gaps") return served_.tracking(id_).gaps;
    if (name == "PendingChanges") return served_.tracking(id_).pending;
    if (name == "PendingBytes") return served_.tracking(id_).pending_bytes;
    if (name == "OldestPendingUSec") return usec(served_.tracking(id_).oldest);
    if (name == "Guard") return guard_word();
    if (name == "GuardSinceUSec") return guard_since();
    if (name == "BlockedBy") return served_.service.blocked_by(set);
    if (name == "BlockedSinceUSec") return blocked_since(set);
    if (name == "DeferredSinceUSec") return usec(served_.service.verdict(set).deferred_since);
    if (name == "LastResult") return status.record.last_result;
    if (name == "LastAttemptUSec") return to_usec(status.record.last_attempt);
    if (name == "LastSuccessUSec") return to_usec(status.record.last_success);
    if (name == "LastFullUSec") return to_usec(status.record.last_full);
    if (name == "FullDifferences") return status.record.unexplained;
    if (name == "UnprotectedItems") return status.record.unprotected;
    if (name == "UnprotectedJob") return status.record.unprotected_job;
    if (name == "LeftOutItems") return status.record.left_out_items;
    if (name == "LeftOutBytes") return status.record.left_out_bytes;
    if (name == "LimitsHit" || name == "LimitsNear") {
        std::vector<std::string> names;
        for (const LimitNow& limit :
             limits_over(set, status.record, status.revision_count, served_.service.clock().now()))
            if (limit.is_hard == (name == "LimitsHit")) names.push_back(limit.name);
        return names;
    }
    if (name == "LastDrillUSec") return to_usec(status.record.last_drill);
    if (name == "LastDrillResult") return status.record.drill_result;
    if (name == "LastDrillJob") return status.record.drill_job;
    if (name == "ProtectedUntilUSec") {
        auto tracked = served_.tracking(id_).protected_until;
        return to_usec(tracked ? *tracked : status.record.protected_until);
    }
    if (name == "NextRunUSec") return usec(served_.service.next_run_of(set));
    if (name == "LatestRevision") return status.record.latest_revision;
    return status.revision_count;  // RevisionCount
}

Result<> SetObject::get_configuration(std::shared_ptr<Call> call) {
    const BackupSet* set = TRY(served_.service.find_set(id_));
    call->reply({set_configuration(*set), generation_of(*set)});
    return {};
}

Result<> SetObject::configure(std::shared_ptr<Call> call) {
    wire::DictReader changes(TRY(call->dict()));
    std::uint64_t generation = TRY(call->u64());
    wire::DictReader options(TRY(call->dict()));
    bool dry_run = options.boolean("dry-run").value_or(false);
    TRY(options.finish());
    const BackupSet* current = TRY(served_.service.find_set(id_));
    if (generation != generation_of(*current))
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "set '" + id_ + "' was changed meanwhile: read it again");
    BackupSet set = *current;
    TRY(change_set(set, changes));
    TRY(changes.finish());
    served_.service.change_configuration(
        [&configuration = served_.service.configuration(), set, dry_run] {
            return dry_run ? configuration.check_set(set) : configuration.write_set(set);
        },
        [call, set](Result<> done) {
            if (!done.ok()) return call->fail(done.error());
            call->reply({generation_of(set)});
        });
    return {};
}

Result<> SetObject::start_backup(std::shared_ptr<Call> call) {
    wire::DictReader options(TRY(call->dict()));
    std::string mode = options.text("mode").value_or("incremental");
    std::string trigger = options.text("trigger").value_or("user");
    std::vector<std::string> ignored = options.texts("ignore").value_or(std::vector<std::string>{});
    if (options.boolean("ignore-conditions").value_or(false)) ignored.push_back("all");
    TRY(options.finish());
    if (mode != "incremental" && mode != "full")
        return invalid_argument("mode: incremental or full");
    if (std::ranges::find(kTriggers, trigger) == kTriggers.end())
        return invalid_argument("trigger: not one of those that runs have");
    if (!call->caller().sees_all && trigger != "user")
        return Error(ErrorKind::denied, ErrorCode::access_denied,
                     "trigger: a run that a person starts is by \"user\"");
    served_.service.start_backup(id_,
                                 {.full = mode == "full",
                                  .trigger = trigger,
                                  .uid = call->uid(),
                                  .ignored = TRY(Ignored::parse(ignored)),
                                  .may_be_put_off = true},
                                 answer_with_job(call));
    return {};
}

Result<> SetObject::list_revisions(std::shared_ptr<Call> call) {
    wire::DictReader options = TRY(call->options());
    RevisionFilter filter = TRY(read_revision_filter(options));
    TRY(options.finish());
    BackupSet set = *TRY(served_.service.find_set(id_));
    const bool sees_all = call->caller().sees_all;
    answer_later(
        served_, call,
        [&service = served_.service, now = served_.service.clock().now(), set, filter,
         sees_all]() -> Result<Listed> {
            RepositoryHandle opened = TRY(service.pool().open(set.repository));
            Repository& repository = *opened->repository;
            const SetOnHost on_host{set.id, host_of(set)};
            std::vector<Revision> revisions = all_revisions(TRY(repository.list_revisions()), now);
            if (!sees_all)
                std::erase_if(revisions, [&](const Revision& revision) {
                    return !is_of_this_machine(revision.snapshot(), set);
                });
            Listed listed;
            listed.page = TRY(backup::list_revisions(std::move(revisions), line_of(set), filter));
            if (!sees_all) return listed;
            if (auto left = find_checkpoint(service.store(), set.id, repository.config().id, now))
                listed.incomplete = incomplete_revision(on_host, *left, filter);
            return listed;
        },
        [sees_all](Call& answer, const Listed& listed) {
            answer.reply_with([&](sd_bus_message* message) {
                return append_page(message, listed.page, listed.incomplete,
                                   sees_all ? &revision_summary : &revision_outline);
            });
        });
    return {};
}

Result<> SetObject::get_revision(std::shared_ptr<Call> call) {
    std::string text = TRY(call->string());
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id_));
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), set, text,
         caller = call->caller()]() -> Result<wire::Dict> {
            const AccessRule rule = rule_for(caller);
            FoundRevision found = TRY(find_revision(pool, set, text, rule));
            if (!rule.sees_all()) return outline_for(found, rule);
            wire::Dict details = revision_details(found.revision);
            add_missing(details, found);
            return details;
        },
        [](Call& answer, wire::Dict details) { answer.reply({std::move(details)}); });
    return {};
}

Result<> SetObject::verify(std::shared_ptr<Call> call) {
    std::vector<std::string> texts = TRY(call->strings());
    wire::DictReader options(TRY(call->dict()));
    double percent = options.real("data-percent").value_or(0);
    TRY(options.finish());
    if (!(percent >= 0 && percent <= 100))
        return invalid_argument("data-percent: between 0 and 100");
    BackupSet set = *TRY(served_.service.find_set(id_));
    auto resolve = [&pool = served_.service.pool(), set,
                    texts]() -> Result<std::vector<RevisionId>> {
        std::vector<RevisionId> ids;
        for (const std::string& text : texts)
            ids.push_back(TRY(find_revision(pool, set, text)).revision.id());
        return ids;
    };
    auto start = [&served = served_, call, set, percent](Call&, std::vector<RevisionId> ids) {
        JobRequest request;
        request.kind = "verify";
        request.set = set.id;
        request.repository = set.repository;
        request.uid = call->uid();
        if (ids.size() == 1) request.revision = ids.front().hex();
        // Administrators may want several; of all others one is enough.
        if (!call->caller().sees_all) request.unique = "verify:" + set.id;
        request.body = check_body(served.service.pool(), {set.repository, std::move(ids), percent});
        request.remember = [](StateStore& store, const JobRecord& record, std::uint64_t) {
            remember_check(store, record);
        };
        served.service.jobs().start(std::move(request), answer_with_job(call));
    };
    answer_later(served_, call, std::move(resolve), std::move(start));
    return {};
}

// What is in a revision is nobody's to try out by name but an administrator's.
Result<> SetObject::drill(std::shared_ptr<Call> call) {
    Service::DrillOptions start;
    for (const std::string& text : TRY(call->file_names())) {
        Path path = TRY(Path::parse(text));
        start.paths.push_back(path.text());
    }
    wire::DictReader options(TRY(call->dict()));
    if (auto files = options.number("files")) {
        if (*files == 0 || *files > kMostDrilled)
            return invalid_argument("files: 1 to " + std::to_string(kMostDrilled));
        start.files = static_cast<std::uint32_t>(*files);
    }
    if (auto bytes = options.number("bytes")) {
        if (*bytes == 0) return invalid_argument("bytes: 1 or more");
        start.bytes = *bytes;
    }
    const std::string trigger = options.text("trigger").value_or("user");
    TRY(options.finish());
    if (std::ranges::find(kTriggers, trigger) == kTriggers.end())
        return invalid_argument("trigger: not one of those that jobs have");
    const bool is_plain = start.paths.empty() && !start.files && !start.bytes;
    if (!is_plain && !call->caller().sees_all)
        return Error(ErrorKind::denied, ErrorCode::access_denied,
                     "what a drill gives back is for administrators to choose");
    served_.service.start_drill(id_, start, trigger, call->uid(), answer_with_job(call));
    return {};
}

Result<> SetObject::list_queue(std::shared_ptr<Call> call) {
    wire::DictReader options(TRY(call->dict()));
    std::uint64_t limit = options.number("limit").value_or(0);
    TRY(options.finish());
    UniqueFd stream =
        TRY(served_.streams.start(call->uid(), QueueListing{served_.tracker(), id_, limit}));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

Result<> SetObject::get_tracking(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    const TrackingStatus status = served_.tracking(id_);
    call->reply_with([&](sd_bus_message* message) { return append_tracking(message, status); });
    return {};
}

}  // namespace backup
