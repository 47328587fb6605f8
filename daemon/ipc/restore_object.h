// Restores on the bus: dbus/org.backupd1.Restore.xml. Loop thread only.
#pragma once

#include "daemon/ipc/served.h"
#include "daemon/jobs/restore_task.h"

namespace backup {

class RestoreObject final : public BusObject {
  public:
    explicit RestoreObject(Served& served);

    static const Interface& interface();
    wire::Value property(std::string_view name) const override;

  private:
    struct Asked;
    Result<> restore_to(std::shared_ptr<Call> call);
    Result<> restore_in_place(std::shared_ptr<Call> call);
    Result<> undo(std::shared_ptr<Call> call);
    Result<> resume(std::shared_ptr<Call> call);
    Result<> resume_from(const std::shared_ptr<Call>& call, const UndoRecord& record,
                         const Caller& caller);
    Result<const Job*> ended_restore(std::uint64_t id) const;
    Result<BackupSet> set_of(const UndoRecord& record) const;
    static JobRequest restore_request(const RestorePlace& place, std::uint32_t uid);
    Result<> start(std::shared_ptr<Call> call, Asked asked);

    static constexpr unsigned kMostPerUid = 2;
    // At worst half of the time is left to backups.
    static constexpr Duration kMostOutranking = std::chrono::minutes(10);
    static constexpr int kOutrankingPart = 2;

    Served& served_;
    // Both of people other than root.
    const std::shared_ptr<Allowance> outranking_;
    Places running_{kMostPerUid, "at most " + std::to_string(kMostPerUid) +
                                     " restores at once: wait for one to end"};
};

}  // namespace backup
