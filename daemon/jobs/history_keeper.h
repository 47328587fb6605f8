// HistoryKeeper feeds the index of history: a thread of its own follows the sets of this machine
// after each commit and gives way while jobs run; whoever asks brings what he asks about up to date
// first, as far as the repository can be reached. Nothing waits for it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "common/result.h"
#include "daemon/history/history_index.h"
#include "daemon/jobs/catalog.h"
#include "daemon/jobs/event_log.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/policy/policy.h"
#include "daemon/state/state_store.h"

namespace backup {

// Which lines of a set's repository are asked about.
struct LineWish {
    // Nothing: this machine, and what the set has adopted; "*": any.
    std::optional<std::string> host;
    bool any_set = false;  // also those of other sets
    bool adopted = true;   // also those that the set goes on with under another name
};

struct AskedLines {
    std::vector<LineName> lines;
    std::string behind;  // why there may be newer revisions than the index knows; empty: none
};

// The line that a revision belongs to; nothing for those that are in no history (made before a
// restore, to take it back). Pure.
std::optional<LineName> line_of(const Revision& revision, const std::string& repository_id);
bool is_wished(const LineName& line, const BackupSet& set, const LineWish& wish);
// One that the set goes on with under another name.
bool is_adopted(const LineName& line, const BackupSet& set);

class HistoryKeeper {
  public:
    HistoryKeeper(RepositoryPool& pool, StateStore& store, EventLog& events, std::string folder);
    ~HistoryKeeper();  // stops and joins

    // Loop thread, from here on.
    void set_policy(std::shared_ptr<const Policy> policy);
    // Something may have been committed or forgotten: feeds soon, in the background.
    void poke();
    void give_way(bool jobs_run);

    // Any other thread. An error only when nothing at all is known: neither by the repository nor
    // by the index.
    Result<AskedLines> bring_up(const BackupSet& set, const LineWish& wish, std::stop_token stop);
    HistoryIndex& index() { return index_; }
    // Runs a query; once more when the index had to be made anew.
    template <typename Query>
    auto ask(const BackupSet& set, const LineWish& wish, std::stop_token stop, Query query)
        -> decltype(query(std::declval<const AskedLines&>())) {
        for (bool again = false;; again = true) {
            AskedLines lines = TRY(bring_up(set, wish, stop));
            auto answer = query(lines);
            if (answer.ok() || again || answer.error().kind() != ErrorKind::transient)
                return answer;
        }
    }

  private:
    void work(const std::stop_token& stop);
    Result<> follow(const Policy& policy, const std::stop_token& stop);
    Result<> follow_repository(const std::string& name, const Policy& policy,
                               const std::stop_token& stop);
    void drop_strangers(const Policy& policy);

    RepositoryPool& pool_;
    StateStore& store_;
    EventLog& events_;
    HistoryIndex index_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable_any changed_;
    std::shared_ptr<const Policy> policy_;
    bool poked_ = false, jobs_run_ = false;
    std::stop_source feeding_;
    std::jthread thread_;  // the last: uses all of it
};

}  // namespace backup
