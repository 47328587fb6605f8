// One backup without a daemon: opens the local repository REPO, or makes it, backs up the
// directories as one set against the newest revision of the same paths, and prints counts, seconds
// and the peak of memory. For benchmarks, and for tests that kill or starve a backup.
//
//     backup_once [--full] [--no-parent] [--threads N] [--rules auto|go119|go122] [--exclude
//     PATTERN]...
//                 [--one-file-system] REPO PASSWORD DIR...
//
// Exit status: 0 complete, 1 failed, 2 usage, 3 with exceptions.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <malloc.h>
#include <sys/resource.h>

#include "daemon/archive/backup.h"
#include "daemon/backend/local_backend.h"

namespace backup {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int fail(const Error& error) {
    std::fprintf(stderr, "backup_once: %s\n", error.message().c_str());
    return 1;
}

int run(BackupRequest request, BackupSet set, bool with_parent, const std::string& place,
        const std::string& password) {
    auto begin = std::chrono::steady_clock::now();
    SystemClock clock;
    auto root = Path::parse(place);
    if (!root.ok()) return fail(root.error());
    LocalBackend backend(*root);
    RepositoryOptions options{.clock = &clock};
    auto repository = Repository::open(backend, as_bytes(password), options);
    if (!repository.ok() && repository.error().code() == ErrorCode::repository_missing)
        repository = Repository::init(backend, as_bytes(password), options,
                                      KeyCost{.n = 1024, .r = 8, .p = 1});
    if (!repository.ok()) return fail(repository.error());
    double opened = seconds_since(begin);

    std::vector<std::string> paths;
    for (const Path& path : set.paths) paths.push_back(path.text());
    auto revisions = (*repository)->list_revisions();
    if (!revisions.ok()) return fail(revisions.error());
    for (RevisionEntry& entry : *revisions) {
        bool newer = !request.parent || entry.snapshot.time > request.parent->snapshot.time;
        if (with_parent && entry.snapshot.paths == paths && newer)
            request.parent = std::move(entry);
    }

    request.set = &set;
    request.never_enter = {*root};
    Progress progress;
    ExceptionLog exceptions(progress);
    auto walk_begin = std::chrono::steady_clock::now();
    auto result = run_backup(request, **repository, progress, exceptions, std::stop_token());
    double took = seconds_since(walk_begin);
    for (const Exception& exception : exceptions.list())
        std::fprintf(stderr, "exception: %s: %s\n", printable(exception.path).c_str(),
                     exception.error.message().c_str());
    if (!result.ok()) return fail(result.error());

    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    const BackupCounts& counts = result->counts;
    auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
    std::printf("revision %s\ntree %s\n", result->revision.hex().c_str(),
                result->tree.hex().c_str());
    std::printf("files new %llu changed %llu unmodified %llu removed %llu read %llu\n",
                number(counts.files_new), number(counts.files_changed),
                number(counts.files_unmodified), number(counts.files_removed),
                number(counts.files_read));
    std::printf("dirs new %llu changed %llu unmodified %llu read %llu\n", number(counts.dirs_new),
                number(counts.dirs_changed), number(counts.dirs_unmodified),
                number(counts.dirs_read));
    std::printf("blobs data %llu tree %llu added %llu stored %llu read %llu\n",
                number(counts.data_blobs_new), number(counts.tree_blobs_new),
                number(counts.bytes_added), number(counts.bytes_stored), number(counts.bytes_read));
    std::printf("total files %llu bytes %llu exceptions %llu\n", number(counts.total_files),
                number(counts.total_bytes), number(exceptions.count()));
    std::printf("seconds %.3f open %.3f user %.2f system %.2f peak_mib %.1f\n", took, opened,
                seconds(usage.ru_utime), seconds(usage.ru_stime),
                static_cast<double>(usage.ru_maxrss) / 1024.0);
    return exceptions.count() > 0 ? 3 : 0;
}

int usage() {
    std::fprintf(
        stderr,
        "usage: backup_once [--full] [--no-parent] [--threads N] [--rules RULES]\n"
        "                   [--exclude PATTERN]... [--one-file-system] REPO PASSWORD DIR...\n");
    return 2;
}

}  // namespace
}  // namespace backup

int main(int argc, char** argv) {
    using namespace backup;
    // As the daemon does it (daemon/main.cc): memory is measured under the same conditions.
    ::mallopt(M_ARENA_MAX, 4);
    ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
    ::mallopt(M_TRIM_THRESHOLD, 16 << 20);
    BackupRequest request;
    BackupSet set;
    set.id = "once";
    bool with_parent = true;
    int at = 1;
    for (; at < argc && std::strncmp(argv[at], "--", 2) == 0; ++at) {
        std::string option = argv[at];
        bool has_value = at + 1 < argc;
        if (option == "--full")
            request.full = true;
        else if (option == "--no-parent")
            with_parent = false;
        else if (option == "--one-file-system")
            set.exclude.other_filesystems = true;
        else if (option == "--threads" && has_value)
            request.threads = static_cast<unsigned>(std::atoi(argv[++at]));
        else if (option == "--rules" && has_value)
            request.tree_rules = argv[++at];
        else if (option == "--exclude" && has_value)
            set.exclude.patterns.push_back(argv[++at]);
        else
            return usage();
    }
    if (argc - at < 3) return usage();
    std::string place = argv[at], password = argv[at + 1];
    for (int i = at + 2; i < argc; ++i) {
        auto path = Path::parse(argv[i]);
        if (!path.ok()) return fail(path.error());
        set.paths.push_back(*path);
    }
    return run(std::move(request), std::move(set), with_parent, place, password);
}
