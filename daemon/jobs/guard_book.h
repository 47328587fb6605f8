// GuardBook holds what is asked about each set, and the answers: in memory for whoever shows it, in
// the state store for the next start. Thread-safe. change() writes and blocks: never on the loop.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "common/result.h"
#include "daemon/state/state_store.h"

namespace backup {

class GuardBook {
  public:
    // `changed` is called after each change that was kept, on the thread that made it.
    GuardBook(StateStore& store, std::function<void(const std::string& set)> changed)
        : store_(store), changed_(std::move(changed)) {}

    // From the store; before anybody asks.
    void load(const std::string& set);
    GuardRecord of(const std::string& set) const;
    // Durable on return; a record that stays as it is is not written. One change at a time: what
    // `change` is given is what counts.
    Result<> change(const std::string& set, const std::function<void(GuardRecord&)>& change);

  private:
    StateStore& store_;
    const std::function<void(const std::string&)> changed_;
    std::mutex writing_;        // held during I/O
    mutable std::mutex mutex_;  // guards records_
    std::map<std::string, GuardRecord> records_;
};

}  // namespace backup
