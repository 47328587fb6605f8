// Client speaks to the daemon over D-Bus: one method here for each one there, plain C++ values in
// and out. The only place of backupctl that knows sd-bus. One thread. Errors carry the code of the
// D-Bus error name; daemon_unreachable when there is no bus or no daemon, with what to do about it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/result.h"
#include "common/unique_fd.h"
#include "ctl/value.h"

namespace backup {

enum class BusChoice { automatic, system, user };

// The latest that is known about one job.
struct JobView {
    std::string object;
    std::uint64_t id = 0;
    std::string kind, trigger, target;  // target: object path of the set or repository
    std::string state, phase;
    double progress = -1;
    std::uint64_t bytes_done = 0, bytes_total = 0, items_done = 0, items_total = 0, rate_bytes = 0;
    std::uint64_t started_usec = 0, ended_usec = 0, expected_end_usec = 0, errors = 0;
    std::string result, error_name, message, revision;
    Dict details;
    bool finished = false;     // the end was seen: result is set
    bool daemon_gone = false;  // the daemon left the bus before the end
    bool ended() const { return finished || daemon_gone; }
};

// Something that happened at the daemon, for who watches it all.
struct DaemonEvent {
    enum class Kind {
        set_changed,   // properties of a set: read them again
        job_new,       // object: the job
        revision,      // object: the set, text: the id
        sets_changed,  // sets came or went
        gone,          // the daemon left the bus
        back,          // it, or another, is there again
    };
    Kind kind;
    std::string object, text;
};

enum class WaitEnd { changed, timeout, interrupted };

class Client {
  public:
    using NamedObjects = std::vector<std::pair<std::string, std::string>>;  // (id, object path)

    static Result<std::unique_ptr<Client>> connect(BusChoice choice);
    ~Client();
    bool on_system_bus() const;
    // From now on what is asked of sets shows everybody's files, if an administrator consents.
    void show_all_users();

    // All properties of the interface "Manager", "Set", "Repository" or "Job".
    Result<Dict> properties(const std::string& object, const std::string& interface);
    Result<Dict> manager() { return properties(kManager, "Manager"); }

    Result<NamedObjects> list_sets();
    Result<NamedObjects> list_repositories();
    Result<UniqueFd> list_job_history(const Dict& options);
    Result<UniqueFd> read_log(const Dict& options);
    Result<std::string> create_set(const std::string& id, const Dict& config, const Dict& options);
    Result<UniqueFd> simulate(const std::string& id, const Dict& config, const Dict& options);
    Result<> delete_set(const std::string& id);
    Result<std::string> add_repository(const std::string& name, const Dict& config, int secret,
                                       const Dict& options);
    Result<> remove_repository(const std::string& name);
    Result<> reload();
    struct HealthNow {
        std::string health;
        std::vector<Dict> findings;
    };
    Result<HealthNow> health();
    Result<std::string> metrics();
    Result<> pause(std::uint64_t usec);  // 0: until resume()
    Result<> resume();
    struct Problem {
        std::string file;
        std::uint32_t line;
        std::string message;
    };
    Result<std::vector<Problem>> check_configuration();
    Result<std::string> show_configuration();

