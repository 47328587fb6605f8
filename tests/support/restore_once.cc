// restore_once REPOSITORY PASSWORD REVISION|latest TARGET [options] [PATH...]: one restore without
// a daemon, for tests that kill, starve or deceive it, and for measurements. Exit status: 0 done, 3
// with exceptions, 7 conflicts, 1 any other error.
//   --full-paths --dry-run --verify --on-conflict MODE --threads N --quiet
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <sys/resource.h>

#include "common/path.h"
#include "common/unique_fd.h"
#include "daemon/restore/restore.h"

using namespace backup;

namespace {

int report(const Error& error) {
    std::fprintf(stderr, "error: %s: %s\n", std::string(to_string(error.kind())).c_str(),
                 printable(error.message()).c_str());
    return error.code() == ErrorCode::conflict ? 7 : 1;
}

Result<RevisionId> find_revision(Repository& repository, const std::string& text) {
    if (text != "latest") {
        if (auto id = RevisionId::from_hex(text)) return *id;
        return Error(ErrorKind::invalid, "not a revision: " + text);
    }
    std::vector<Error> broken;
    std::vector<RevisionEntry> all = TRY(repository.list_revisions(&broken));
    if (all.empty() && !broken.empty()) return std::move(broken.front());
    if (all.empty()) return Error(ErrorKind::not_found, "no revision");
    return std::ranges::max_element(all, {}, [](const auto& one) { return one.snapshot.time; })->id;
}

void print_counts(const RestoreCounts& c, double seconds) {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    std::printf(
        "{\"created\":%llu,\"replaced\":%llu,\"kept_both\":%llu,\"skipped\":%llu,\"unchanged\":%"
        "llu,"
        "\"failed\":%llu,\"files\":%llu,\"directories\":%llu,\"others\":%llu,\"bytes\":%llu,"
        "\"bytes_fetched\":%llu,\"seconds\":%.3f,\"cpu_seconds\":%.3f,\"peak_kib\":%ld}\n",
        (unsigned long long)c.created, (unsigned long long)c.replaced,
        (unsigned long long)c.kept_both, (unsigned long long)c.skipped,
        (unsigned long long)c.unchanged, (unsigned long long)c.failed, (unsigned long long)c.files,
        (unsigned long long)c.directories, (unsigned long long)c.others,
        (unsigned long long)c.bytes, (unsigned long long)c.bytes_fetched, seconds,
        double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
            1e-6 * double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
        usage.ru_maxrss);
}

struct Arguments {
    std::string repository, password, revision, target;
    bool quiet = false;
    RestoreRequest request;
};

Result<Arguments> parse(int count, char** words) {
    Arguments arguments;
    std::vector<std::string> plain;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word == "--full-paths") {
            arguments.request.full_paths = true;
        } else if (word == "--dry-run") {
            arguments.request.dry_run = true;
        } else if (word == "--verify") {
            arguments.request.verify = true;
        } else if (word == "--quiet") {
            arguments.quiet = true;
        } else if (word == "--on-conflict" && i + 1 < count) {
            arguments.request.on_conflict = TRY(parse_conflict_mode(words[++i]));
        } else if (word == "--threads" && i + 1 < count) {
            arguments.request.threads = static_cast<unsigned>(std::atoi(words[++i]));
        } else {
            plain.push_back(word);
        }
    }
    if (plain.size() < 4)
        return Error(
            ErrorKind::invalid,
            "usage: restore_once REPOSITORY PASSWORD REVISION|latest TARGET [options] [PATH...]");
    arguments.repository = plain[0];
    arguments.password = plain[1];
    arguments.revision = plain[2];
    arguments.target = plain[3];
    arguments.request.paths.assign(plain.begin() + 4, plain.end());
    return arguments;
}

Result<int> run(Arguments arguments) {
    const auto begin = std::chrono::steady_clock::now();
    const SystemClock clock;
    const OpenedBackend opened = TRY(open_backend(arguments.repository));
    RepositoryOptions options;
    options.clock = &clock;
    const std::unique_ptr<Repository> repository =
        TRY(Repository::open(*opened.backend, as_bytes(arguments.password), options));
    RestoreRequest& request = arguments.request;
    request.clock = &clock;
    request.revision = TRY(find_revision(*repository, arguments.revision));
    UniqueFd target(::open(arguments.target.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!target) return Error::from_errno(errno, "open " + arguments.target);
    request.target_fd = target.get();

    Progress progress;
    ExceptionLog exceptions(progress);
    Result<RestoreResult> result = run_restore(request, *repository, progress, exceptions, {});
    for (const Exception& one : exceptions.list())
        if (!arguments.quiet)
            std::printf("exception: %s: %s: %s\n", printable(one.path).c_str(),
                        std::string(to_string(one.error.kind())).c_str(),
                        printable(one.error.message()).c_str());
    if (!result.ok()) return std::move(result).error();
    print_counts(result->counts,
                 std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    return exceptions.count() == 0 ? 0 : 3;
}

}  // namespace

int main(int count, char** words) {
    Result<Arguments> arguments = parse(count, words);
    if (!arguments.ok()) return report(arguments.error());
    Result<int> status = run(std::move(*arguments));
    return status.ok() ? *status : report(status.error());
}
