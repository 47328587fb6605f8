#include "daemon/jobs/guarded_run.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <optional>

#include <fcntl.h>

#include "common/log.h"
#include "common/unique_fd.h"
#include "daemon/jobs/lifecycle.h"
#include "daemon/restore/restore.h"

namespace backup {

namespace {

bool is_among(const Path& path, const std::vector<Path>& paths) {
    return std::ranges::find(paths, path) != paths.end();
}

// A directory without any entry; not one that cannot be read.
bool is_empty_directory(Fs& fs, const Path& path) {
    UniqueFd fd(std::max(
        -1, fs.open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK)));
    if (!fd) return false;
    // "." and ".." take 24 bytes each; one entry more with a name is more than 48.
    std::array<std::uint8_t, 4096> records;
    std::size_t entries = 0;
    for (;;) {
        const ssize_t got = fs.list(fd.get(), records);
        if (got < 0) return false;
        if (got == 0) return entries <= 2;
        for (std::size_t at = 0; at + 19 < static_cast<std::size_t>(got);) {
            ++entries;
            at += static_cast<std::size_t>(records[at + 16]) | records[at + 17] << 8;
        }
        if (entries > 2) return false;
    }
}

Error enough() {
    return Error(ErrorKind::cancelled, "enough");
}

}  // namespace

GuardedRun::GuardedRun(GuardBook& book, const Policy& policy, const BackupSet& set,
                       const OpenRepository& opened, Tracker* tracker, const Revision& parent,
                       JobContext& job, Timestamp now)
    : book_(book),
      policy_(policy),
      set_(set),
      opened_(opened),
      tracker_(tracker),
      parent_(parent),
      job_(job),
      facts_{job.id, now, parent.identity().hex(), parent.tags.number} {}

Error GuardedRun::held(const std::string& why) const {
    return Error(ErrorKind::conflict, ErrorCode::conflict,
                 why +
                     ": no revision was made, the last one has it all; if this is as it should "
                     "be: backupctl approve " +
                     set_.id + ", else bring it back and run again");
}

Result<> GuardedRun::look(const std::vector<Path>& absent) {
    bool holds = false;
    const std::string part = TRY(missing_part(absent, holds));
    if (part.empty()) return {};
    is_missing_ = true;
    GuardStep step;
    TRY(book_.change(set_.id, [&](GuardRecord& record) {
        step = miss(record, part, holds, facts_);
        record = step.after;
    }));
    if (step.is_held) return held(step.message);
    if (step.is_asked) job_.message(LogLevel::warning, "part of the source is missing");
    return {};
}

// What of the source is not there, in a sentence; empty: all is. `holds`: it is not known to be a
// file system that is away, or nothing else is left.
Result<std::string> GuardedRun::missing_part(const std::vector<Path>& absent, bool& holds) {
    Fs& fs = RealFs::instance();
    const bool all_away =
        std::ranges::all_of(set_.paths, [&](const Path& path) { return is_among(path, absent); });
    if (!absent.empty()) {
        holds = all_away;
        return "the file system at " + printable(absent.front().text()) + " is missing";
    }
    // Not in the revision before it: nothing was lost.
    for (const Path& path : set_.paths) {
        struct statx status {};
        const int error = fs.status(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, status);
        if (error == -ENOENT || error == -ENOTDIR) {
            if (!TRY(was_full(path, nullptr))) continue;
            holds = true;
            return printable(path.text()) + " is missing";
        }
        if (error < 0 || !S_ISDIR(status.stx_mode) || !is_empty_directory(fs, path)) continue;
        if (!TRY(was_full(path, &status))) continue;
        holds = true;
        return printable(path.text()) + " is empty";
    }
    return std::string();
}

// Whether the parent revision has something at the path that is not there now. In a directory that
// is the same and empty now few files are nothing to ask about.
Result<bool> GuardedRun::was_full(const Path& path, const struct statx* now) {
    Repository& repository = *opened_.repository;
    TRY(repository.refresh_index(job_.stop));
    auto found = find_node(repository, parent_.snapshot().tree, path.text());
    if (!found.ok()) {
        if (found.error().code() == ErrorCode::no_such_path) return false;
        return std::move(found).error();
    }
    if (now == nullptr) return true;
    if (found->node.type != NodeType::dir) return false;
    const std::uint64_t least =
        found->node.inode != now->stx_ino ? 1 : std::max<std::uint64_t>(set_.guard.least / 5, 1);
    std::uint64_t files = 0;
    auto visited = visit_nodes(
        repository, *found, true,
        [&](const std::string&, const Node& node) -> Result<> {
            if (node.type != NodeType::file) return {};
            if (++files >= least) return enough();
            return {};
        },
        job_.stop);
    if (files >= least) return true;
    if (!visited.ok()) return std::move(visited).error();
    return false;
}