    struct SetConfiguration {
        Dict config;
        std::uint64_t generation = 0;
    };
    // `asks`: an administrator may be asked for his password.
    Result<SetConfiguration> set_configuration(const std::string& set, bool asks = true);
    Result<> configure(const std::string& set, const Dict& changes, std::uint64_t generation,
                       const Dict& options);
    Result<std::string> start_backup(const std::string& set, const Dict& options);
    struct Revisions {
        std::vector<Dict> list;
        std::string next_page;
    };
    // `interface`: "Set" or "Repository".
    Result<Revisions> list_revisions(const std::string& object, const std::string& interface,
                                     const Dict& options);
    Result<Dict> revision(const std::string& set, const std::string& revision);
    Result<UniqueFd> list_files(const std::string& set, const std::string& revision,
                                const std::string& path, const Dict& options);
    Result<UniqueFd> list_versions(const std::string& set, const std::string& path,
                                   const Dict& options);
    Result<UniqueFd> find(const std::string& set, const std::string& pattern, const Dict& options);
    // `to` empty: the disk.
    Result<UniqueFd> diff(const std::string& set, const std::string& from, const std::string& to,
                          const std::string& path);
    struct OpenedFile {
        UniqueFd content;
        std::string job;
        Dict attributes;
    };
    Result<OpenedFile> open_file(const std::string& set, const std::string& revision,
                                 const std::string& path);
    // A pax archive; no path: all of the revision.
    Result<OpenedFile> export_tree(const std::string& set, const std::string& revision,
                                   const std::vector<std::string>& paths);
    Result<UniqueFd> list_queue(const std::string& set, const Dict& options);
    struct Tracking {
        Dict status;
        std::vector<Dict> volumes;
    };
    Result<Tracking> tracking(const std::string& set);
    // Conditions of a set: condition met text since until.
    Result<std::vector<Dict>> schedule(const std::string& set);
    // What is asked about a set; the answer gives the object path of the backup that begins, or
    // "/".
    Result<std::vector<Dict>> guard(const std::string& set);
    Result<std::string> answer_guard(const std::string& set, const std::string& answer);
    struct Explanation {
        Dict path;
        struct Set {
            Dict facts;
            std::map<std::string, Dict> parts;  // "excluded", "pending", "version" ...
        };
        std::vector<Set> sets;
    };
    Result<Explanation> explain(const std::string& path);
    Result<std::string> drill(const std::string& set, const std::vector<std::string>& paths,
                              const Dict& options);
    Result<std::string> verify(const std::string& set, const std::vector<std::string>& revisions,
                               const Dict& options);

    // The snapshot's new id.
    Result<std::string> pin(const std::string& set, const std::string& revision, bool pinned);
    // Each returns the job's object path.
    Result<std::string> delete_revisions(const std::string& set,
                                         const std::vector<std::string>& revisions);
    Result<UniqueFd> plan_retention(const std::string& set);
    Result<std::uint32_t> restore_trash(const std::string& set,
                                        const std::vector<std::string>& revisions);

    Result<> unlock(const std::string& repository, int secret);
    Result<Dict> test(const std::string& repository, int secret);
    Result<std::uint32_t> remove_locks(const std::string& repository, const Dict& options);
    Result<std::vector<Dict>> list_keys(const std::string& repository);
    Result<std::string> add_key(const std::string& repository, int secret);
    Result<> remove_key(const std::string& repository, const std::string& key);
    Result<std::string> check(const std::string& repository, const Dict& options);
    // Each returns the job's object path.
    Result<std::string> collect(const std::string& repository, const Dict& options);
    Result<std::string> audit(const std::string& repository);
    Result<Dict> repository_details(const std::string& repository);

    // Each returns the job's object path. `directory` < 0: in place.
    Result<std::string> undo(std::uint64_t restore, const Dict& options);
    Result<std::string> resume_restore(std::uint64_t restore, const Dict& options);
    Result<std::string> restore(const std::string& set, const std::string& revision,
                                const std::vector<std::string>& paths, int directory,
                                const Dict& options);

    Result<> cancel(const std::string& job);
    Result<UniqueFd> job_report(const std::string& job);

    // Jobs: subscribe before starting one, or its end may pass unseen.
    Result<> watch_jobs();
    // Reads the job's state; from then on wait() keeps it up to date.
    Result<JobView> follow(const std::string& job);
    const JobView& view(const std::string& job) const;
    void forget(const std::string& job);
    // Everything else that happens: wait() then also ends with an event, and take_events() gives
    // those that came since it was called last.
    Result<> watch_events();
    std::vector<DaemonEvent> take_events();
    // False: the bus itself is gone, and nothing will ever come.
    bool is_connected() const;
    // Until a followed job changed, the time is over, or `interrupt_fd` (a signalfd, or -1) is
    // readable.
    WaitEnd wait(std::chrono::milliseconds most, int interrupt_fd);

    static std::string job_object(std::uint64_t id);
    static std::string set_object(const std::string& id);
    // "home" from "/org/backupd1/set/home".
    static std::string name_of_object(const std::string& object);

    static const std::string kManager;  // the daemon's object path

  private:
    struct Impl;
    explicit Client(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace backup
