// The bare programs that change tracking is measured by, and the trees it is measured on.
//
//     bare_programs tree DIR FILES DIRECTORIES     files of 0.2 to 2 KiB, 40 directories in one
//     bare_programs kernel DIR FILES               like a kernel's sources: deep, 14 KiB a file
//     bare_programs walk DIR THREADS               lists and stats everything; prints ms, objects,
//     CPU s bare_programs drain DIR                      the daemon's fanotify mark, and nothing
//     but
//                                                  reading the queue, until SIGTERM
//     bare_programs copy FROM TO THREADS           the tree FROM once more as TO
//     bare_programs latency FILE SNAPSHOTS         changes FILE; prints ms until a file appears in
//                                                  SNAPSHOTS
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "tests/bench/bare_copy.h"
#include "tests/bench/bare_walk.h"

namespace backup {
namespace {

using SteadyClock = std::chrono::steady_clock;

double ms_since(SteadyClock::time_point begin) {
    return std::chrono::duration<double, std::milli>(SteadyClock::now() - begin).count();
}

[[noreturn]] void die(const char* what) {
    std::perror(what);
    std::exit(1);
}

void make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) die(path.c_str());
}

// Words of a small vocabulary and numbers: no two files are alike, and all compress a little.
void write_file(const std::string& path, std::size_t size, std::mt19937_64& random) {
    static constexpr std::array<const char*, 16> kWords = {
        "static ", "const ",  "return ", "struct ",   "int ",   "if (",     "else {\n", "}\n",
        "void ",   "offset ", "length ", "unsigned ", "= 0;\n", "include ", "buffer ",  "for ("};
    std::string text;
    text.reserve(size + 24);
    while (text.size() < size) {
        std::uint64_t bits = random();
        for (int i = 0; i < 6; ++i, bits >>= 4) text += kWords[bits & 15];
        char number[24];
        std::snprintf(number, sizeof number, "%llx ", static_cast<unsigned long long>(bits));
        text += number;
    }
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!fd || ::write(fd.get(), text.data(), size) != static_cast<ssize_t>(size))
        die(path.c_str());
}

// The same place for a number every time: DIR/dA/dB/file-N. compare with file_of() in tracking.py.
int make_tree(const std::string& top, int files, int directories) {
    make_directory(top);
    const int each = files / directories;
    for (int i = 0; i < directories; i += 40) make_directory(top + "/d" + std::to_string(i / 40));
    auto part = [&](int begin, int end) {
        for (int d = begin; d < end; ++d) {
            std::mt19937_64 random(static_cast<std::uint64_t>(d));
            std::string directory =
                top + "/d" + std::to_string(d / 40) + "/d" + std::to_string(d % 40);
            make_directory(directory);
            for (int i = 0; i < each; ++i)
                write_file(directory + "/file-" + std::to_string(d * each + i),
                           200 + random() % 1800, random);
        }
    };
    std::jthread other(part, 0, directories / 2);
    part(directories / 2, directories);
    return 0;
}

int make_kernel(const std::string& top, int files) {
    make_directory(top);
    std::mt19937_64 random(7);
    std::lognormal_distribution<double> sizes(std::log(5000.0), 1.4);
    std::vector<std::string> directories = {top};
    for (int i = 0; i < files; ++i) {
        if (i % 15 == 0) {
            // Any directory may get a subdirectory, but few are very deep.
            std::size_t parent = random() % directories.size();
            if (std::count(directories[parent].begin(), directories[parent].end(), '/') >
                std::count(top.begin(), top.end(), '/') + 7)
                parent = random() % std::min<std::size_t>(directories.size(), 25);
            directories.push_back(directories[parent] + "/dir" + std::to_string(i / 15));
            make_directory(directories.back());
        }
        auto size = static_cast<std::size_t>(std::clamp(sizes(random), 40.0, 2e6));
        write_file(directories[directories.size() - 1 - random() % 2] + "/source" +
                       std::to_string(i) + ".c",
                   size, random);
    }
    return 0;
}

int walk(const std::string& top, unsigned threads) {
    auto begin = SteadyClock::now();
    std::uint64_t objects = BareWalk().run(top, threads);
    double ms = ms_since(begin);
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    std::printf("%.1f %llu %.2f\n", ms, static_cast<unsigned long long>(objects),
                seconds(usage.ru_utime) + seconds(usage.ru_stime));
    return 0;
}

