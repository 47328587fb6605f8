// backupd: arguments, process-wide settings, run. Exit codes: 0 ended as asked, 1 failed, 2 wrong
// usage.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <CLI/CLI.hpp>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backupd_config.h"
#include "common/log.h"
#include "daemon/daemon.h"
#include "daemon/policy/config_file.h"

namespace {

using backup::DaemonOptions;
using backup::LogLevel;
using backup::Scope;

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

// systemd gives a list when the unit names several folders; the first is ours.
std::string first_of_list(const char* name) {
    std::string list = environment(name);
    return list.substr(0, list.find(':'));
}

std::string first_set(std::initializer_list<std::string> values) {
    for (const std::string& value : values)
        if (!value.empty()) return value;
    return {};
}

std::string below(const std::string& folder, const char* name) {
    return folder.empty() ? "" : folder + name;
}

void choose_folders(DaemonOptions& options) {
    bool system = options.scope == Scope::system;
    std::string home = environment("HOME");
    if (options.config_dir.empty()) {
        options.config_dir = system ? "/etc/backupd"
                                    : first_set({below(environment("XDG_CONFIG_HOME"), "/backupd"),
                                                 below(home, "/.config/backupd")});
        // Of a user's instance: what the distribution and the administrator of the machine say for
        // all users.
        options.vendor_dir =
            system ? "/usr/lib/backupd" : "/usr/lib/backupd/user:/etc/backupd/user";
    }
    if (options.state_dir.empty())
        options.state_dir = system
                                ? first_set({first_of_list("STATE_DIRECTORY"), "/var/lib/backupd"})
                                : first_set({first_of_list("STATE_DIRECTORY"),
                                             below(environment("XDG_STATE_HOME"), "/backupd"),
                                             below(home, "/.local/state/backupd")});
    if (options.runtime_dir.empty())
        options.runtime_dir = system
                                  ? first_set({first_of_list("RUNTIME_DIRECTORY"), "/run/backupd"})
                                  : first_set({first_of_list("RUNTIME_DIRECTORY"),
                                               below(environment("XDG_RUNTIME_DIR"), "/backupd")});
    options.credentials_dir = environment("CREDENTIALS_DIRECTORY");
}

int check_config(const DaemonOptions& options) {
    auto loaded = backup::load_policy(options.config_dir, options.vendor_dir);
    for (const auto& problem : loaded.problems)
        std::fprintf(stderr, "%s\n", problem.text().c_str());
    return loaded.problems.empty() ? 0 : 1;
}

void set_up_process(bool debuggable) {
    ::umask(077);
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);  // until the loop listens: it never ends us
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &files);
    }
    // Few arenas and a fixed threshold: chunks (up to 8 MiB) and packs (16 MiB) are mapped, and
    // are gone when they are freed. From the heap they would leave holes in every arena, and take
    // as long: with a threshold of 1 MiB backing up large files peaks at 138 MiB instead of 112,
    // and restoring them at 100 instead of 57.
    ::mallopt(M_ARENA_MAX, 4);
    ::mallopt(M_MMAP_THRESHOLD, 256 << 10);
    ::mallopt(M_TRIM_THRESHOLD, 16 << 20);
#if !defined(__SANITIZE_ADDRESS__)
    // No core file and no debugger sees the master key. (The leak check of a sanitizer must
    // attach.)
    if (!debuggable) ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

int run(DaemonOptions options) {
    if (options.config_dir.empty() || options.state_dir.empty()) {
        std::fprintf(stderr,
                     "backupd: HOME is not set: name the folders with --config and --state\n");
        return 1;
    }
    auto daemon = backup::Daemon::make(std::move(options));
    if (!daemon.ok()) {
        backup::log_error("cannot start: " + daemon.error().message());
        return 1;
    }
    auto ended = (*daemon)->run();
    if (ended.ok()) return 0;
    backup::log_error(ended.error().message());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app(
        "backupd keeps revisions of directories in a repository. Control it with backupctl.",
        "backupd");
    DaemonOptions options;
    bool user = false, system = false, check = false, debuggable = false;
    std::string level = "info";
    auto* user_flag = app.add_flag("--user", user, "serve the session bus, files of this user");
    app.add_flag("--system", system, "serve the system bus (the default for root)")
        ->excludes(user_flag);
    app.add_option("--config", options.config_dir, "folder of the configuration");
    app.add_option("--state", options.state_dir, "folder of the local state");
    app.add_option("--runtime", options.runtime_dir, "folder of what lasts until the next boot");
    app.add_option("--log-level", level, "error, warning, notice, info or debug")
        ->check(CLI::IsMember({"error", "warning", "notice", "info", "debug"}));
    app.add_flag("--check-config", check,
                 "print the problems of the configuration; exit code 1 if there are any");
    app.add_flag("--debuggable", debuggable, "allow core files and debuggers (they see secrets)");
    app.set_version_flag("--version", "backupd " BACKUPD_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    if (level == "error") backup::set_log_level(LogLevel::error);
    if (level == "warning") backup::set_log_level(LogLevel::warning);
    if (level == "notice") backup::set_log_level(LogLevel::notice);
    if (level == "debug") backup::set_log_level(LogLevel::debug);
    options.scope = system || (!user && ::geteuid() == 0) ? Scope::system : Scope::user;
    choose_folders(options);
    if (check) return check_config(options);
    set_up_process(debuggable);
    return run(std::move(options));
}
