// What differs between two revisions, or a revision and the disk.
#include <algorithm>

#include <systemd/sd-bus.h>

#include "daemon/ipc/difference.h"
#include "daemon/ipc/set_object.h"
#include "daemon/jobs/tasks.h"

namespace backup {

namespace {

std::int64_t nanoseconds(const FileTime& time) {
    constexpr std::int64_t kMost = INT64_MAX / 1'000'000'000 - 1;
    return std::clamp(time.seconds, -kMost, kMost) * 1'000'000'000 + time.nanoseconds;
}

struct Diff {
    RepositoryPool& pool;
    BackupSet set;
    Caller caller;
    std::vector<Path> own;
    std::string from, to;
    Path path;

    Result<> operator()(LineWriter& lines) const {
        const AccessRule rule = rule_for(caller);
        FoundRevision old = TRY(find_revision(pool, set, from, rule));
        std::optional<FoundRevision> now;
        if (!to.empty()) now = TRY(find_revision(pool, set, to, rule));
        Repository& repository = *old.repository->repository;
        TRY(repository.refresh_index(lines.stop()));
        JsonLine line;
        line.text("from", old.revision.id().hex())
            .number("from_number", old.revision.tags.number)
            .number("from_time", to_usec(old.revision.snapshot().time))
            .text("to", now ? now->revision.id().hex() : std::string());
        if (now)
            line.number("to_number", now->revision.tags.number)
                .number("to_time", to_usec(now->revision.snapshot().time));
        TRY(lines.write(line));
        const auto each = [&](const Difference& one) -> Result<> {
            line.name("path", one.path);
            if (!one.problem.empty()) {
                line.text("problem", printable(one.problem));
                return lines.write(line);
            }
            line.text("change", one.change);
            const Node& shown = one.after != nullptr ? *one.after : *one.before;
            line.text("type", type_letter(shown.type))
                .number("size", shown.size)
                .signed_number("mtime_ns", nanoseconds(shown.mtime))
                .number("mode", shown.unix_mode() & 07777);
            if (one.before != nullptr && one.after != nullptr)
                line.text("old_type", type_letter(one.before->type))
                    .number("old_size", one.before->size)
                    .signed_number("old_mtime_ns", nanoseconds(one.before->mtime));
            return lines.write(line);
        };
        const BlobId& tree = old.revision.snapshot().tree;
        if (now)
            return compare_revisions(repository, tree, now->revision.snapshot().tree, path, each,
                                     lines.stop(), rule);
        return compare_with_disk(repository, tree, set, own, RealFs::instance(), path, each,
                                 lines.stop());
    }
};

}  // namespace

Result<> SetObject::diff(std::shared_ptr<Call> call) {
    std::string from = TRY(call->string());
    std::string to = TRY(call->string());
    std::string name = TRY(call->file_name());
    Path path = TRY(Path::parse(name));
    TRY(call->no_options());
    // The daemon reads the disk with rights that the caller may not have.
    if (to.empty() && !call->caller().sees_all)
        return Error(ErrorKind::denied, ErrorCode::access_denied,
                     "comparing with the disk is for administrators: name two revisions");
    BackupSet set = *TRY(served_.service.find_set(id_));
    auto own = own_places(served_.service.policy(), served_.service.state_dir());
    UniqueFd stream =
        TRY(start_stream(served_, *call,
                         Diff{served_.service.pool(), std::move(set), call->caller(),
                              std::move(own), std::move(from), std::move(to), std::move(path)}));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

}  // namespace backup
