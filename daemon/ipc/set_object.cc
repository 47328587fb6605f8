#include "daemon/ipc/set_object.h"

#include <algorithm>
#include <array>

#include <systemd/sd-bus.h>
#include <unistd.h>

#include "daemon/ipc/revisions.h"
#include "daemon/ipc/tracking_view.h"
#include "daemon/jobs/lifecycle.h"
#include "daemon/jobs/tasks.h"
#include "daemon/policy/keep_rules.h"

namespace backup {

namespace {

constexpr std::array kTriggers = {"change", "schedule",    "catchup", "user",
                                  "resume", "pre-restore", "drill"};

// What ends a listing early without being a failure.
Error enough() {
    return Error(ErrorKind::cancelled, "enough");
}

std::string_view type_letter(const Node& node) {
    switch (node.type) {
        case NodeType::file:
            return "f";
        case NodeType::dir:
            return "d";
        case NodeType::symlink:
            return "l";
        case NodeType::dev:
            return "b";
        case NodeType::chardev:
            return "c";
        case NodeType::fifo:
            return "p";
        case NodeType::socket:
            return "s";
        case NodeType::irregular:
        case NodeType::unknown:
            return "?";
    }
    return "?";
}

void put_node(JsonLine& line, std::string_view relative, const Node& node) {
    line.name("path", relative).text("type", type_letter(node)).number("size", node.size);
    if (node.mtime.seconds > INT64_MAX / 1'000'000'000 ||
        node.mtime.seconds < INT64_MIN / 1'000'000'000) {
        line.signed_number("mtime", node.mtime.seconds);  // too far away for nanoseconds in 64 bits
    } else {
        line.signed_number("mtime_ns", node.mtime.seconds * 1'000'000'000 + node.mtime.nanoseconds);
    }
    line.number("mode", node.unix_mode() & 07777)
        .number("uid", node.uid)
        .name("user", node.user)
        .number("gid", node.gid)
        .name("group", node.group);
    if (node.type == NodeType::symlink) line.name("target", node.link_target);
    line.number("links", node.links).number("inode", node.inode);
}

std::string_view relative_to(std::string_view base, std::string_view path) {
    if (path == base) return {};
    path.remove_prefix(std::min(path.size(), base.size()));
    while (path.starts_with('/')) path.remove_prefix(1);
    return path;
}

struct Listing {
    RepositoryPool& pool;
    BackupSet set;
    std::string revision, path;
    bool recursive;
    std::uint64_t limit;

    Result<> operator()(LineWriter& lines) const {
        FoundRevision found = TRY(find_revision(pool, set, revision));
        Repository& repository = *found.repository->repository;
        TRY(repository.refresh_index(lines.stop()));
        FoundNode start = TRY(find_node(repository, found.revision.snapshot().tree, path));
        JsonLine line;
        auto done = visit_nodes(
            repository, start, recursive,
            [&](const std::string& at, const Node& node) -> Result<> {
                if (limit != 0 && lines.count() >= limit) return enough();
                put_node(line, relative_to(start.path, at), node);
                return lines.write(line);
            },
            lines.stop());
        if (!done.ok() && limit != 0 && lines.count() >= limit) return {};
        return done;
    }
};

// What the rules would do, revision by revision.
struct RetentionListing {
    RepositoryPool& pool;
    const Clock& clock;
    BackupSet set;
    std::string frozen;

    Result<> operator()(LineWriter& lines) const {
        RepositoryHandle opened = TRY(pool.open(set.repository));
        const auto revisions = all_revisions(TRY(opened->repository->list_revisions()));
        JsonLine line;
        for (const RetentionDecision& decision :
             plan_retention(revisions, set, clock.now(), frozen)) {
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

std::uint64_t usec(const std::optional<Timestamp>& time) {
    return time ? to_usec(*time) : 0;
}

}  // namespace

Result<FoundRevision> find_revision(RepositoryPool& pool, const BackupSet& set,
                                    const std::string& text) {
    RepositoryHandle opened = TRY(pool.open(set.repository));
    std::vector<Revision> revisions = all_revisions(TRY(opened->repository->list_revisions()));
    Revision found = TRY(resolve_revision(revisions, {set.id, host_of(set)}, text));
    return FoundRevision{std::move(opened), std::move(found)};
}

wire::Dict set_configuration(const BackupSet& set) {
    std::vector<wire::FileName> paths;
    for (const Path& path : set.paths) paths.push_back({path.text()});
    return {
        {"paths", std::move(paths)},
        {"repository", set.repository},
        {"exclude", set.exclude.patterns},
        {"title", set.title},
        {"cachedir-tag", set.exclude.cachedir_tag},
        {"nodump", set.exclude.nodump},
        {"one-file-system", set.exclude.other_filesystems},
        {"larger-than", set.exclude.larger_than},
        {"interval-usec", set.interval_seconds * 1'000'000},
        {"automatic", set.automatic},
        {"settle-usec", set.settle_ms * 1'000},
        {"min-interval-usec", set.min_interval_seconds * 1'000'000},
        {"enabled", set.enabled},
        {"keep", format_keep_rules(set.keep)},
    };
}

Result<> change_set(BackupSet& set, wire::DictReader& changes) {
    if (auto paths = changes.file_names("paths")) {
        set.paths.clear();
        for (const std::string& text : *paths) {
            auto path = Path::parse(text);
            if (!path.ok())
                return invalid_argument("path " + printable(text) + ": " + path.error().message());
            set.paths.push_back(std::move(*path));
        }
    }
    if (auto value = changes.text("repository")) set.repository = *value;
    if (auto value = changes.texts("exclude")) {
        set.exclude.patterns = *value;
        set.exclude.origins.clear();
    }
    if (auto value = changes.text("title")) set.title = *value;
    if (auto value = changes.boolean("cachedir-tag")) set.exclude.cachedir_tag = *value;
    if (auto value = changes.boolean("nodump")) set.exclude.nodump = *value;
    if (auto value = changes.boolean("one-file-system")) set.exclude.other_filesystems = *value;
    if (auto value = changes.number("larger-than")) set.exclude.larger_than = *value;
    const auto rounded_up = [](std::uint64_t usec, std::uint64_t unit) {
        return usec / unit + (usec % unit != 0 ? 1 : 0);
    };
    if (auto value = changes.number("interval-usec"))
        set.interval_seconds = rounded_up(*value, 1'000'000);
    if (auto value = changes.boolean("automatic")) set.automatic = *value;
    if (auto value = changes.number("settle-usec")) set.settle_ms = rounded_up(*value, 1'000);
    if (auto value = changes.number("min-interval-usec"))
        set.min_interval_seconds = rounded_up(*value, 1'000'000);
    if (auto value = changes.boolean("enabled")) set.enabled = *value;
    if (auto value = changes.text("keep")) set.keep = TRY_DURING(parse_keep_rules(*value), "keep");
    return {};
}

SetObject::SetObject(Served& served, std::string id)
    : served_(served), id_(std::move(id)), path_(wire::set_path(id_)) {}

const Interface& SetObject::interface() {
    static Interface table("Set");
    static bool once = [] {
        auto root = Access::root;
        using Self = SetObject;
        table
            .method("GetConfiguration", "", "", "a{sv}t", "config,generation", root,
                    &Self::get_configuration)
            .method("Configure", "a{sv}ta{sv}", "changes,generation,options", "t", "new_generation",
                    root, &Self::configure)
            .method("StartBackup", "a{sv}", "options", "o", "job", root, &Self::start_backup)
            .method("ListRevisions", "a{sv}", "options", "aa{sv}s", "revisions,next_page", root,
                    &Self::list_revisions)
            .method("GetRevision", "sa{sv}", "revision,options", "a{sv}", "details", root,
                    &Self::get_revision)
            .method("ListFiles", "saya{sv}", "revision,path,options", "h", "stream", root,
                    &Self::list_files)
            .method("OpenFile", "saya{sv}", "revision,path,options", "hoa{sv}",
                    "content,job,attributes", root, &Self::open_file)
            .method("Verify", "asa{sv}", "revisions,options", "o", "job", root, &Self::verify)
            .method("PinRevision", "sba{sv}", "revision,pinned,options", "s", "id", root,
                    &Self::pin_revision)
            .method("DeleteRevisions", "asa{sv}", "revisions,options", "o", "job", root,
                    &Self::delete_revisions)
            .method("PlanRetention", "a{sv}", "options", "h", "stream", root, &Self::plan_retention)
            .method("ApplyRetention", "a{sv}", "options", "o", "job", root, &Self::apply_retention)
            .method("RestoreTrash", "asa{sv}", "revisions,options", "u", "restored", root,
                    &Self::restore_trash)
            .method("ListQueue", "a{sv}", "options", "h", "stream", root, &Self::list_queue)
            .method("GetTracking", "a{sv}", "options", "a{sv}aa{sv}", "tracking,volumes", root,
                    &Self::get_tracking)
            .signal("RevisionCommitted", "so", "revision,job")
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
            .property("LastResult", "s")
            .property("LastAttemptUSec", "t")
            .property("LastSuccessUSec", "t")
            .property("ProtectedUntilUSec", "t")
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
    if (name == "BlockedBy") return served_.service.blocked_by(set);
    if (name == "LastResult") return status.record.last_result;
    if (name == "LastAttemptUSec") return to_usec(status.record.last_attempt);
    if (name == "LastSuccessUSec") return to_usec(status.record.last_success);
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
    TRY(options.finish());
    if (mode != "incremental" && mode != "full")
        return invalid_argument("mode: incremental or full");
    if (std::ranges::find(kTriggers, trigger) == kTriggers.end())
        return invalid_argument("trigger: not one of those that jobs have");
    served_.service.start_backup(id_, mode == "full", trigger, call->uid(), answer_with_job(call));
    return {};
}

Result<> SetObject::list_revisions(std::shared_ptr<Call> call) {
    wire::DictReader options(TRY(call->dict()));
    RevisionFilter filter = TRY(read_revision_filter(options));
    TRY(options.finish());
    BackupSet set = *TRY(served_.service.find_set(id_));
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), set, filter]() -> Result<Page> {
            RepositoryHandle opened = TRY(pool.open(set.repository));
            return backup::list_revisions(all_revisions(TRY(opened->repository->list_revisions())),
                                          SetOnHost{set.id, host_of(set)}, filter);
        },
        [](Call& answer, Page page) {
            answer.reply_with([&](sd_bus_message* message) { return append_page(message, page); });
        });
    return {};
}

Result<> SetObject::get_revision(std::shared_ptr<Call> call) {
    std::string text = TRY(call->string());
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id_));
    answer_later(
        served_, call,
        [&pool = served_.service.pool(), set, text] { return find_revision(pool, set, text); },
        [](Call& answer, FoundRevision found) {
            answer.reply({revision_details(found.revision)});
        });
    return {};
}

Result<> SetObject::list_files(std::shared_ptr<Call> call) {
    std::string revision = TRY(call->string());
    std::string name = TRY(call->file_name());
    Path path = TRY(Path::parse(name));
    wire::DictReader options(TRY(call->dict()));
    bool recursive = options.boolean("recursive").value_or(false);
    std::uint64_t limit = options.number("limit").value_or(0);
    TRY(options.finish());
    BackupSet set = *TRY(served_.service.find_set(id_));
    UniqueFd stream =
        TRY(served_.streams.start(call->uid(), Listing{served_.service.pool(), set, revision,
                                                       path.text(), recursive, limit}));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

Result<> SetObject::open_file(std::shared_ptr<Call> call) {
    std::string revision = TRY(call->string());
    std::string name = TRY(call->file_name());
    Path path = TRY(Path::parse(name));
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id_));
    StreamSet::Permit permit = TRY(served_.streams.permit(call->uid()));
    struct Opened {
        FoundRevision found;
        Node node;
        Pipe pipe;
    };
    auto find = [&pool = served_.service.pool(), set, revision, path]() -> Result<Opened> {
        FoundRevision found = TRY(find_revision(pool, set, revision));
        Repository& repository = *found.repository->repository;
        TRY(repository.refresh_index({}));
        FoundNode node = TRY(find_node(repository, found.revision.snapshot().tree, path.text()));
        if (node.node.type != NodeType::file)
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         printable(path.text()) + (node.node.type == NodeType::dir
                                                       ? " is a directory"
                                                       : " is not a regular file"));
        Pipe pipe = TRY(make_pipe());
        return Opened{std::move(found), std::move(node.node), std::move(pipe)};
    };
    // The set's object may be gone by then: nothing of it is kept.
    auto start = [&served = served_, id = id_, permit, uid = call->uid(), call](Call&,
                                                                                Opened opened) {
        JobRequest request;
        request.kind = "export";
        request.set = id;
        request.repository = opened.found.repository->name;
        request.revision = opened.found.revision.id().hex();
        request.uid = uid;
        auto shared = std::make_shared<Opened>(std::move(opened));
        wire::Dict attributes = {
            {"size", shared->node.size},
            {"mtime-ns", shared->node.mtime.seconds * 1'000'000'000 +
                             static_cast<std::int64_t>(shared->node.mtime.nanoseconds)},
            {"mode", std::uint32_t{shared->node.unix_mode() & 07777}},
        };
        request.body = [shared, permit](JobContext& job) {
            job.progress.bytes_total = shared->node.size;
            job.progress.phase = Phase::restoring;
            PipeWriter writer(std::move(shared->pipe.writer), job.stop);
            auto read = read_content(
                *shared->found.repository->repository, shared->node,
                [&](ByteView bytes) -> Result<> {
                    TRY(writer.write(as_text(bytes)));
                    job.progress.bytes_done += bytes.size();
                    return {};
                },
                job.stop);
            if (read.ok()) read = writer.flush();
            JobOutcome outcome;
            outcome.counts = {{"bytes", job.progress.bytes_done.load()}};
            if (!read.ok()) outcome.error = std::move(read).error();
            return outcome;
        };
        served.service.jobs().start(
            std::move(request), [call, shared, attributes](Result<const Job*> job) {
                if (!job.ok()) return call->fail(job.error());
                call->reply_with([&](sd_bus_message* message) {
                    int r = sd_bus_message_append(message, "ho", shared->pipe.reader.get(),
                                                  job_object(**job).text.c_str());
                    return r < 0 ? r : wire::append_dict(message, attributes);
                });
                shared->pipe.reader.reset();  // the client's copy is the only one now
            });
    };
    answer_later(served_, call, std::move(find), std::move(start));
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
        request.body = check_body(served.service.pool(), {set.repository, std::move(ids), percent});
        request.remember = [](StateStore& store, const JobRecord& record, std::uint64_t) {
            remember_check(store, record);
        };
        served.service.jobs().start(std::move(request), answer_with_job(call));
    };
    answer_later(served_, call, std::move(resolve), std::move(start));
    return {};
}

