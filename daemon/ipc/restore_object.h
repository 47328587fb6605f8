// Restores on the bus: dbus/org.backupd1.Restore.xml. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "daemon/ipc/served.h"
#include "daemon/jobs/restore_task.h"

namespace backup {

class RestoreObject final : public BusObject {
  public:
    explicit RestoreObject(Served& served);

    static const Interface& interface();
    wire::Value property(std::string_view name) const override;

    // What the last daemon was in the midst of is gone on with, soon.
    void begin();
    struct Interrupted {
        std::uint64_t job = 0;
        std::uint32_t uid = 0;
        std::uint64_t undoes = 0;  // it took back that job
        bool verify = false;
        bool is_told = false;  // that it cannot be gone on with yet
    };

  private:
    struct Asked;
    using Started = std::function<void(Result<const Job*>)>;
    Result<> restore_to(std::shared_ptr<Call> call);
    Result<> restore_in_place(std::shared_ptr<Call> call);
    Result<> undo(std::shared_ptr<Call> call);
    Result<> resume(std::shared_ptr<Call> call);
    void undo_job(std::uint64_t id, bool dry_run, bool verify, std::uint32_t uid, Started started);
    // Who asks for it; none: it goes on by itself.
    struct Resumer {
        Caller caller;
        bool as_root = false;
    };
    void resume_job(std::uint64_t id, std::optional<Resumer> resumer, Started started);
    Result<> resume_from(const UndoRecord& record, const Caller& caller, const Started& started);
    void go_on();
    void go_on_with(const Interrupted& one);
    void gone_on_with(std::uint64_t id, Result<const Job*> job);
    void look_for_interrupted(std::function<void(std::vector<Interrupted>)> done);
    Result<const Job*> ended_restore(std::uint64_t id) const;
    Result<BackupSet> set_of(const UndoRecord& record) const;
    static JobRequest restore_request(const RestorePlace& place, std::uint32_t uid);
    Result<> start(Asked asked, Started started);

    static constexpr unsigned kMostPerUid = 2;
    // At worst half of the time is left to backups.
    static constexpr Duration kMostOutranking = std::chrono::minutes(10);
    static constexpr int kOutrankingPart = 2;

    Served& served_;
    // Both of people other than root.
    const std::shared_ptr<Allowance> outranking_;
    Places running_{kMostPerUid, "at most " + std::to_string(kMostPerUid) +
                                     " restores at once: wait for one to end"};
    std::vector<Interrupted> interrupted_;  // not gone on with yet
    Timer going_on_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace backup
