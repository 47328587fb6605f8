#include "daemon/archive/survey.h"

#include <atomic>
#include <utility>

#include "daemon/archive/archiver.h"
#include "daemon/archive/source_paths.h"
#include "daemon/archive/targets.h"

namespace backup {

namespace {

const SystemClock kSystemClock;

}  // namespace

Result<SurveyCounts> run_survey(const SurveyRequest& request, Repository& repository,
                                Progress& progress, std::stop_token stop) {
    Fs& fs = request.fs != nullptr ? *request.fs : RealFs::instance();
    const BackupSet& set = *request.set;
    Matcher matcher = TRY(Matcher::compile(set.exclude.patterns));
    SourcePaths paths = TRY(existing_paths(fs, set, request.absent));
    auto targets = build_targets(paths.found);

    progress.phase = Phase::loading;
    TRY(repository.refresh_index(stop));

    std::atomic<std::uint64_t> findings{0};
    SurveyRequest counting = request;
    counting.found = [&](const SurveyFinding& finding) {
        findings.fetch_add(1, std::memory_order_relaxed);
        if (request.found) request.found(finding);
    };
    // A path of the set that is not there is no deletion: its disk may be.
    for (const Exception& one : paths.missing) {
        auto path = Path::parse(one.path);
        if (!path.ok() || path->is_root()) continue;
        counting.found({SurveyFinding::Kind::unreadable, path->parent().text(),
                        std::string(path->name()), false});
    }

    progress.phase = Phase::scanning;
    NoSink sink;
    ExceptionLog exceptions(progress);
    ArchiveInput input{.fs = fs,
                       .sink = sink,
                       .source = repository.blobs(),
                       .clock = request.clock != nullptr ? *request.clock : kSystemClock,
                       .progress = progress,
                       .exceptions = exceptions,
                       .targets = *targets,
                       .exclude = set.exclude,
                       .matcher = matcher,
                       .survey = &counting,
                       .never_enter = identities(fs, request.never_enter),
                       .parent_tree = request.revision.snapshot.tree,
                       .polynomial = repository.config().chunker_polynomial,
                       .rules = go_rules_for(request.revision.snapshot.program_version),
                       .zone = Zone::local(),
                       .threads = request.threads};
    input.reread = request.reread;
    for (const Path& path : request.absent) input.absent.push_back(path.text());
    ArchiveOutcome walked = TRY(archive_tree(input, stop));
    return SurveyCounts{.directories = walked.counts.dirs_read,
                        .objects = walked.compared,
                        .findings = findings.load()};
}

}  // namespace backup
