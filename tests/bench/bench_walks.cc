// How a survey, and a run that looks at ten files, compare with the least that could do: a bare
// walk of two threads that lists and stats everything, and a loop that reads ten files.
//
//     bench_walks FOLDER [FILES]
//
// FOLDER is made with a tree of FILES (150,000) small files, 25 in a directory, and a repository,
// and kept: the second call finds them. Prints medians and ratios.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/archive/backup.h"
#include "daemon/archive/survey.h"
#include "daemon/backend/local_backend.h"
#include "tests/bench/bare_walk.h"

namespace backup {
namespace {

constexpr int kFilesInDirectory = 25, kDirectoriesInDirectory = 40;

std::string file_of(const std::string& source, int file) {
    int directory = file / kFilesInDirectory;
    return source + "/d" + std::to_string(directory / kDirectoriesInDirectory) + "/d" +
           std::to_string(directory % kDirectoriesInDirectory) + "/file-" + std::to_string(file);
}

void write_file(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

void make_tree(const std::string& source, int files) {
    if (::access(source.c_str(), F_OK) == 0) return;
    ::mkdir(source.c_str(), 0755);
    for (int file = 0; file < files; ++file) {
        std::string path = file_of(source, file);
        if (file % kFilesInDirectory == 0) {
            std::string directory = path.substr(0, path.rfind('/'));
            ::mkdir(directory.substr(0, directory.rfind('/')).c_str(), 0755);
            ::mkdir(directory.c_str(), 0755);
        }
        write_file(path, "content of file " + std::to_string(file) + "\n");
    }
}

// Names what was changed, and the directories above.
class Named final : public LookAt {
  public:
    void add(const std::string& path) {
        std::string at = path;
        while (at.size() > 1) {
            std::size_t slash = at.rfind('/');
            std::string directory = slash == 0 ? "/" : at.substr(0, slash);
            std::vector<std::string>& names = marked_[directory];
            std::string name = at.substr(slash + 1);
            if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
            at = directory;
        }
    }
    Directory directory(const std::string& path) const override {
        return marked_.contains(path) ? Directory::entries : Directory::untouched;
    }
    std::vector<std::string> entries(const std::string& path) const override {
        return marked_.at(path);
    }
    bool must_read(const std::string&) const override { return false; }

  private:
    std::map<std::string, std::vector<std::string>> marked_;
};

template <typename Step>
double median_ms(int rounds, Step step) {
    std::vector<double> took;
    for (int i = 0; i < rounds; ++i) {
        auto begin = std::chrono::steady_clock::now();
        step(i);
        took.push_back(
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
                .count());
    }
    std::sort(took.begin(), took.end());
    return took[took.size() / 2];
}

template <typename T>
T expect(Result<T> result) {
    if (result.ok()) return std::move(*result);
    std::fprintf(stderr, "bench_walks: %s\n", result.error().message().c_str());
    std::exit(1);
}

int run(const std::string& folder, int files) {
    std::string source = folder + "/source";
    ::mkdir(folder.c_str(), 0755);
    make_tree(source, files);
    SystemClock clock;
    Path place = expect(Path::parse(folder + "/repository"));
    LocalBackend backend(place);
    RepositoryOptions options{.clock = &clock};
    auto opened = Repository::open(backend, as_bytes("bench"), options);
    if (!opened.ok())
        opened = Repository::init(backend, as_bytes("bench"), options,
                                  KeyCost{.n = 1024, .r = 8, .p = 1});
    std::unique_ptr<Repository> repository = expect(std::move(opened));
    BackupSet set;
    set.id = "bench";
    set.paths = {expect(Path::parse(source))};
    BackupRequest request;
    request.set = &set;
    request.hostname = "bench";
    auto backup = [&] {
        Progress progress;
        ExceptionLog exceptions(progress);
        BackupResult result =
            expect(run_backup(request, *repository, progress, exceptions, std::stop_token()));
        request.parent = RevisionEntry{result.revision, result.snapshot};
        return result;
    };
    for (RevisionEntry& entry : expect(repository->list_revisions()))
        if (!request.parent || entry.snapshot.time > request.parent->snapshot.time)
            request.parent = std::move(entry);
    backup();

    std::uint64_t bare_objects = 0;
    double bare = median_ms(5, [&](int) { bare_objects = BareWalk().run(source, 2); });
    SurveyCounts counts;
    double survey = median_ms(5, [&](int) {
        Progress progress;
        SurveyRequest asked{.set = &set, .revision = *request.parent};
        counts = expect(run_survey(asked, *repository, progress, std::stop_token()));
    });
    std::printf("bare walk      %8.1f ms  %llu objects\n", bare,
                static_cast<unsigned long long>(bare_objects));
    std::printf("survey         %8.1f ms  %llu objects, %llu findings; %.2f x the bare walk\n",
                survey, static_cast<unsigned long long>(counts.objects),
                static_cast<unsigned long long>(counts.findings), survey / bare);

    BackupCounts small;
    std::vector<double> took;
    for (int round = 0; round < 15; ++round) {
        Named named;
        for (int i = 0; i < 10; ++i) {
            std::string path = file_of(source, (i * 997 + round) * 15 % files);
            write_file(path, "changed " + std::to_string(clock.now().time_since_epoch().count()));
            named.add(path);
        }
        ::usleep(50'000);  // nothing has changed within the last ticks
        request.look_at = &named;
        took.push_back(median_ms(1, [&](int) { small = backup().counts; }));
    }
    std::sort(took.begin(), took.end());
    std::printf("ten files      %8.1f ms  (%.1f to %.1f); %llu read, %llu changed\n",
                took[took.size() / 2], took.front(), took.back(),
                static_cast<unsigned long long>(small.files_read),
                static_cast<unsigned long long>(small.files_changed));
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    std::printf("peak memory    %8.1f MiB\n", static_cast<double>(usage.ru_maxrss) / 1024.0);
    return 0;
}

}  // namespace
}  // namespace backup

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: bench_walks FOLDER [FILES]\n");
        return 2;
    }
    ::mallopt(M_ARENA_MAX, 4);
    ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
    return backup::run(argv[1], argc > 2 ? std::atoi(argv[2]) : 150'000);
}
