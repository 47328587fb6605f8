// A job on the bus: dbus/org.backupd1.Job.xml. Loop thread only. Lives as long as the runner keeps
// the job.
#pragma once

#include "daemon/ipc/served.h"

namespace backup {

class JobObject final : public BusObject {
  public:
    JobObject(Served& served, const Job& job);

    static const Interface& interface();
    const std::string& path() const { return path_; }
    wire::Value property(std::string_view name) const override;
    bool is_own(std::uint32_t uid, std::string_view method) const override;
    // Sends Finished.
    void tell_end();

  private:
    Result<> cancel(std::shared_ptr<Call> call);
    Result<> get_report(std::shared_ptr<Call> call);
    std::string message() const;
    wire::Dict details() const;

    Served& served_;
    const Job& job_;
    const std::string path_;
};

// What a stream says of one line of a job.
void put_job_line(JsonLine& line, const JobLine& of);

}  // namespace backup
