// What a revision holds: listing its files, and the bytes of one.
#include <algorithm>

#include <systemd/sd-bus.h>

#include "daemon/ipc/revisions.h"
#include "daemon/ipc/set_object.h"
#include "daemon/jobs/tasks.h"
#include "daemon/restore/export_tree.h"
#include "daemon/restore/restore.h"

namespace backup {

namespace {

// What ends a listing early without being a failure.
Error enough() {
    return Error(ErrorKind::cancelled, "enough");
}

void put_node(JsonLine& line, std::string_view relative, const Node& node) {
    line.name("path", relative).text("type", type_letter(node.type)).number("size", node.size);
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
    Caller caller;
    std::string revision, path;
    bool recursive;
    std::uint64_t limit;

    Result<> operator()(LineWriter& lines) const {
        const AccessRule rule = rule_for(caller);
        FoundRevision found = TRY(find_revision(pool, set, revision, rule));
        Repository& repository = *found.repository->repository;
        TRY(repository.refresh_index(lines.stop()));
        const FoundNode start = TRY(find_path(found, path, rule));
        if (start.node.type == NodeType::dir) TRY(may_open(start, rule));
        JsonLine line;
        auto done = visit_nodes(
            repository, start, recursive,
            [&](const std::string& at, const Node& node) -> Result<> {
                if (limit != 0 && lines.count() >= limit) return enough();
                put_node(line, relative_to(start.path, at), node);
                return lines.write(line);
            },
            lines.stop(), rule);
        if (!done.ok() && limit != 0 && lines.count() >= limit) return {};
        return done;
    }
};

JobRequest export_request(const std::string& set, const FoundRevision& found, std::uint32_t uid) {
    JobRequest request;
    request.kind = "export";
    request.set = set;
    request.repository = found.repository->name;
    request.revision = found.revision.id().hex();
    request.uid = uid;
    return request;
}

}  // namespace

std::string_view type_letter(NodeType type) {
    switch (type) {
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

Result<> SetObject::list_files(std::shared_ptr<Call> call) {
    std::string revision = TRY(call->string());
    std::string name = TRY(call->file_name());
    Path path = TRY(Path::parse(name));
    wire::DictReader options = TRY(call->options());
    bool recursive = options.boolean("recursive").value_or(false);
    std::uint64_t limit = options.number("limit").value_or(0);
    TRY(options.finish());
    BackupSet set = *TRY(served_.service.find_set(id_));
    UniqueFd stream = TRY(start_stream(served_, *call,
                                       Listing{served_.service.pool(), set, call->caller(),
                                               revision, path.text(), recursive, limit}));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

Result<> SetObject::export_tree(std::shared_ptr<Call> call) {
    std::string revision = TRY(call->string());
    std::vector<std::string> paths = TRY(call->file_names());
    TRY(call->no_options());
    TRY(check_count(*call, paths));
    for (std::string& path : paths) path = TRY(Path::parse(path)).text();
    BackupSet set = *TRY(served_.service.find_set(id_));
    StreamSet::Permit permit = TRY(served_.streams.permit(call->uid()));
    struct Opened {
        FoundRevision found;
        RestoreSource source;
        Pipe pipe;
    };
    auto find = [&pool = served_.service.pool(), set, revision, paths,
                 caller = call->caller()]() -> Result<Opened> {
        const AccessRule rule = rule_for(caller);
        FoundRevision found = TRY(find_revision(pool, set, revision, rule));
        RestoreRequest request;
        request.revision = found.revision.id();
        request.paths = paths;
        request.full_paths = true;
        RestoreSource source = TRY(open_source(request, *found.repository->repository, rule, {}));
        Pipe pipe = TRY(make_pipe());
        return Opened{std::move(found), std::move(source), std::move(pipe)};
    };
    auto start = [&served = served_, id = id_, permit, uid = call->uid(), call](Call&,
                                                                                Opened opened) {
        JobRequest request = export_request(id, opened.found, uid);
        auto shared = std::make_shared<Opened>(std::move(opened));
        request.body = [shared, permit, caller = call->caller()](JobContext& job) {
            PipeWriter writer(std::move(shared->pipe.writer), job.stop);
            Progress unseen;
            ExceptionLog met(unseen);
            auto done = backup::export_tree(
                *shared->found.repository->repository, shared->source,
                [&](std::string_view bytes) { return writer.write(bytes); }, job.progress, met,
                job.stop);
            if (done.ok()) done = writer.flush();
            for (Exception& one : met.list())
                job.exceptions.add(std::move(one.path),
                                   told_and_logged(caller, one.error, "an archive"));
            const std::uint64_t unlisted = met.count() - met.list().size();
            job.progress.exceptions += unlisted;
            if (!done.ok()) done = told_and_logged(caller, done.error(), "an archive");
            JobOutcome outcome;
            outcome.revision = shared->found.revision.id().hex();
            outcome.counts = {{"bytes", job.progress.bytes_done.load()},
                              {"items", job.progress.items_done.load()}};
            if (!done.ok()) outcome.error = std::move(done).error();
            return outcome;
        };
        served.service.jobs().start(std::move(request), [call, shared](Result<const Job*> job) {
            if (!job.ok()) return call->fail(job.error());
            call->reply_with([&](sd_bus_message* message) {
                return sd_bus_message_append(message, "ho", shared->pipe.reader.get(),
                                             job_object(**job).text.c_str());
            });
            shared->pipe.reader.reset();  // the client's copy is the only one now
        });
    };
    answer_later(served_, call, std::move(find), std::move(start));
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
    auto find = [&pool = served_.service.pool(), set, revision, path,
                 caller = call->caller()]() -> Result<Opened> {
        const AccessRule rule = rule_for(caller);
        FoundRevision found = TRY(find_revision(pool, set, revision, rule));
        Repository& repository = *found.repository->repository;
        TRY(repository.refresh_index({}));
        FoundNode node = TRY(find_path(found, path.text(), rule));
        if (node.node.type != NodeType::file)
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         printable(path.text()) + (node.node.type == NodeType::dir
                                                       ? " is a directory"
                                                       : " is not a regular file"));
        TRY(may_open(node, rule));
        Pipe pipe = TRY(make_pipe());
        return Opened{std::move(found), std::move(node.node), std::move(pipe)};
    };
    // The set's object may be gone by then: nothing of it is kept.
    auto start = [&served = served_, id = id_, permit, uid = call->uid(), call](Call&,
                                                                                Opened opened) {
        JobRequest request = export_request(id, opened.found, uid);
        auto shared = std::make_shared<Opened>(std::move(opened));
        wire::Dict attributes = {
            {"size", shared->node.size},
            {"mtime-ns", shared->node.mtime.seconds * 1'000'000'000 +
                             static_cast<std::int64_t>(shared->node.mtime.nanoseconds)},
            {"mode", std::uint32_t{shared->node.unix_mode() & 07777}},
        };
        request.body = [shared, permit, caller = call->caller()](JobContext& job) {
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
            if (!read.ok()) outcome.error = told_and_logged(caller, read.error(), "a file");
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

}  // namespace backup