Result<> SetObject::pin_revision(std::shared_ptr<Call> call) {
    std::string text = TRY(call->string());
    bool pinned = TRY(call->boolean());
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id_));
    auto work = [&pool = served_.service.pool(), set, text, pinned,
                 repository = TRY(repository_of(served_, set)),
                 tracker = served_.tracker()]() -> Result<std::string> {
        FoundRevision found = TRY(find_revision(pool, set, text));
        ReviseTask task{set.repository,
                        set,
                        {found.revision.id()},
                        {.pin = pinned, .trash = std::nullopt},
                        deleting_of(*found.repository, repository),
                        tracker};
        if (!belongs_to(found.revision, {set.id, host_of(set)})) task.tracker = nullptr;
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
                    .frozen = {},
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
                    .frozen = served_.service.frozen(set),
                    .tracker = served_.tracker()};
    start_forgetting(served_, std::move(task), call);
    return {};
}

Result<> SetObject::plan_retention(std::shared_ptr<Call> call) {
    TRY(call->no_options());
    BackupSet set = *TRY(served_.service.find_set(id_));
    RetentionListing listing{served_.service.pool(), served_.service.clock(), set,
                             served_.service.frozen(set)};
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
        ReviseTask task{set.repository, set, {}, {}, deleting_of(*opened, repository), tracker};
        task.change.trash = std::optional<Timestamp>();
        for (const std::string& text : texts) {
            Revision found = TRY(resolve_revision(revisions, {set.id, host_of(set)}, text));
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
