#include "daemon/archive/measure.h"

namespace backup {

namespace {

// What the walk did not look at is as the parent revision has it.
void add_untouched(const ArchiveInput& walk, const SnapshotSummary& parent,
                   const ArchiveOutcome& walked, Measured& measured) {
    const auto rest = [](std::uint64_t all, std::uint64_t seen) {
        return all - std::min(all, seen);
    };
    const std::uint64_t directories =
        parent.dirs_new + parent.dirs_changed + parent.dirs_unmodified;
    measured.parent_items = parent.total_files_processed + directories;
    measured.parent_bytes = parent.total_bytes_processed;
    if (walk.look_at == nullptr || walk.full) return;
    measured.kept_items += rest(parent.total_files_processed, walked.files_before) +
                           rest(directories, walked.directories_before);
    const std::uint64_t bytes = rest(parent.total_bytes_processed, walked.bytes_before);
    measured.kept_bytes_before += bytes;
    measured.kept_bytes_now += bytes;
}

}  // namespace

Result<Measured> measure_source(const ArchiveInput& walk, const MeasureRequest& request,
                                std::stop_token stop) {
    Progress progress;
    ExceptionLog exceptions(progress, 0);
    ArchiveInput input{.fs = walk.fs,
                       .sink = walk.sink,
                       .source = walk.source,
                       .clock = walk.clock,
                       .progress = progress,
                       .exceptions = exceptions,
                       .targets = walk.targets,
                       .exclude = walk.exclude,
                       .matcher = walk.matcher,
                       .look_at = walk.look_at,
                       .measure = &request,
                       .never_enter = walk.never_enter,
                       .absent = walk.absent,
                       .parent_tree = walk.parent_tree,
                       .parent_time = walk.parent_time,
                       .full = walk.full,
                       .polynomial = walk.polynomial,
                       .rules = walk.rules,
                       .zone = walk.zone,
                       .threads = 1};
    const ArchiveOutcome walked = TRY(archive_tree(input, stop));
    Measured measured = walked.measured;
    if (request.parent != nullptr)
        add_untouched(walk, *request.parent, walked, measured);
    else
        measured.parent_items = measured.kept_items,
        measured.parent_bytes = measured.kept_bytes_before;
    return measured;
}

}  // namespace backup