Result<> GuardedRun::look_for_others(const std::vector<Revision>& revisions,
                                     std::uint64_t last_number,
                                     const std::function<bool(Timestamp)>& was_running) {
    const SetOnHost own{set_.id, host_of(set_)};
    const std::uint64_t known = book_.of(set_.id).line_known;
    const Revision* stranger = nullptr;
    std::map<std::uint64_t, int> made;
    std::uint64_t most = 0;
    for (const Revision& revision : revisions) {
        if (!belongs_to(revision, own) || revision.tags.number <= known) continue;
        const std::uint64_t number = revision.tags.number;
        most = std::max(most, number);
        const bool is_twin = ++made[number] > 1;
        const bool is_unknown =
            last_number != 0 && number > last_number && !was_running(revision.snapshot().time);
        if (stranger == nullptr && (is_twin || is_unknown)) stranger = &revision;
    }
    if (stranger == nullptr) return {};
    const std::string sentence =
        "revision " + std::to_string(stranger->tags.number) + " of " +
        format_rfc3339_utc(stranger->snapshot().time) +
        " was not made by this machine, but under its name and that of this set";
    GuardStep step;
    TRY(book_.change(set_.id, [&](GuardRecord& record) {
        step = meet(record, sentence, most, facts_);
        record = step.after;
    }));
    if (step.is_asked) job_.message(LogLevel::warning, step.message);
    return {};
}

Result<> GuardedRun::review(const ChangeSigns& signs) {
    ChangeSigns seen = signs;
    // What the set does not ask for any more is not lost.
    for (const std::string& text : parent_.snapshot().paths) {
        auto path = Path::parse(text);
        if (path.ok() && is_among(*path, set_.paths)) continue;
        seen.removed = seen.renamed = 0;
    }
    GuardStep step;
    TRY(book_.change(set_.id, [&](GuardRecord& record) {
        step = backup::review(record, seen, set_.guard, facts_);
        record = step.after;
    }));
    if (step.is_held) return held(step.message);
    const GuardQuestion& change = step.after.change;
    if (!change.is_open()) return {};
    TRY_DURING(pin(change), "pin the last clean revision");
    if (step.is_asked)
        job_.message(LogLevel::warning, step.message + ": revision " +
                                            std::to_string(change.clean_number) +
                                            " is pinned; answer with `backupctl approve " +
                                            set_.id + "` or `backupctl reject " + set_.id + "`");
    return {};
}

// Again with every run while it is asked about: an earlier one may have died in between.
Result<> GuardedRun::pin(const GuardQuestion& question) {
    const SetOnHost on_host = line_of(set_);
    auto clean =
        clean_revision(all_revisions(TRY(opened_.repository->list_revisions())), on_host, question);
    if (!clean || clean->tags.is_pinned) return {};
    TRY(book_.change(set_.id, [&](GuardRecord& record) { record.change.pins = true; }));
    auto repository = policy_.repositories.find(set_.repository);
    if (repository == policy_.repositories.end())
        return Error(ErrorKind::not_found, ErrorCode::no_such_repository, "it is not configured");
    ReviseTask task{.set = set_,
                    .revisions = {clean->id()},
                    .change = {.pin = true, .trash = std::nullopt},
                    .deleting = deleting_of(opened_, repository->second),
                    .tracker = tracker_};
    TRY(revise_revisions(*opened_.repository, task, job_.stop));
    return {};
}

void GuardedRun::committed() {
    auto done = book_.change(
        set_.id, [&](GuardRecord& record) { record = backup::committed(record, is_missing_); });
    if (!done.ok()) log_warning(done.error().message());
}

std::optional<Revision> clean_revision(const std::vector<Revision>& revisions, const SetOnHost& set,
                                       const GuardQuestion& question) {
    for (const Revision& revision : revisions) {
        if (!belongs_to(revision, set) || revision.is_trashed()) continue;
        if (revision.identity().hex() == question.clean) return revision;
    }
    return std::nullopt;
}

}  // namespace backup
