#include "daemon/daemon.h"

#include <signal.h>
#include <unistd.h>

#include "backupd_config.h"
#include "daemon/runtime/command.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

Result<std::unique_ptr<Daemon>> Daemon::make(DaemonOptions options) {
    std::unique_ptr<Daemon> daemon(new Daemon(std::move(options)));
    TRY(daemon->prepare());
    return daemon;
}

Daemon::~Daemon() = default;

Result<> Daemon::prepare() {
    // A state that must be repaired takes its time.
    Notifier::extend_timeout(std::chrono::minutes(2));
    TRY_DURING(make_folders(options_.state_dir), "state directory");
    bool recovered = false;
    store_ = TRY(StateStore::open(options_.state_dir + "/db", clock_, &recovered));
    if (recovered)
        events_.add(LogLevel::warning,
                    "the local state was damaged and has been moved aside: history begins anew");
    auto bus = Bus::open(loop_, options_.scope, [this](Error why) { stop(std::move(why)); });
    if (!bus.ok()) {
        return std::move(bus).error().during(
            options_.scope == Scope::system
                ? "no system bus"
                : "no session bus (DBUS_SESSION_BUS_ADDRESS, or run below dbus-run-session)");
    }
    bus_ = std::move(*bus);
    end_commands_left_over();
    ServiceOptions service{.config_dir = options_.config_dir,
                           .vendor_dir = options_.vendor_dir,
                           .state_dir = options_.state_dir,
                           .credentials_dir = options_.credentials_dir,
                           .hide_details = options_.scope == Scope::system,
                           .writes_apart = options_.scope == Scope::system};
    if (Notifier::has_store()) {
        service.inherit = &Notifier::inherit;
        service.keep = &Notifier::keep;
        service.forget = &Notifier::forget;
    }
    service.busy_changed = [this](bool busy) {
        if (host_ != nullptr) host_->set_busy(busy);
    };
    service.pressure_wanted = [this](bool wanted, unsigned percent) {
        if (host_ != nullptr) host_->watch_pressure(wanted, percent);
    };
    service_ = std::make_unique<Service>(loop_, *store_, clock_, events_, std::move(service));
    service_->load();
    objects_ = std::make_unique<ObjectTree>(loop_, *bus_, *service_);
    host_ = std::make_unique<HostConditions>(
        loop_, [this](std::vector<Reason> reasons) { service_->host_changed(std::move(reasons)); });
    on_terminate_ = TRY(loop_.on_signal(SIGTERM, [this] { stop({}); }));
    on_interrupt_ = TRY(loop_.on_signal(SIGINT, [this] { stop({}); }));
    on_hang_up_ = TRY(loop_.on_signal(SIGHUP, [this] {
        service_->reload([this](Result<> done) {
            if (done.ok()) events_.add(LogLevel::info, "configuration loaded");
        });
    }));
    return {};
}

Result<> Daemon::run() {
    bus_->request_name([this](Result<> answer) { name_is_ours(std::move(answer)); });
    notifier_.start_watchdog(loop_);
    loop_.run();
    if (failure_) return *failure_;
    return {};
}

void Daemon::name_is_ours(Result<> answer) {
    if (stopping_) return;
    if (!answer.ok()) return stop(std::move(answer).error());
    events_.add(LogLevel::notice, "backupd " BACKUPD_VERSION " serves " +
                                      std::to_string(service_->policy().sets.size()) + " sets");
    notifier_.ready("Serving " + std::to_string(service_->policy().sets.size()) + " sets");
    service_->begin();
    objects_->begin();
    host_->start();
}

// Jobs end as interrupted, with what they have stored so far kept for the next run.
void Daemon::stop(std::optional<Error> why) {
    if (stopping_) return;
    stopping_ = true;
    failure_ = std::move(why);
    notifier_.stopping();
    events_.add(LogLevel::notice, failure_ ? "stopping: " + failure_->message() : "stopping");
    patience_ = loop_.once(options_.stop_patience, [this] { give_up_waiting(); });
    service_->jobs().shut_down([this] {
        // Not from within a callback of the runner.
        loop_.post([this] {
            bus_->flush();
            loop_.stop();
        });
    });
}

// Threads that do not come back cannot be joined: their jobs' ends are recorded here, and the
// process goes.
void Daemon::give_up_waiting() {
    events_.add(LogLevel::error, "a job did not stop in time");
    service_->jobs().abandon();
    bus_->flush();
    ::_exit(failure_ ? 1 : 0);
}

}  // namespace backup
