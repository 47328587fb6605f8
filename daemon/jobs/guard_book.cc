#include "daemon/jobs/guard_book.h"

#include "common/log.h"

namespace backup {

void GuardBook::load(const std::string& set) {
    auto record = store_.guard_record(set);
    if (!record.ok())
        return log_warning("what was asked about set '" + set +
                           "' cannot be read: " + record.error().message());
    std::lock_guard lock(mutex_);
    records_[set] = std::move(*record);
}

GuardRecord GuardBook::of(const std::string& set) const {
    std::lock_guard lock(mutex_);
    auto found = records_.find(set);
    return found == records_.end() ? GuardRecord{} : found->second;
}

Result<> GuardBook::change(const std::string& set,
                           const std::function<void(GuardRecord&)>& change) {
    std::lock_guard writing(writing_);
    const GuardRecord before = of(set);
    GuardRecord after = before;
    change(after);
    if (after == before) return {};
    TRY_DURING(store_.put_guard_record(set, after),
               "remember what is asked about set '" + set + "'");
    {
        std::lock_guard lock(mutex_);
        records_[set] = std::move(after);
    }
    if (changed_) changed_(set);
    return {};
}

}  // namespace backup