volatile std::sig_atomic_t is_ending = 0;

// Flags, mask, buffer and pause are those of daemon/watch, so that both cost the kernel the same.
int drain(const std::string& top) {
    UniqueFd group(::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK |
                                       FAN_REPORT_DFID_NAME_TARGET | FAN_UNLIMITED_QUEUE |
                                       FAN_UNLIMITED_MARKS,
                                   O_RDONLY | O_CLOEXEC | O_LARGEFILE));
    if (!group) die("fanotify_init");
    if (::fanotify_mark(group.get(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
                        FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_CREATE | FAN_DELETE |
                            FAN_RENAME | FAN_ONDIR,
                        AT_FDCWD, top.c_str()) != 0)
        die("fanotify_mark");
    struct sigaction action {};
    action.sa_handler = [](int) { is_ending = 1; };
    ::sigaction(SIGTERM, &action, nullptr);
    std::puts("ready");
    std::fflush(stdout);
    std::vector<char> buffer(256 * 1024);
    std::uint64_t records = 0;
    for (;;) {
        pollfd ready{group.get(), POLLIN, 0};
        ::poll(&ready, 1, is_ending ? 0 : -1);
        ssize_t got = ::read(group.get(), buffer.data(), buffer.size());
        if (got < 0 && errno == EAGAIN) {
            if (is_ending) break;
            std::this_thread::sleep_for(std::chrono::milliseconds(40));
            continue;
        }
        auto* record = reinterpret_cast<fanotify_event_metadata*>(buffer.data());
        for (ssize_t left = got; FAN_EVENT_OK(record, left); record = FAN_EVENT_NEXT(record, left))
            ++records;
    }
    std::printf("%llu records\n", static_cast<unsigned long long>(records));
    return 0;
}

int latency(const std::string& file, const std::string& snapshots) {
    UniqueFd ear(::inotify_init1(IN_CLOEXEC));
    if (!ear || ::inotify_add_watch(ear.get(), snapshots.c_str(), IN_MOVED_TO | IN_CREATE) < 0)
        die(snapshots.c_str());
    UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    std::string text = std::to_string(SteadyClock::now().time_since_epoch().count());
    if (!fd || ::write(fd.get(), text.data(), text.size()) < 0) die(file.c_str());
    fd.reset();
    auto begin = SteadyClock::now();
    alignas(inotify_event) std::array<char, 4096> buffer{};
    for (;;) {
        pollfd ready{ear.get(), POLLIN, 0};
        if (::poll(&ready, 1, 60'000) <= 0) {
            std::fprintf(stderr, "no revision within a minute\n");
            return 1;
        }
        double took = ms_since(begin);
        ssize_t got = ::read(ear.get(), buffer.data(), buffer.size());
        for (ssize_t at = 0; at < got;) {
            auto* event = reinterpret_cast<inotify_event*>(buffer.data() + at);
            at += static_cast<ssize_t>(sizeof *event + event->len);
            // A snapshot's name is its hash; what is still being written is called otherwise.
            if (std::strlen(event->name) != 64) continue;
            std::printf("%.2f\n", took);
            return 0;
        }
    }
}

int run(int argc, char** argv) {
    auto is = [&](const char* what, int count) {
        return argc == count + 2 && std::strcmp(argv[1], what) == 0;
    };
    if (is("tree", 3)) return make_tree(argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
    if (is("kernel", 2)) return make_kernel(argv[2], std::atoi(argv[3]));
    if (is("walk", 2)) return walk(argv[2], static_cast<unsigned>(std::atoi(argv[3])));
    if (is("copy", 3)) {
        BareCopy().run(argv[2], argv[3], static_cast<unsigned>(std::atoi(argv[4])));
        return 0;
    }
    if (is("drain", 1)) return drain(argv[2]);
    if (is("latency", 2)) return latency(argv[2], argv[3]);
    std::fprintf(stderr, "usage: bare_programs tree|kernel|walk|drain|latency ...\n");
    return 2;
}

}  // namespace
}  // namespace backup

int main(int argc, char** argv) {
    return backup::run(argc, argv);
}
